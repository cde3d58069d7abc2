"""Every kind of output, for each command that writes: all bytes come, what was there stays, a failure leaves nothing."""

from __future__ import annotations

import fcntl
import os
import pty
import socket
import stat
import sys
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import nncomp
from tests.kinds.commands import Commands, Result, open_to_others, taken

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="these descriptors are those of Linux")

TEXT = b"".join(b"Line %d of a text, %d.\n" % (i, i * i % 997) for i in range(400))
NOISE = os.urandom(24_000)  # more than a pipe or a socket of this size holds
SMALL_BYTES = 4096
STORED = nncomp.compress(NOISE, model=None)
PACKED = nncomp.compress(TEXT, model=None)
Taken = Iterator[tuple[dict[str, Any], list[str], Callable[[], bytes]]]  # settings of the command, its -o, what came out


@contextmanager
def _pipe(is_blocking: bool, pause_s: float, names: list[str], place: int = 1) -> Taken:
    r, w = os.pipe()
    os.set_blocking(w, is_blocking)
    fcntl.fcntl(w, fcntl.F_SETPIPE_SZ, SMALL_BYTES)
    parts: list[bytes] = []
    thread = taken(r, parts, pause_s, SMALL_BYTES)
    settings: dict[str, Any] = {"stdout": w} if place == 1 else {"more": {place: w}}

    def came() -> bytes:
        os.close(w)
        thread.join()
        return b"".join(parts)

    yield settings, names, came


def a_pipe(folder: Path) -> Any:
    return _pipe(True, 0, ["-c"])


def a_slow_pipe(folder: Path) -> Any:
    return _pipe(True, 0.002, ["-c"])


def a_waiting_pipe(folder: Path) -> Any:
    return _pipe(False, 0.002, ["-c"])


def dev_stdout(folder: Path) -> Any:
    return _pipe(True, 0, ["-o", "/dev/stdout"])


def dev_fd_1(folder: Path) -> Any:
    return _pipe(False, 0.002, ["-o", "/dev/fd/1"])


def dev_fd_7(folder: Path) -> Any:  # as bash gives for >(command)
    return _pipe(True, 0, ["-o", "/dev/fd/7"], 7)


def proc_fd_7(folder: Path) -> Any:
    return _pipe(False, 0.002, ["-o", "/proc/self/fd/7"], 7)


@contextmanager
def linked_fd(folder: Path) -> Taken:
    (folder / "link").symlink_to("/dev/fd/7")
    with _pipe(True, 0, ["-o", "link"], 7) as given:
        yield given
    (folder / "link").unlink()


@contextmanager
def _socket(is_blocking: bool, names: list[str]) -> Taken:
    ours, theirs = socket.socketpair()
    theirs.setblocking(is_blocking)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BYTES)
    parts: list[bytes] = []
    thread = taken(ours.detach(), parts, 0.001, SMALL_BYTES)

    def came() -> bytes:
        theirs.close()
        thread.join()
        return b"".join(parts)

    yield {"stdout": theirs.fileno()}, names, came


def a_socket(folder: Path) -> Any:
    return _socket(True, ["-c"])


def a_waiting_socket(folder: Path) -> Any:
    return _socket(False, ["-c"])


def stdout_is_a_socket(folder: Path) -> Any:
    return _socket(True, ["-o", "/dev/stdout"])


@contextmanager
def _file(folder: Path, flags: int, names: list[str], place: int = 1) -> Taken:
    """A file that the command shares with others: what they wrote before and write after stays."""
    path = folder / "shared"
    path.write_bytes(b"before\n")
    number = os.open(path, os.O_WRONLY | flags)
    os.lseek(number, 0, os.SEEK_END)

    def came() -> bytes:
        os.write(number, b"after\n")
        os.close(number)
        data = path.read_bytes()
        path.unlink()
        assert data.startswith(b"before\n") and data.endswith(b"after\n")
        return data[7:-6]

    yield {"stdout": number} if place == 1 else {"more": {place: number}}, names, came


