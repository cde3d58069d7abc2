"""An output while it is written: unnamed or under a temporary name, for nobody else to read, and complete or absent."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from checks.faults import unnamed_files
from nncomp.cli.draft import is_temporary
from nncomp.cli.sinks import open_sink
from nncomp.cli.sources import open_source
from nncomp.errors import OutputError
from tests.conftest import environment

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="modes are those of POSIX")


@pytest.fixture(params=["unnamed", "named"])
def way(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "named":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    elif not unnamed_files(tmp_path):
        pytest.skip("no files without a name here")
    return str(request.param)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_a_draft_is_for_nobody_else_until_it_is_complete(way: str, tmp_path: Path) -> None:
    os.umask(mask := os.umask(0o022))
    with open_sink(str(tmp_path / "out"), False, None) as sink:
        sink.write(b"te")
        assert sink.path is not None
        assert stat.S_IMODE(sink.path.stat().st_mode) == 0o600
        assert [is_temporary(name) for name in names(tmp_path)] == ([] if way == "unnamed" else [True])
        sink.write(b"xt")
        with sink.written() as stream:
            assert stream.read() == b"text"
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out").read_bytes() == b"text"
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o666 & ~mask


def test_a_file_is_replaced_at_once_or_not_at_all(way: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_bytes(b"old")
    with open_sink(str(out), True, None) as sink:
        sink.write(b"new")
        assert out.read_bytes() == b"old"
    assert (names(tmp_path), out.read_bytes()) == (["out"], b"new")

    def fail() -> None:
        with open_sink(str(out), True, None) as sink:
            sink.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (names(tmp_path), out.read_bytes()) == (["out"], b"new")


def test_what_somebody_else_made_meanwhile_is_kept(way: str, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def write() -> None:
        with open_sink(str(out), False, None) as sink:
            sink.write(b"ours")
            out.write_bytes(b"theirs")

    with pytest.raises(OutputError, match="already exists"):
        write()
    assert (names(tmp_path), out.read_bytes()) == (["out"], b"theirs")


def test_the_mode_and_time_are_those_of_the_source(way: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"")
    source.chmod(0o640)
    os.utime(source, ns=(10**18, 10**18 + 7))
    with open_source(str(source)) as opened, open_sink(str(tmp_path / "out"), False, opened) as sink:
        sink.write(b"text")
    made = (tmp_path / "out").stat()
    assert (stat.S_IMODE(made.st_mode), made.st_mtime_ns) == (0o640, 10**18 + 7)


def test_no_descriptor_stays_open(way: str, tmp_path: Path) -> None:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("no list of open files here")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for name in ("a", "b", "a"):
        with open_sink(str(tmp_path / name), True, None) as sink:
            sink.write(b"text")
    with pytest.raises(ZeroDivisionError), open_sink(str(tmp_path / "c"), True, None):
        raise ZeroDivisionError
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_where_no_descriptor_is_left_for_it_none_stays_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not unnamed_files(tmp_path):
        pytest.skip("no files without a name here")

    def refuse(_: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "dup", refuse)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with open_sink(str(tmp_path / "a"), False, None) as sink:
        sink.write(b"text")
    assert (names(tmp_path), len(list(Path("/proc/self/fd").iterdir()))) == (["a"], before)


def test_a_short_name_in_a_folder_with_a_long_one(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system takes no name of 4,096 bytes, as the whole name of the output is."""
    monkeypatch.chdir(tmp_path)
    try:
        for _ in range(20):
            Path("x" * 250).mkdir()
            os.chdir("x" * 250)
        for is_forced in (False, True):
            with open_sink("a", is_forced, None) as sink:
                sink.write(b"text")
        assert (names(Path()), Path("a").read_bytes()) == (["a"], b"text")
    finally:
        os.chdir(tmp_path)
        shutil.rmtree("x" * 250)


def test_a_process_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    if not unnamed_files(tmp_path):
        pytest.skip("no files without a name here")
    program = (
        "import os, signal; from nncomp.cli.sinks import open_sink\n"
        "with open_sink('out', False, None) as sink:\n"
        "    sink.write(b'half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment(), check=False)
    assert (result.returncode, names(tmp_path)) == (-9, [])
