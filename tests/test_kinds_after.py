"""What comes after a whole file: the content comes out first, then the complaint; what is cut off is never taken for whole."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

import nncomp
from nncomp.errors import FormatError
from nncomp.format.frame_reader import BYTES_FOLLOW, TrailingError, TruncatedError
from tests.kinds.commands import Commands

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the commands are forked")

TEXT = b"".join(b"Line %d of a text, %d.\n" % (i, i * i % 997) for i in range(60))
MORE = b"and a second file after the first one\n" * 9
PACKED, SECOND = (nncomp.compress(data, model=None) for data in (TEXT, MORE))
TRAILING = {
    "a zero": b"\0",
    "a sector of zeros": bytes(512),
    "a tape record of zeros": bytes(10_240),
    "a line feed": b"\n",
    "junk": bytes(range(256)),
    "text": b"some text that somebody appended",
    "the beginning of a magic": PACKED[:3],
    "a gzip file": bytes.fromhex("1f8b0800000000000003030000000000000000"),
}
CUT = {
    "after the magic": SECOND[:4],
    "in the header": SECOND[:5],
    "in the sizes": SECOND[:7],
    "in the payload": SECOND[:-20],
    "before the last byte": SECOND[:-1],
}
SAID = f"{BYTES_FOLLOW}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.nnc").write_bytes(PACKED)
    return tmp_path


@pytest.mark.parametrize("command", ["-d", "-dc", "cat", "-t", "-l", "--recover", "--rm", "pipe", "range", "-dc second"])
@pytest.mark.parametrize("after", TRAILING)
def test_bytes_after_the_end(commands: Commands, folder: Path, after: str, command: str) -> None:
    data = PACKED + (SECOND if "second" in command else b"") + TRAILING[after]
    (folder / "a.nnc").write_bytes(data)
    arguments = {
        "--recover": ["decompress", "--recover", "a.nnc"],
        "--rm": ["-d", "--rm", "a.nnc"],
        "pipe": ["cat", "-"],
        "range": ["cat", "--range", "10:", "a.nnc"],
        "cat": ["cat", "a.nnc"],
        "-dc second": ["-dc", "a.nnc", *(() if after == "text" else ("-T", "1"))],  # a process is started for two files
    }.get(command, [command.split()[0], "a.nnc"])
    result = commands.run(*arguments, cwd=folder, stdin=data)
    assert result.code == 1
    assert result.said.endswith(SAID) and "lost from" not in result.said
    made = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert made.pop("a.nnc") == data  # the source stays, also with --rm
    if command in ("-d", "--recover", "--rm"):
        assert made == {"a": TEXT}
    else:
        assert made == {}
        printed = {"-t": b"", "-l": b"", "range": TEXT[10:], "-dc second": TEXT + MORE}.get(command, TEXT)
        assert result.output == printed


@pytest.mark.parametrize("command", ["-d", "-dc", "pipe", "-t", "range", "first range"])
@pytest.mark.parametrize("cut", CUT)
def test_a_second_file_that_is_cut_off(commands: Commands, folder: Path, cut: str, command: str) -> None:
    data = PACKED + CUT[cut]
    (folder / "a.nnc").write_bytes(data)
    arguments = {
        "pipe": ["cat", "-"],
        "range": ["cat", "--range", "10:", "a.nnc"],
        "first range": ["cat", "--range", "10:50", "a.nnc"],
    }.get(command, [command, "a.nnc"])
    result = commands.run(*arguments, cwd=folder, stdin=data)
    if command == "first range":
        assert (result.code, result.output, result.said) == (0, TEXT[10:50], "")
        return
    assert result.code == 1 and "truncated" in result.said and result.said.count("\n") == 1
    assert [path.name for path in folder.iterdir()] == ["a.nnc"]
    assert result.output == {"-dc": TEXT, "pipe": TEXT, "range": TEXT[10:]}.get(command, b"")


class _Unseekable(io.BytesIO):
    def seekable(self) -> bool:
        return False


@pytest.mark.parametrize("kind", [io.BytesIO, _Unseekable])
@pytest.mark.parametrize("after", TRAILING)
def test_a_file_object_gives_the_content_first(kind: type[io.BytesIO], after: str) -> None:
    with nncomp.open(kind(PACKED + TRAILING[after])) as file:
        assert file.read() == TEXT
        with pytest.raises(TrailingError, match="after the end"):
            file.read()
    parts: list[bytes] = []
    with nncomp.open(kind(PACKED + TRAILING[after])) as file, pytest.raises(TrailingError):
        parts.extend(iter(lambda: file.read(100), b""))
    assert b"".join(parts) == TEXT
    lines: list[bytes] = []
    with nncomp.open(kind(PACKED + TRAILING[after])) as file, pytest.raises(TrailingError):
        lines.extend(file)
    assert b"".join(lines) == TEXT


@pytest.mark.parametrize("after", TRAILING)
def test_a_function_on_bytes_raises_with_the_content(after: str) -> None:
    with pytest.raises(TrailingError) as caught:
        nncomp.decompress(PACKED + SECOND + TRAILING[after])
    assert caught.value.content == TEXT + MORE
    assert caught.value.offset == len(PACKED + SECOND)
    assert isinstance(caught.value, OSError) and isinstance(caught.value, FormatError)


@pytest.mark.parametrize("after", TRAILING)
def test_a_decompressor_hands_back_what_follows(after: str) -> None:
    decompressor = nncomp.Decompressor()
    assert decompressor.decompress(PACKED + TRAILING[after]) == TEXT
    assert decompressor.eof and decompressor.unused_data == TRAILING[after]


@pytest.mark.parametrize("kind", [io.BytesIO, _Unseekable])
@pytest.mark.parametrize("cut", CUT)
def test_a_file_object_never_ends_where_it_is_cut_off(kind: type[io.BytesIO], cut: str) -> None:
    """All that is whole comes first, and then an error that is an EOFError, as of lzma."""
    with nncomp.open(kind(PACKED + CUT[cut])) as file:
        assert file.read(len(TEXT)) == TEXT
        with pytest.raises(EOFError) as caught:
            file.read(1)
    assert isinstance(caught.value, TruncatedError)
    with nncomp.open(kind(PACKED + CUT[cut])) as file, pytest.raises(TruncatedError):
        file.read()


@pytest.mark.parametrize("size", range(0, len(PACKED), 37))
def test_a_file_that_is_cut_off_anywhere(size: int) -> None:
    with pytest.raises((EOFError, OSError)):
        nncomp.decompress(PACKED[:size])
    with nncomp.open(io.BytesIO(PACKED[:size])) as file, pytest.raises((EOFError, OSError)):
        file.read()


def test_an_altered_block_is_an_os_error() -> None:
    altered = bytearray(PACKED)
    altered[len(PACKED) // 2] ^= 1
    with pytest.raises(OSError, match="altered"):
        nncomp.decompress(bytes(altered))