def a_shared_file(folder: Path) -> Any:
    return _file(folder, 0, ["-c"])


def an_appended_file(folder: Path) -> Any:
    return _file(folder, os.O_APPEND, ["-c"])


def dev_stdout_is_a_file(folder: Path) -> Any:
    return _file(folder, 0, ["-o", "/dev/stdout"])


def dev_stdout_is_a_file_and_forced(folder: Path) -> Any:
    return _file(folder, 0, ["-f", "-o", "/dev/stdout"])


def dev_fd_is_a_file(folder: Path) -> Any:
    return _file(folder, os.O_APPEND, ["-f", "-o", "/dev/fd/7"], 7)


@contextmanager
def a_fifo(folder: Path) -> Taken:
    os.mkfifo(folder / "fifo")
    parts: list[bytes] = []
    thread = threading.Thread(target=lambda: taken(os.open(folder / "fifo", os.O_RDONLY), parts).join())
    thread.start()

    def came() -> bytes:
        thread.join()
        assert stat.S_ISFIFO((folder / "fifo").stat().st_mode)
        (folder / "fifo").unlink()
        return b"".join(parts)

    yield {}, ["-o", "fifo"], came


@contextmanager
def _named(folder: Path, name: str, names: list[str], is_linked: bool = False) -> Taken:
    if is_linked:
        (folder / "link").symlink_to(name)

    def came() -> bytes:
        data = (folder / name).read_bytes()
        (folder / name).unlink()
        if is_linked:
            assert (folder / "link").is_symlink()
            (folder / "link").unlink()
        return data

    yield {}, names, came


def a_file(folder: Path) -> Any:
    return _named(folder, "out", ["-o", "out"])


def the_longest_name(folder: Path) -> Any:
    return _named(folder, "n" * 255, ["-o", "n" * 255])


def a_link_to_nothing(folder: Path) -> Any:
    return _named(folder, "out", ["-o", "link"], True)


@contextmanager
def a_file_to_replace(folder: Path) -> Taken:
    (folder / "out").write_bytes(b"old")
    with _named(folder, "out", ["-f", "-o", "out"]) as given:
        yield given


@contextmanager
def a_link_to_replace(folder: Path) -> Taken:
    (folder / "out").write_bytes(b"old")
    with _named(folder, "out", ["-f", "-o", "link"], True) as given:
        yield given


KINDS: dict[str, Callable[[Path], Any]] = {
    each.__name__.replace("_", " "): each
    for each in (
        *(a_pipe, a_slow_pipe, a_waiting_pipe, dev_stdout, dev_fd_1, dev_fd_7, proc_fd_7, linked_fd),
        *(a_socket, a_waiting_socket, stdout_is_a_socket, a_shared_file, an_appended_file, dev_stdout_is_a_file),
        *(dev_stdout_is_a_file_and_forced, dev_fd_is_a_file, a_fifo, a_file, the_longest_name, a_link_to_nothing),
        *(a_file_to_replace, a_link_to_replace),
    )
}


@pytest.mark.parametrize("command", ["compress", "decompress"])
@pytest.mark.parametrize("kind", KINDS)
def test_all_bytes_come(commands: Commands, tmp_path: Path, kind: str, command: str) -> None:
    data = NOISE if command == "compress" else STORED
    options = ["--model", "none"] if command == "compress" else []
    with KINDS[kind](tmp_path) as (settings, names, came):
        result = commands.run(command, *options, "-q", *names, "-", cwd=tmp_path, stdin=data, **settings)
        made = came()
    assert (result.code, result.output, result.said) == (0, b"", "")
    assert (nncomp.decompress(made) if command == "compress" else made) == NOISE
    assert not list(tmp_path.iterdir())


def test_what_comes_to_stdout_keeps_its_order(commands: Commands, tmp_path: Path) -> None:
    """Two files one after another, into a file that others write too."""
    for name in ("a.nnc", "b.nnc"):
        (tmp_path / name).write_bytes(PACKED)
    with _file(tmp_path, 0, []) as (settings, _, came):
        result = commands.run("cat", "a.nnc", "b.nnc", cwd=tmp_path, **settings)
        assert (result.code, came()) == (0, TEXT + TEXT)


