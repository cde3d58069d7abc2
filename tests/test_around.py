"""What stands around a file: programs in its folder, a reader that has gone, a stopped process, a system that refuses to help."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nncomp.machine import kernel_cache, limits
from tests.conftest import Run, environment
from tests.models import TEXT

NNCOMP = [sys.executable, "-Pm", "nncomp"]  # as the command does, without the current folder


@pytest.mark.parametrize("arguments", [["-1f", "big"], ["-1f", "-T2", "big", "other"], ["--cluster", "local", "-1f", "big"]])
def test_a_python_file_in_the_folder_is_not_run(tmp_path: Path, arguments: list[str]) -> None:
    """Processes that start here would import it in place of Python's own."""
    if "--cluster" in arguments:
        pytest.importorskip("distributed")
    for name in ("struct.py", "select.py", "socket.py", "threading.py"):
        (tmp_path / name).write_text("open('ran', 'w').close()\nraise SystemExit\n")
    for name in ("big", "other"):
        (tmp_path / name).write_bytes(TEXT * 12)
    result = subprocess.run([*NNCOMP, *arguments], cwd=tmp_path, capture_output=True, env=environment(), timeout=300, check=False)
    assert result.returncode == 0, result.stderr.decode()
    assert (tmp_path / "big.nnc").exists() and not (tmp_path / "ran").exists()


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no /dev/zero")
def test_a_reader_that_has_gone_ends_it() -> None:
    """Endless input that repeats: something is written while it is read, and then nobody reads."""
    command = [*NNCOMP, "--model", "none"]
    with Path("/dev/zero").open("rb") as zeros:
        process = subprocess.Popen(command, stdin=zeros, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
    with process:
        try:
            assert process.stdout and process.stderr and process.stdout.read(4)
            process.stdout.close()
            assert (process.wait(60), process.stderr.read()) == (1, b"")
        finally:
            process.kill()


def test_a_name_too_long_for_a_result_stops_no_other_file(run: Run, tmp_path: Path) -> None:
    long = "x" * 253
    for name in ("reference", long, "b"):
        (tmp_path / name).write_bytes(b"text of " + name.encode()[:2])
    for options in (["--reference", "reference"], ["--cluster", "local", "-T", "1"]):
        result = run("compress", "-f", "--model", "none", *options, long, "b")
        assert result.returncode == 1 and b"File name too long" in result.stderr and result.stderr.count(b"x" * 253) >= 1
        assert (tmp_path / "b.nnc").exists()
        (tmp_path / "b.nnc").unlink()


@pytest.mark.parametrize("words", ["train --time abc --data b", "reference --size 0 --from b -o c"])
def test_a_wrong_value_is_wrong_use(run: Run, tmp_path: Path, words: str) -> None:
    (tmp_path / "b").write_bytes(b"text")
    assert run(*words.split()).returncode == 2


def test_the_name_of_a_file_is_one_line(run: Run) -> None:
    (said,) = run("entropy", "a\nb").stderr.splitlines()
    assert said == b"nncomp: $'a\\nb': The file cannot be read: No such file or directory."


@pytest.mark.skipif(not hasattr(os, "fork"), reason="locks are those of POSIX")
def test_a_stopped_process_that_compiles_does_not_stop_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    monkeypatch.setattr(kernel_cache, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(kernel_cache, "_LOCK_S", 0.3)
    with (tmp_path / "kernel.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # as a process has it that was stopped with Ctrl-Z
        with kernel_cache.locked("kernel"):
            pass


def test_messages_that_go_nowhere_change_no_status(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(TEXT[:300])
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no /dev/full")
    for arguments, status in ((["-f", "a"], 0), (["-t", "a.nnc"], 0), (["missing"], 1)):
        with full.open("wb") as stream:
            result = subprocess.run(
                [*NNCOMP, *arguments], cwd=tmp_path, stderr=stream, env=environment(), timeout=300, check=False
            )
        assert result.returncode == status, arguments


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
@pytest.mark.parametrize("refused", ["fchmod", "utime", "fsync"])
def test_a_system_that_refuses_modes_and_times(refused: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The result is complete; what could not be given is said."""
    from nncomp.cli.sinks import open_sink
    from nncomp.cli.sources import open_source

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    (tmp_path / "a").write_bytes(b"text")
    monkeypatch.setattr(os, refused, refuse)
    with open_source(str(tmp_path / "a")) as source, open_sink(str(tmp_path / "b"), False, source) as sink:
        sink.write(b"text")
    assert (tmp_path / "b").read_bytes() == b"text"
    assert sink.missing == {"fchmod": ["the mode"], "utime": ["the time"], "fsync": []}[refused]


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="rights are those of POSIX")
def test_a_folder_that_cannot_be_searched_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nncomp.cli import inputs

    for name in ("tree/a/x", "tree/b/y"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"text")
    is_file = Path.is_file

    def unsearchable(path: Path, **options: bool) -> bool:
        if path.parent.name == "b":
            raise PermissionError(errno.EACCES, "Permission denied")
        return is_file(path, **options)

    monkeypatch.setattr(Path, "is_file", unsearchable)
    assert inputs._inside(str(tmp_path / "tree"), False) == [str(tmp_path / "tree" / name) for name in ("a/x", "b/y")]


def test_the_first_line_of_what_an_error_says() -> None:
    """NumPy says on a page that it cannot be imported; the cause is one line."""
    advice = ImportError("\n\nIMPORTANT: PLEASE READ THIS\n\nfor advice")
    advice.__cause__ = ImportError("libblas.so: failed to map segment from shared object")
    assert limits._first_line(advice) == "libblas.so: failed to map segment"
    assert limits._first_line(ImportError("")) == "ImportError"


def test_a_quiet_search_ends_at_the_first_match(run: Run, tmp_path: Path) -> None:
    """As grep: whatever is missing."""
    (tmp_path / "a").write_bytes(TEXT[:300])
    run("--model", "none", "a")
    word = TEXT[:300].split()[1].decode()
    for program in (["nncgrep", "-q", word, "missing", "a.nnc"], ["nncgrep", "-q", word, "a.nnc", "missing"]):
        code = f"import sys; sys.argv = {program!r}; from nncomp.cli.beside import grep; grep()"
        result = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, env=environment(), timeout=300, check=False
        )
        assert result.returncode == 0, result.stderr.decode()


def test_quiet_and_verbose_is_quiet(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"text")
    for arguments in (["-qv", "a"], ["-tqv", "a.nnc"], ["-dqvf", "a.nnc"]):
        result = run(*arguments)
        assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
