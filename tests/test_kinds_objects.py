"""Every kind of object that a program may give to nncomp's classes: it may give or take a few bytes of many, or none yet."""

from __future__ import annotations

import gzip
import io
import mmap
import os
import pickle
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

import nncomp
from nncomp.blocks.lzma_payload import encode_lzma
from nncomp.errors import DataError
from nncomp.format.frames import Block, FrameWriter, checksum
from nncomp.format.numbers import BlockKind
from nncomp.stream.patience import PatientReader, PatientWriter
from tests.kinds.commands import sent, started, taken

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes that do not block are those of POSIX")

TEXT = b"".join(b"Line %d of a text, %d.\n" % (i, i * i % 997) for i in range(300))
NOISE = os.urandom(16_000)  # more than an object here takes at once, and what a buffered file holds
PACKED, STORED = nncomp.compress(TEXT, model=None), nncomp.compress(NOISE, model=None)


class _Giving:
    """An object with nothing but `read`, which gives at most so many bytes, and first what `answers` say."""

    def __init__(self, data: bytes, most: int, *answers: object) -> None:
        self._data, self._most, self._answers = io.BytesIO(data), most, list(answers)

    def read(self, count: int = -1) -> Any:
        if self._answers and (answer := self._answers.pop(0)) != "data":
            if isinstance(answer, type) and issubclass(answer, BaseException):
                raise answer
            return answer
        return self._data.read(min(count, self._most) if count >= 0 else self._most)


def one_byte_at_a_time(data: bytes) -> Any:
    return _Giving(data, 1)