PRINTING = {
    "cat": ["cat", "a.nnc"],
    "decompress": ["-dc", "a.nnc"],
    "compress": ["--model", "none", "-c", "a"],
    "range": ["cat", "--range", "5:50", "a.nnc"],
    "recover": ["decompress", "--recover", "-c", "a.nnc"],
    "list": ["list", "a.nnc"],
    "list as JSON": ["list", "--json", "a.nnc"],
    "test as JSON": ["test", "--json", "a.nnc"],
    "version": ["--version"],
    "help": ["--help"],
    "help of a command": ["compress", "--help"],
    "completion": ["completion", "bash"],
    "entropy": ["entropy", "--model", "none", "short"],
}


@pytest.mark.parametrize("stdout", ["closed", "full", "read by nobody", "too large a file", "read only"])
@pytest.mark.parametrize("command", PRINTING)
def test_an_output_that_does_not_come_is_never_a_success(commands: Commands, tmp_path: Path, command: str, stdout: str) -> None:
    (tmp_path / "a").write_bytes(TEXT)
    (tmp_path / "a.nnc").write_bytes(PACKED)
    (tmp_path / "short").write_bytes(TEXT[:100])
    settings: dict[str, Any] = {}
    if stdout == "closed":
        settings["stdout"] = None
    elif stdout == "full":
        settings["stdout"] = os.open("/dev/full", os.O_WRONLY)
    elif stdout == "read by nobody":
        r, settings["stdout"] = os.pipe()
        os.close(r)
    elif stdout == "read only":
        settings["stdout"] = os.open("/dev/null", os.O_RDONLY)
    else:
        settings |= {"stdout": os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT), "limits": {"RLIMIT_FSIZE": 10}}
        settings["stderr"] = os.open("/dev/null", os.O_WRONLY)
    result = commands.run(*PRINTING[command], cwd=tmp_path, **settings)
    for name in ("stdout", "stderr"):
        if settings.get(name) is not None:
            os.close(settings[name])
    assert result.code == 1
    if stdout == "read by nobody":
        assert result.said == ""
    elif stdout != "too large a file":
        assert result.said.startswith("nncomp: ") and result.said.count("\n") == 1
    assert (tmp_path / "a").read_bytes() == TEXT and (tmp_path / "a.nnc").read_bytes() == PACKED


