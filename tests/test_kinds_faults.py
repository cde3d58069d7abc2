"""The n-th call of a function of the system fails, for every n until none fails, as SQLite is tested.

After each: the source is whole, what was reported as done is done, and otherwise one sentence and no partial output.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

import nncomp
from tests.kinds.commands import Commands

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the functions are those of Linux")

TEXT = b"".join(b"Line %d of a text, %d.\n" % (i, i * i % 997) for i in range(300))
PACKED = nncomp.compress(TEXT, model=None)
CALLS = {
    "read": errno.EIO,
    "write": errno.ENOSPC,
    "open": errno.EMFILE,
    "close": errno.EIO,
    "fsync": errno.EIO,
    "fchmod": errno.EPERM,
    "fchown": errno.EPERM,
    "linkat": errno.EIO,
    "rename": errno.EACCES,
    "utimensat": errno.EIO,
    "lseek": errno.EIO,
    "dup": errno.EMFILE,
    "mmap": errno.ENOMEM,
}
COMMANDS = {
    "compress": ["compress", "--model", "none", "--verify", "text"],
    "compress by force": ["compress", "--model", "none", "-f", "-o", "old", "text"],
    "decompress": ["decompress", "-o", "out", "packed.nnc"],
    "cat": ["cat", "packed.nnc"],
}
MADE = {"compress": "text.nnc", "compress by force": "old", "decompress": "out"}
MOST = 200
CASES = [
    *((call, command) for call in CALLS for command in ("compress", "decompress")),
    *((call, "compress by force") for call in ("write", "close", "linkat", "rename")),
    *((call, "cat") for call in ("read", "write", "open", "close", "mmap")),
]


@pytest.mark.parametrize(("call", "command"), CASES)
def test_whichever_call_fails(commands: Commands, tmp_path: Path, call: str, command: str) -> None:
    if not commands.has_faults:
        pytest.skip("there is no compiler for the library that lets calls fail")
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(1, MOST):
        for path in folder.iterdir():
            path.unlink()
        (folder / "text").write_bytes(TEXT)
        (folder / "packed.nnc").write_bytes(PACKED)
        (folder / "old").write_bytes(b"old")
        told = tmp_path / "told"
        fault = [call, number, CALLS[call]]
        result = commands.run(*COMMANDS[command], cwd=folder, fault=fault, told=str(told))
        where = f"{call} number {number}: {result}"
        left = {path.name: path.read_bytes() for path in folder.iterdir()}
        assert left.pop("text") == TEXT and left.pop("packed.nnc") == PACKED, where
        made = left.pop(MADE[command], None) if command in MADE else result.output
        if command != "compress by force":
            assert left.pop("old") == b"old", where
        assert not left, where
        if result.code:
            assert result.code == 1 and result.said.count("\n") == 1 and result.said.startswith("nncomp: "), where
            assert made == b"old" if command == "compress by force" else not made or command == "cat", where
        else:
            assert made is not None, where
            assert (made if command in ("decompress", "cat") else nncomp.decompress(made)) == TEXT, where
        if command == "cat" and result.code:
            assert TEXT.startswith(result.output), where
        if int(told.read_text()) < number:
            assert result.code == 0, where
            return
    raise AssertionError("there is no end of calls")


def test_the_library_lets_calls_fail(commands: Commands, tmp_path: Path) -> None:
    """A test of the test: the first write that fails is a failure of the command."""
    if not commands.has_faults:
        pytest.skip("there is no compiler for the library that lets calls fail")
    (tmp_path / "text").write_bytes(TEXT)
    result = commands.run("--model", "none", "text", cwd=tmp_path, fault=["write", 1, errno.ENOSPC], told=str(tmp_path / "told"))
    assert result.code == 1 and os.strerror(errno.ENOSPC) in result.said
