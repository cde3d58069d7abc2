"""Every kind of standard input and of input with a name, for each command that reads: no byte is lost, no end comes too early."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import socket
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import nncomp
from nncomp.cli import file_options, transfer
from nncomp.cli.sources import Source, open_source
from tests.kinds.commands import Commands, Result, sent

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="these descriptors are those of Linux")

TEXT = b"".join(b"Line %d of a text, %d.\n" % (i, i * i % 997) for i in range(400))
PACKED = nncomp.compress(TEXT, model=None)
Given = Iterator[tuple[int | None, list[str]]]  # what standard input is, and the name to give


@contextmanager
def _pipe(data: bytes, *pauses: float, is_blocking: bool = True, parts: int = 1) -> Given:
    """Give the read end of a pipe in which the parts of the data come, a pause before each of the last ones."""
    r, w = os.pipe()
    os.set_blocking(r, is_blocking)
    step = -(-len(data) // parts)
    pieces: list[bytes | float] = []
    for i in range(parts):
        pieces += [*pauses[i : i + 1], data[i * step : (i + 1) * step]]
    thread = sent(w, *pieces)
    yield r, ["-"]
    os.close(r)
    thread.join()


def whole(data: bytes, folder: Path) -> Any:
    return _pipe(data)


def in_many_parts(data: bytes, folder: Path) -> Any:
    return _pipe(data, *[0.0005] * 64, parts=64)


def slow(data: bytes, folder: Path) -> Any:
    return _pipe(data, 0, 0.15, 0.15, parts=3)


def waiting_first(data: bytes, folder: Path) -> Any:
    return _pipe(data, 0.2, is_blocking=False)


def waiting_between(data: bytes, folder: Path) -> Any:
    return _pipe(data, 0, 0.15, 0.15, is_blocking=False, parts=3)


@contextmanager
def _socket(data: bytes, is_blocking: bool) -> Given:
    ours, theirs = socket.socketpair()
    theirs.setblocking(is_blocking)
    thread = sent(ours.detach(), data[:100], 0.1, data[100:])
    yield theirs.fileno(), ["-"]
    theirs.close()
    thread.join()


def socket_kind(data: bytes, folder: Path) -> Any:
    return _socket(data, True)


def waiting_socket(data: bytes, folder: Path) -> Any:
    return _socket(data, False)


@contextmanager
def named_socket(data: bytes, folder: Path) -> Given:
    with _socket(data, True) as (number, _):
        yield number, ["/dev/stdin"]


@contextmanager
def fifo(data: bytes, folder: Path) -> Given:
    os.mkfifo(folder / "fifo")

    def work() -> None:
        sent(os.open(folder / "fifo", os.O_WRONLY), data[:100], 0.1, data[100:]).join()

    thread = threading.Thread(target=work)
    thread.start()
    yield None, ["fifo"]
    thread.join()
    (folder / "fifo").unlink()


@contextmanager
def _named_pipe(data: bytes, name: str) -> Given:
    with _pipe(data, 0, 0.1, parts=2) as (number, _):
        yield number, [name]


def dev_stdin(data: bytes, folder: Path) -> Any:
    return _named_pipe(data, "/dev/stdin")


def dev_fd(data: bytes, folder: Path) -> Any:
    return _named_pipe(data, "/dev/fd/0")


def proc_fd(data: bytes, folder: Path) -> Any:
    return _named_pipe(data, "/proc/self/fd/0")


@contextmanager
def _file(data: bytes, folder: Path, before: bytes, names: list[str]) -> Given:
    (folder / "given").write_bytes(before + data)
    number = os.open(folder / "given", os.O_RDONLY)
    os.lseek(number, len(before), os.SEEK_SET)
    yield number, names
    os.close(number)
    (folder / "given").unlink()


def regular(data: bytes, folder: Path) -> Any:
    return _file(data, folder, b"", ["-"])


def from_the_middle(data: bytes, folder: Path) -> Any:
    return _file(data, folder, b"read by another program", ["-"])


def no_name(data: bytes, folder: Path) -> Any:
    return _file(data, folder, b"", [])


KINDS: dict[str, Callable[[bytes, Path], Any]] = {
    "a pipe": whole,
    "a pipe in 64 parts": in_many_parts,
    "a slow pipe": slow,
    "a pipe that does not block and is empty at first": waiting_first,
    "a pipe that does not block and pauses": waiting_between,
    "a socket": socket_kind,
    "a socket that does not block": waiting_socket,
    "/dev/stdin is a socket": named_socket,
    "a FIFO": fifo,
    "/dev/stdin is a pipe": dev_stdin,
    "/dev/fd/0": dev_fd,
    "/proc/self/fd/0": proc_fd,
    "a file": regular,
    "a file from the middle": from_the_middle,
    "a file without a name given": no_name,
}


def is_compressed(result: Result) -> None:
    assert (result.code, result.said) == (0, "")
    assert nncomp.decompress(result.output) == TEXT


def is_decompressed(result: Result) -> None:
    assert (result.code, result.output, result.said) == (0, TEXT, "")


def is_tested(result: Result) -> None:
    assert (result.code, result.output) == (0, b"")
    assert f"whole, {len(TEXT):,} bytes" in result.said


def is_listed(result: Result) -> None:
    assert (result.code, result.said) == (0, "")
    assert f"{len(TEXT):,}".encode() in result.output


COMMANDS: dict[str, tuple[list[str], bytes, Callable[[Result], None]]] = {
    "compress": (["compress", "--model", "none", "-q", "-c"], TEXT, is_compressed),
    "decompress": (["decompress", "-q", "-c"], PACKED, is_decompressed),
    "cat": (["cat"], PACKED, is_decompressed),
    "test": (["test"], PACKED, is_tested),
    "list": (["list"], PACKED, is_listed),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", KINDS)
def test_no_byte_is_lost(commands: Commands, tmp_path: Path, kind: str, command: str) -> None:
    arguments, data, check = COMMANDS[command]
    with KINDS[kind](data, tmp_path) as (stdin, names):
        check(commands.run(*arguments, *names, cwd=tmp_path, stdin=stdin))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("is_blocking", [True, False])
def test_a_terminal(commands: Commands, tmp_path: Path, is_blocking: bool) -> None:
    """Control-D at the beginning of a line ends the input; the terminal is not read again."""
    ours, theirs = pty.openpty()
    os.set_blocking(theirs, is_blocking)
    thread = sent(os.dup(ours), b"one\n", 0.1, b"two\n", 0.1, b"\x04", 0.3, b"later\n")
    result = commands.run("compress", "--model", "none", "-c", "-", cwd=tmp_path, stdin=theirs)
    thread.join()
    assert (result.code, result.said) == (0, "")
    assert nncomp.decompress(result.output) == b"one\ntwo\n"
    assert os.read(theirs, 100) == b"later\n"
    os.close(theirs)
    os.close(ours)


@pytest.mark.parametrize("command", ["compress", "decompress"])
@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGWINCH])
def test_a_signal_meanwhile(commands: Commands, tmp_path: Path, command: str, number: signal.Signals) -> None:
    """Stopped and going on, or told that the window changed: the rest of the bytes is read."""
    arguments, data, check = COMMANDS[command]
    r, w = os.pipe()
    thread = sent(w, data[:1000], 0.3, data[1000:])
    running = commands.start(*arguments, "-", cwd=tmp_path, stdin=r)
    os.close(r)
    for _ in range(3):
        os.kill(running.process, number)
        time.sleep(0.05)
        os.kill(running.process, signal.SIGCONT)
    check(running.finish())
    thread.join()


@pytest.mark.parametrize("is_packed", [False, True])
def test_an_endless_input_ends_when_its_reader_is_ended(commands: Commands, tmp_path: Path, is_packed: bool) -> None:
    command = ["decompress", "-o", "out", "-"] if is_packed else ["compress", "--model", "none", "-o", "out", "-"]
    r, w = os.pipe()
    os.write(w, PACKED[:50] if is_packed else TEXT)
    running = commands.start(*command, cwd=tmp_path, stdin=r)
    while fcntl.ioctl(r, termios.FIONREAD, bytes(4)) != bytes(4):  # until it has read what is there
        time.sleep(0.02)
    os.kill(running.process, signal.SIGTERM)
    result = running.finish()
    os.close(r)
    os.close(w)
    assert (result.code, result.said) == (1, "nncomp: Interrupted. No partial file is left.\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["/proc/self/status", "/proc/cpuinfo", "/sys/kernel/mm/transparent_hugepage/enabled"])
def test_files_that_say_another_size_than_they_have(commands: Commands, tmp_path: Path, name: str) -> None:
    if not Path(name).exists():
        pytest.skip(f"there is no {name}")
    result = commands.run("compress", "--model", "none", "-q", "-o", "out", name, cwd=tmp_path)
    assert result.code == 0, result.said
    assert len(nncomp.decompress((tmp_path / "out").read_bytes())) >= 10


@pytest.mark.parametrize("change", ["grows", "shrinks", "vanishes", "is replaced", "nothing"])
def test_a_file_that_changes_while_it_is_read(tmp_path: Path, change: str) -> None:
    """What is read is what is there then; that the file itself changed is noticed."""
    path = tmp_path / "text"
    path.write_bytes(TEXT * 1000)
    with open_source(str(path)) as source:
        first = source.read(10)
        if change == "grows":
            with path.open("ab") as file:
                file.write(b"more")
        elif change == "shrinks":
            os.truncate(path, 20)
        elif change == "vanishes":
            path.unlink()
        elif change == "is replaced":
            (tmp_path / "new").write_bytes(b"other")
            (tmp_path / "new").rename(path)
        data = first + source.read(len(TEXT) * 2000)
        assert source.has_changed() == (change in ("grows", "shrinks"))
    whole = TEXT * 1000
    assert whole.startswith(data) if change == "shrinks" else data == whole + b"more" * (change == "grows")


@pytest.mark.parametrize("is_quiet", [False, True])
def test_a_change_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_quiet: bool
) -> None:
    (tmp_path / "text").write_bytes(TEXT)
    monkeypatch.setattr(Source, "has_changed", lambda self: True)
    options = file_options.Options(str(tmp_path / "out"), False, is_quiet, False, 1)
    transfer.compress_file(str(tmp_path / "text"), None, options)
    assert ("the file changed while it was read; the result holds what was read." in capsys.readouterr().err) != is_quiet
    assert nncomp.decompress((tmp_path / "out").read_bytes()) == TEXT


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing"], "No such file"),
        (["."], "This is a folder"),
        (["socket"], "cannot be read"),
        (["/dev/fd/99"], "cannot be read"),
        (["n" * 300], "cannot be read"),
        (["dangling"], "No such file"),
        (["loop"], "symbolic links"),
        (["text/below"], "Not a directory"),
        ([""], "No such file"),
    ],
)
@pytest.mark.parametrize("command", ["compress", "cat", "list"])
def test_what_cannot_be_read_is_one_sentence(
    commands: Commands, tmp_path: Path, command: str, arguments: list[str], said: str
) -> None:
    (tmp_path / "text").write_bytes(TEXT)
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    with socket.socket(socket.AF_UNIX) as named:
        named.bind(str(tmp_path / "socket"))
    before = sorted(tmp_path.iterdir())
    result = commands.run(command, *arguments, cwd=tmp_path)
    assert (result.code, result.output) == (1, b"")
    assert said in result.said and result.said.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before and (tmp_path / "text").read_bytes() == TEXT