@pytest.mark.parametrize("stderr", ["closed", "full", "read by nobody"])
@pytest.mark.parametrize("command", ["compress", "decompress", "cat", "test"])
def test_without_a_standard_error_the_work_is_done(commands: Commands, tmp_path: Path, command: str, stderr: str) -> None:
    (tmp_path / "a").write_bytes(TEXT)
    (tmp_path / "a.nnc").write_bytes(PACKED)
    number: int | None = None
    if stderr == "full":
        number = os.open("/dev/full", os.O_WRONLY)
    elif stderr == "read by nobody":
        r, number = os.pipe()
        os.close(r)
    arguments = {"compress": ["--model", "none", "-o", "new", "a"], "decompress": ["-d", "-o", "new", "a.nnc"]}
    result = commands.run(*arguments.get(command, [command, "a.nnc"]), cwd=tmp_path, stderr=number)
    if number is not None:
        os.close(number)
    assert result.code == 0
    assert result.output == (TEXT if command == "cat" else b"")
    if command in arguments:
        made = (tmp_path / "new").read_bytes()
        assert (nncomp.decompress(made) if command == "compress" else made) == TEXT


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2), (0, 1, 2)])
def test_closed_streams_are_no_files_of_the_command(commands: Commands, tmp_path: Path, closed: tuple[int, ...]) -> None:
    """The first file that is opened does not become the standard output."""
    (tmp_path / "a").write_bytes(TEXT)
    settings = {name: None for number, name in enumerate(("stdin", "stdout", "stderr")) if number in closed}
    result = commands.run("--model", "none", "-v", "a", cwd=tmp_path, **settings)
    assert result.code == 0
    assert nncomp.decompress((tmp_path / "a.nnc").read_bytes()) == TEXT and (tmp_path / "a").read_bytes() == TEXT


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("there", "already exists"),
        (".", "is a folder"),
        ("", "The name of the output is empty"),
        ("missing/out", "No such file"),
        ("there/out", "cannot be written"),
        ("n" * 256, "File name too long"),
        ("loop", "symbolic links"),
        ("locked/out", "Permission denied"),
        ("socket", "cannot be written"),
        ("/dev/full", "No space left"),
        ("/dev/fd/9", "Bad file descriptor"),
        ("/proc/self/mem/x", "cannot be written"),
        ("/sys/x", "cannot be written"),
    ],
)
@pytest.mark.parametrize("command", ["compress", "decompress"])
def test_what_cannot_be_written_is_one_sentence(commands: Commands, tmp_path: Path, command: str, name: str, said: str) -> None:
    (tmp_path / "there").write_bytes(b"old")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "locked").mkdir()
    tmp_path.chmod(0o777)
    (tmp_path / "locked").chmod(0o555)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
    before = sorted(tmp_path.rglob("*"))
    options = ["--model", "none"] if command == "compress" else []
    user = 65534 if os.getuid() == 0 else 0
    if user:
        open_to_others(tmp_path)
    given = TEXT if command == "compress" else PACKED
    result = commands.run(command, *options, "-o", name, "-", cwd=tmp_path, stdin=given, user=user)
    assert (result.code, result.output) == (1, b"")
    assert said in result.said and result.said.count("\n") == 1, result.said
    assert sorted(tmp_path.rglob("*")) == before and (tmp_path / "there").read_bytes() == b"old"


@pytest.mark.parametrize("arguments", [["-c"], ["-o", "/dev/stdout"], ["-o", "/dev/fd/7"], ["-o", "TERMINAL"]])
def test_no_compressed_bytes_on_a_terminal(commands: Commands, tmp_path: Path, arguments: list[str]) -> None:
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    named = [os.ttyname(theirs) if each == "TERMINAL" else each for each in arguments]
    result = commands.run("--model", "none", *named, "-", cwd=tmp_path, stdin=TEXT, stdout=theirs, more={7: theirs})
    os.close(theirs)
    os.close(ours)
    assert result.code == 1 and "not written to a terminal" in result.said


@pytest.mark.parametrize("limit", [0, 1, 1000, 20_000])
@pytest.mark.parametrize("command", ["compress", "decompress"])
def test_a_limit_on_the_size_of_files(commands: Commands, tmp_path: Path, command: str, limit: int) -> None:
    """As a full disk: one sentence, no partial file, and the source is whole."""
    data = NOISE if command == "compress" else STORED
    (tmp_path / "in.nnc").write_bytes(data)
    options = ["--model", "none", "--rm"] if command == "compress" else ["--rm"]
    null = os.open("/dev/null", os.O_WRONLY)
    result = commands.run(command, *options, "-o", "out", "in.nnc", cwd=tmp_path, limits={"RLIMIT_FSIZE": limit}, stderr=null)
    os.close(null)
    assert result.code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["in.nnc"] and (tmp_path / "in.nnc").read_bytes() == data


def test_the_order_of_a_message_and_a_pipe_that_ends(commands: Commands, tmp_path: Path) -> None:
    """A reader that goes away in the middle ends the command, silently."""
    r, w = os.pipe()
    fcntl.fcntl(w, fcntl.F_SETPIPE_SZ, SMALL_BYTES)
    running = commands.start("cat", "-", cwd=tmp_path, stdin=STORED, stdout=w)
    os.close(w)
    assert os.read(r, 100) == NOISE[:100]
    os.close(r)
    assert running.finish() == Result(1, b"", "")