def half(data: bytes) -> Any:
    return _Giving(data, len(data) // 2)


def nothing_yet(data: bytes) -> Any:
    return _Giving(data, 50, None, "data", None, None, "data")


def would_block(data: bytes) -> Any:
    return _Giving(data, 50, BlockingIOError, "data", BlockingIOError, BlockingIOError)


def interrupted(data: bytes) -> Any:
    return _Giving(data, 50, InterruptedError, "data", InterruptedError)


def another_type(data: bytes) -> Any:
    class Given(_Giving):
        def read(self, count: int = -1) -> Any:
            return memoryview(bytearray(super().read(count)))

    return Given(data, 100)


def raw_file(data: bytes) -> Any:
    return io.FileIO(_file(data), "rb")


def buffered_file(data: bytes) -> Any:
    return open(_file(data), "rb")


def _file(data: bytes) -> int:
    with tempfile.TemporaryFile() as file:
        number = os.dup(file.fileno())
    os.write(number, data)
    os.lseek(number, 0, os.SEEK_SET)
    return number


def mapped(data: bytes) -> Any:
    given = mmap.mmap(-1, len(data))
    given[:] = data
    return given


def spooled(data: bytes) -> Any:
    file = tempfile.SpooledTemporaryFile(10)  # noqa: SIM115 (closed by the test)
    file.write(data)
    file.seek(0)
    return file


def gzipped(data: bytes) -> Any:
    return gzip.open(io.BytesIO(gzip.compress(data)))


def in_memory(data: bytes) -> Any:
    return io.BytesIO(data)


def nncomp_itself(data: bytes) -> Any:
    return nncomp.open(io.BytesIO(nncomp.compress(data, model=None)))


def _pipe(data: bytes, is_blocking: bool, buffering: int) -> Any:
    r, w = os.pipe()
    os.set_blocking(r, is_blocking)
    sent(w, 0.02, data[:60], 0.02, data[60:])
    return os.fdopen(r, "rb", buffering)


def raw_pipe(data: bytes) -> Any:
    return _pipe(data, True, 0)


def buffered_pipe(data: bytes) -> Any:
    return _pipe(data, True, -1)


def waiting_raw_pipe(data: bytes) -> Any:
    return _pipe(data, False, 0)


def waiting_buffered_pipe(data: bytes) -> Any:
    return _pipe(data, False, -1)


def _socket(data: bytes, is_blocking: bool, buffering: int | None) -> Any:
    ours, theirs = socket.socketpair()
    theirs.setblocking(is_blocking)
    sent(ours.detach(), 0.02, data[:60], 0.02, data[60:])
    made = theirs.makefile("rb", buffering=buffering)
    theirs.close()
    return made


def raw_socket(data: bytes) -> Any:
    return _socket(data, True, 0)


def buffered_socket(data: bytes) -> Any:
    return _socket(data, True, None)


def waiting_raw_socket(data: bytes) -> Any:
    return _socket(data, False, 0)


GIVING = {
    each.__name__.replace("_", " "): each
    for each in (
        *(one_byte_at_a_time, half, nothing_yet, would_block, interrupted, another_type, raw_file, buffered_file, mapped),
        *(spooled, gzipped, in_memory, nncomp_itself, raw_pipe, buffered_pipe, waiting_raw_pipe, waiting_buffered_pipe),
        *(raw_socket, buffered_socket, waiting_raw_socket),
    )
}


@contextmanager
def _opened(given: Any) -> Iterator[Any]:
    yield given
    if hasattr(given, "close"):
        given.close()


def read_at_once(given: Any) -> bytes:
    with nncomp.open(given) as file:
        return file.read()


def read_in_parts(given: Any) -> bytes:
    with nncomp.NncompFile(given) as file:
        return b"".join(iter(lambda: file.read(1000), b""))


def read_into(given: Any) -> bytes:
    made, buffer = io.BytesIO(), bytearray(777)
    with nncomp.open(given) as file:
        while count := file.readinto(buffer):
            made.write(buffer[:count])
    return made.getvalue()


def read_lines(given: Any) -> bytes:
    with nncomp.open(given) as file:
        return b"".join(file)


def read_text(given: Any) -> bytes:
    with nncomp.open(given, "rt", encoding="latin-1", newline="") as file:
        return file.read().encode("latin-1")


def copied(given: Any) -> bytes:
    made = io.BytesIO()
    with nncomp.open(given) as file:
        shutil.copyfileobj(file, made, 500)
    return made.getvalue()


@pytest.mark.parametrize("way", [read_at_once, read_in_parts, read_into, read_lines, read_text, copied])
@pytest.mark.parametrize("kind", GIVING)
def test_reading(kind: str, way: Callable[[Any], bytes]) -> None:
    with _opened(GIVING[kind](PACKED)) as given:
        assert way(given) == TEXT


@pytest.mark.parametrize("kind", GIVING)
def test_a_patient_reader_gives_what_is_asked_for(kind: str) -> None:
    with _opened(GIVING[kind](TEXT)) as given:
        reader = PatientReader(given)
        assert [reader.read(count) for count in (0, 1, 100, 1000)] == [b"", TEXT[:1], TEXT[1:101], TEXT[101:1101]]
        assert reader.read() == TEXT[1101:]
        assert reader.read(5) == b""


class _Taking(io.BytesIO):
    """An object that takes at most so many bytes, and first does what `answers` say."""

    def __init__(self, most: int, *answers: object) -> None:
        super().__init__()
        self._most, self._answers = most, list(answers)

    def write(self, data: Any) -> Any:
        if self._answers and (answer := self._answers.pop(0)) != "data":
            if isinstance(answer, BlockingIOError):
                super().write(memoryview(data)[: answer.characters_written])
            if isinstance(answer, BaseException):
                raise answer
            return answer
        return super().write(memoryview(data)[: self._most])


class _Silent:
    """An object that takes all and says nothing, as many that are made by hand."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        self.parts.append(data)

    def getvalue(self) -> bytes:
        return b"".join(self.parts)


class _RawTaking(io.RawIOBase):
    def __init__(self) -> None:
        self._made, self._turn = bytearray(), 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int | None:
        self._turn += 1
        if self._turn % 3 == 1:
            return None
        self._made += data[:500]
        return len(data[:500])

    def getvalue(self) -> bytes:
        return bytes(self._made)


def _blocking(count: int) -> BlockingIOError:
    error = BlockingIOError()
    error.characters_written = count
    return error


TAKING: dict[str, Callable[[], Any]] = {
    "all": io.BytesIO,
    "one byte at a time": lambda: _Taking(100),
    "some thousand bytes": lambda: _Taking(3000),
    "none yet": lambda: _Taking(5000, _blocking(0), "data", _blocking(0)),
    "some, then none": lambda: _Taking(5000, _blocking(7), _blocking(100), "data"),
    "interrupted": lambda: _Taking(5000, InterruptedError(), "data", InterruptedError()),
    "all, silently": _Silent,
    "raw, some or none yet": _RawTaking,
}


def _write_at_once(given: Any) -> None:
    with nncomp.open(given, "wb", model=None) as file:
        assert file.write(NOISE) == len(NOISE)


def _write_in_parts(given: Any) -> None:
    with nncomp.NncompFile(given, "w", model=None) as file:
        for i in range(0, len(NOISE), 1000):
            assert file.write(memoryview(NOISE)[i : i + 1000]) == len(NOISE[i : i + 1000])


def _write_text(given: Any) -> None:
    with nncomp.open(given, "wt", model=None, encoding="latin-1", newline="") as file:
        file.write(NOISE.decode("latin-1"))


@pytest.mark.parametrize("way", [_write_at_once, _write_in_parts, _write_text])
@pytest.mark.parametrize("kind", TAKING)
def test_writing(kind: str, way: Callable[[Any], None]) -> None:
    given = TAKING[kind]()
    way(given)
    assert nncomp.decompress(given.getvalue()) == NOISE


@pytest.mark.parametrize("is_blocking", [True, False])
@pytest.mark.parametrize("buffering", [0, -1])
@pytest.mark.parametrize("is_socket", [True, False])
def test_writing_to_a_slow_reader(is_blocking: bool, buffering: int, is_socket: bool) -> None:
    parts: list[bytes] = []
    if is_socket:
        ours, theirs = socket.socketpair()
        r, w = ours.detach(), theirs.detach()
    else:
        r, w = os.pipe()
    os.set_blocking(w, is_blocking)
    thread = taken(r, parts, 0.002, 1 << 13)
    with os.fdopen(w, "wb", buffering) as stream:
        writer = PatientWriter(stream)
        assert writer.write(STORED * 13) == 13 * len(STORED)  # more than a pipe or a socket holds
        writer.flush()
    thread.join()
    assert b"".join(parts) == STORED * 13


@pytest.mark.parametrize("given", [None, 5, object(), "text.nnc\0", [b"a"]])
@pytest.mark.parametrize("mode", ["r", "w"])
def test_what_is_no_file_is_a_type_error(given: Any, mode: str) -> None:
    with pytest.raises((TypeError, ValueError)):
        nncomp.NncompFile(given, mode, model=None)


@pytest.mark.parametrize(
    "given",
    [io.StringIO("text"), _Giving(b"", 1, "text"), _Giving(b"", 1, 5), _Giving(b"", 1, ["a"])],
    ids=["StringIO", "text", "number", "list"],
)
def test_what_gives_no_bytes_is_a_type_error(given: Any) -> None:
    with pytest.raises(TypeError, match="binary file object"):
        nncomp.open(given).read()


def test_what_gives_too_much_is_an_error() -> None:
    with pytest.raises(DataError, match="where 4 were asked for"):
        nncomp.open(cast(Any, _Giving(b"", 1, b"more than four"))).read()


@pytest.mark.parametrize("answer", [0, -1, 10_000_000, "all"])
def test_what_takes_an_impossible_number_is_an_error(answer: object) -> None:
    with pytest.raises(OSError, match="file object"):
        PatientWriter(_Taking(5, answer)).write(TEXT)


@pytest.mark.parametrize("data", [None, "text", 5, ["a"], 1.5])
@pytest.mark.parametrize(
    "call",
    [
        nncomp.compress,
        nncomp.decompress,
        lambda data: nncomp.Compressor(model=None).compress(data),
        lambda data: nncomp.Decompressor().decompress(data),
        lambda data: nncomp.open(io.BytesIO(), "wb", model=None).write(data),
    ],
)
def test_what_is_no_bytes_is_a_type_error(call: Callable[[Any], object], data: object) -> None:
    with pytest.raises(TypeError):
        call(data)


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), TimeoutError("timed out")])
def test_a_failure_of_the_object_is_named(error: OSError) -> None:
    class Failing:
        def read(self, count: int) -> bytes:
            raise error

    given: Any = Failing()
    with pytest.raises(DataError, match=str(error.strerror or error)) as caught:
        nncomp.open(given).read()
    assert caught.value.__cause__ is error


def test_a_file_that_is_written_while_it_is_not_read(tmp_path: Path) -> None:
    """A FIFO opened by name, both ways."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    parts: list[bytes] = []

    def reader() -> None:
        with nncomp.open(fifo) as file:
            parts.append(file.read())

    thread = started(reader)
    with nncomp.open(fifo, "wb", model=None) as file:
        file.write(TEXT)
    thread.join()
    assert parts == [TEXT]


@pytest.mark.parametrize("step", [1, 7, 1000, 10**9])
@pytest.mark.parametrize("most", [1, 100, 4096, 10**9])
def test_no_more_bytes_than_asked_for(step: int, most: int) -> None:
    """What a piece becomes comes out in parts; all of it comes, and the end is seen."""
    packed, text = nncomp.compress(TEXT[:900], model=None), TEXT[:900]
    decompressor = nncomp.Decompressor()
    parts: list[bytes] = []
    for i in range(0, len(packed), step):
        piece = packed[i : i + step]
        assert decompressor.needs_input
        while not decompressor.eof and (piece or not decompressor.needs_input):
            parts.append(decompressor.decompress(piece, max_length=most))
            piece = b""
    assert b"".join(parts) == text and max(map(len, parts)) <= most
    assert decompressor.eof and not decompressor.needs_input and decompressor.unused_data == b""


@pytest.mark.parametrize("step", [1, 4, 10**9])
def test_a_frame_of_nothing_ends_where_no_bytes_are_asked_for(step: int) -> None:
    packed = nncomp.compress(b"", model=None)
    decompressor = nncomp.Decompressor()
    for i in range(0, len(packed), step):
        assert decompressor.needs_input and not decompressor.eof
        assert decompressor.decompress(packed[i : i + step], max_length=0) == b""
    assert decompressor.eof and not decompressor.needs_input


def test_a_bomb_is_decoded_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a limit, of 100 blocks that arrive at once one is decoded."""
    sink = io.BytesIO()
    writer = FrameWriter(sink)
    for is_last, raw, count in ((False, bytes(1 << 20), 99), (True, bytes(1 << 21), 1)):
        block = Block(BlockKind.LZMA, len(raw), encode_lzma(raw), checksum(raw), is_last)
        for _ in range(count):
            writer.write(block, bytes(8))
    decompressor, decoded = nncomp.Decompressor(), list[int]()
    real = decompressor._decoded

    def watched(*given: Any) -> bytes:
        decoded.append(1)
        return real(*given)

    monkeypatch.setattr(decompressor, "_decoded", watched)
    assert decompressor.decompress(sink.getvalue(), 0) == b"" and not decoded
    assert decompressor.decompress(b"", 10) == bytes(10) and len(decoded) == 1
    assert not decompressor.needs_input and not decompressor.eof


@pytest.mark.parametrize("kind", ["reading", "Compressor", "Decompressor"])
def test_what_is_in_the_middle_of_a_frame_cannot_be_pickled(kind: str) -> None:
    made: object = nncomp.open(io.BytesIO(PACKED))
    if kind != "reading":
        made = nncomp.Decompressor() if kind == "Decompressor" else nncomp.Compressor(model=None)
    with pytest.raises(TypeError, match=f"cannot pickle '{type(made).__name__}' object"):
        pickle.dumps(made)
