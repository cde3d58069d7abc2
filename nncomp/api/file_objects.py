"""A .nnc file as a file object: `NncompFile`, and the search for the block that holds a byte."""

from __future__ import annotations

import builtins
import io
import os
from collections.abc import Iterator
from functools import cached_property
from typing import Any, BinaryIO, NoReturn, Protocol, TypeVar, cast

from nncomp.api import at_exit
from nncomp.api.chosen_model import OF_LEVEL, ModelName, ReferenceText, find_with
from nncomp.api.incremental import Compressor
from nncomp.errors import FormatError
from nncomp.format.frame_reader import TrailingError, read_blocks
from nncomp.format.frames import FrameBlock
from nncomp.format.index import Place, locate_blocks, read_block
from nncomp.stream.assembly import Assembly
from nncomp.stream.patience import PatientReader, PatientWriter
from nncomp.stream.ranges import Literals
from nncomp.stream.tasks import Decoded, FindModel, decode_task, reference_of

_Part = TypeVar("_Part", bytes, int)
FileName = str | bytes | os.PathLike[str] | os.PathLike[bytes] | BinaryIO | io.IOBase


class _Blocks(Protocol):
    """Finds the block that holds a position: where the block begins and its raw bytes; None at or after the end."""

    def at(self, position: int) -> tuple[int, bytes] | None: ...


class _LocatedBlocks:
    """The blocks of a file that can seek. Only a block that is asked for is decoded, and those that it has copies of."""

    def __init__(self, file: BinaryIO, find_model: FindModel) -> None:
        self._file = file
        self._find_model = find_model
        self._places: list[Place] | None = None
        self._failure: list[FormatError] = []
        self._has_checked_empty = False

    def places(self) -> list[Place]:
        """Return the places of all blocks before the first damage."""
        if self._places is None:
            self._places = locate_blocks(self._file, self._failure)
        return self._places

    @cached_property
    def _literals(self) -> Literals:
        return Literals(self.places(), self._decode, reference_of(self._find_model))

    def _decode(self, place: Place) -> Decoded:
        return decode_task(read_block(self._file, place), place.head, self._find_model).run()

    def raw_end(self) -> int:
        """Return the size of the content; raises the FormatError of a damage, but not for bytes after the content."""
        places = self.places()
        if self._failure and not isinstance(self._failure[0], TrailingError):
            raise self._failure[0]
        return places[-1].raw_end

    def nearest(self, position: int) -> int:
        """Return the position, or the nearest one that is not before the start or after the end, as bz2 and lzma do."""
        places = self.places()
        return max(0, position if self._failure or not places else min(position, places[-1].raw_end))

    def at(self, position: int) -> tuple[int, bytes] | None:
        for place in self.places():  # about 80 for a gigabyte, in blocks of the usual size
            if place.raw_start <= position < place.raw_end:
                decoded = self._decode(place)
                if place.head.window_log2:
                    self._literals.keep(place, decoded.literals)
                return place.raw_start, b"".join(self._literals.raw(place, decoded))
        self._check_empty()
        if self._failure:
            raise self._failure[0]
        return None

    def _check_empty(self) -> None:
        """Compare blocks of nothing with their checksums, once: no position is in them. Raises FormatError."""
        for place in self.places() if not self._has_checked_empty else []:
            if not place.raw_bytes:
                self._decode(place)
        self._has_checked_empty = True


class _PassingBlocks:
    """The blocks of a stream that cannot seek, read from front to end."""

    def __init__(self, file: BinaryIO, find_model: FindModel) -> None:
        self._assembly = Assembly(reference_of(find_model))
        self._blocks: Iterator[FrameBlock] = read_blocks(file, self._assembly.expect)
        self._find_model = find_model
        self._raw_end = 0

    def at(self, position: int) -> tuple[int, bytes] | None:
        for found in self._blocks:
            raw_start = self._raw_end
            self._raw_end += found.block.raw_bytes
            decoded = decode_task(found.block, found.head, self._find_model).run()
            data = b"".join(self._assembly.add(found.frame, found.head, *decoded))
            if position < self._raw_end:
                return raw_start, data
        self._assembly.check()
        return None


class _From:
    """The part of a file from a position on, as a file that begins at 0."""

    def __init__(self, file: BinaryIO, first: int) -> None:
        self._file = file
        self._first = first
        self.read = file.read
        self.fileno = file.fileno

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset if whence else self._first + offset, whence) - self._first


class _Reader(io.RawIOBase):
    """The content of a .nnc file as a raw stream, with one decoded block in memory. io.BufferedReader adds the other methods."""

    def __init__(self, file: BinaryIO, find_model: FindModel) -> None:
        is_seekable = file.seekable()
        first = file.tell() if is_seekable else 0
        file = cast(BinaryIO, _From(file, first)) if first else file
        self._located = _LocatedBlocks(file, find_model) if is_seekable else None
        self._blocks: _Blocks = self._located or _PassingBlocks(file, find_model)
        self._position = 0
        self._start, self._data = 0, b""  # of the last decoded block
        self.failure: FormatError | None = None  # at the end of what can be read

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._located is not None

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if self._located is None:
            raise io.UnsupportedOperation("The compressed file cannot seek.")
        if whence == io.SEEK_CUR:
            offset += self._position
        elif whence == io.SEEK_END:
            offset += self._located.raw_end()
        elif whence != io.SEEK_SET:
            raise ValueError(f"whence is {whence}. It must be 0, 1 or 2.")
        self.failure = None
        self._position = self._located.nearest(offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        part = self._next(len(view))
        view[: len(part)] = part
        return len(part)

    def readall(self) -> bytes:
        parts: list[bytes] = []
        while part := self._next(None):
            parts.append(bytes(part))
        return b"".join(parts)

    def _next(self, count: int | None) -> memoryview:
        """Return up to `count` bytes from the position, or for None the rest of the block; empty only at the end.

        Damage is an end, too; then `failure` says what it is. What was read before it is not lost by raising here.
        """
        if not self._start <= self._position < self._start + len(self._data):
            try:
                found = self._blocks.at(self._position) if not self.failure and (count is None or count) else None
            except FormatError as error:
                self.failure, found = error, None
            if found is None:
                return memoryview(b"")
            self._start, self._data = found
        start = self._position - self._start
        part = memoryview(self._data)[start : None if count is None else start + count]
        self._position += len(part)
        return part


class NncompFile(io.BufferedIOBase):
    """A file object of the content of a .nnc file, as `nncomp.open` returns it. `lzma.LZMAFile` is the model for it.

    A given file object is used from its position on.

    Reading: if the file can seek, a read decodes only the block that holds the byte (up to 64 MiB of
    content) and those that it has copies of, and keeps the last block.
    Otherwise the file is read from front to end, without `seek`. Every block is compared with its checksum.
    Writing: there is no `seek`, and `close` completes the file. `mode`, `level`, `model`: see `nncomp.open`.

    >>> import io, tarfile, nncomp
    >>> held = io.BytesIO()
    >>> with nncomp.NncompFile(held, "wb", model=None) as file, tarfile.open(fileobj=file, mode="w") as tar:
    ...     tar.addfile(tarfile.TarInfo("empty.txt"))
    >>> held.seek(0)
    0
    >>> with nncomp.NncompFile(held) as file, tarfile.open(fileobj=file) as tar:
    ...     tar.getnames()
    ['empty.txt']
    """

    _file: BinaryIO | None = None  # while it is open

    def __init__(
        self,
        file: FileName,
        mode: str = "rb",
        *,
        level: int | None = None,
        model: ModelName = OF_LEVEL,
        reference: ReferenceText = None,
        block_size: int | None = None,
    ) -> None:
        kind = mode.replace("b", "", 1) if isinstance(mode, str) else ""
        if kind not in ("r", "w", "x", "a"):
            raise ValueError(f"The mode {mode!r} is unknown. Use r, w, x or a, with b or without.")
        self._reader: io.BufferedReader | None = None
        self._raw: _Reader | None = None
        self._compressor = None
        if kind != "r":
            self._compressor = Compressor(level=level, model=model, reference=reference, block_size=block_size)
        find_model = find_with(model, reference) if kind == "r" else None
        self._written_bytes = 0
        self._is_ours = isinstance(file, (str, bytes, os.PathLike))
        self.mode = kind + "b"
        if isinstance(file, (str, bytes, os.PathLike)):
            self._file = cast(BinaryIO, builtins.open(file, self.mode))  # noqa: PTH123, SIM115 (bytes, and closed by close)
        else:
            self._file = cast(BinaryIO, file)
        self._writer = None if kind == "r" else PatientWriter(self._file)
        if self._writer:
            at_exit.finish_later(self)
        self.name = getattr(self._file, "name", "")
        if find_model:
            source = self._file if isinstance(self._file, io.BytesIO) else cast(BinaryIO, PatientReader(self._file))
            self._raw = _Reader(source, find_model)
            self._reader = io.BufferedReader(self._raw)

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"cannot pickle {type(self).__name__!r} object")

    def close(self) -> None:
        """Write the rest and the end of the frame. Close the file unless it was given as an object. Later calls do nothing."""
        if self._file is None:
            return
        file, self._file = self._file, None
        try:
            if self._compressor:
                assert self._writer is not None
                self._writer.write(self._compressor.flush())
        finally:
            self._compressor = self._writer = None
            if self._is_ours:
                file.close()

    @property
    def closed(self) -> bool:
        return self._file is None

    def readable(self) -> bool:
        self._check_open()
        return self._reader is not None

    def writable(self) -> bool:
        self._check_open()
        return self._compressor is not None

    def seekable(self) -> bool:
        self._check_open()
        return self._reader is not None and self._reader.seekable()

    def fileno(self) -> int:
        """Return the descriptor of the compressed file."""
        return self._check_open().fileno()

    def read(self, size: int | None = -1) -> bytes:
        """Return the next `size` bytes, or all that is left. Damage raises FormatError, after what is whole before it.

        All that is left is all, so there damage raises at once; but bytes after the content do not keep it back: they raise
        TrailingError at the next read.
        """
        data = self._check_reader().read(size)
        is_all = size is None or size < 0
        if is_all and self._raw and self._raw.failure and not isinstance(self._raw.failure, TrailingError):
            raise self._raw.failure
        return self._or_failure(data, size)

    def read1(self, size: int = -1) -> bytes:
        return self._or_failure(self._check_reader().read1(size), size)

    def readinto(self, buffer: Any) -> int:
        return self._or_failure(self._check_reader().readinto(buffer), memoryview(buffer).nbytes)

    def peek(self, size: int = 0) -> bytes:
        """Return at least one byte from the position, fewer only at the end, and keep the position."""
        return self._or_failure(self._check_reader().peek(size), -1)

    def readline(self, size: int | None = -1) -> bytes:
        size = -1 if size is None else size
        return self._or_failure(self._check_reader().readline(size), size)

    def _or_failure(self, result: _Part, size: int | None) -> _Part:
        """Return what was read; raise the error of a damage if that is why there is nothing."""
        if not result and size != 0 and self._raw and self._raw.failure:
            raise self._raw.failure
        return result

    def __iter__(self) -> NncompFile:
        self._check_reader()
        return self

    def __next__(self) -> bytes:
        if line := self.readline():
            return line
        raise StopIteration

    def write(self, data: Any) -> int:
        """Take all of `data` (any bytes-like object) and return its length. Complete blocks are written at once."""
        self._check_open()
        if self._compressor is None or self._writer is None:
            raise io.UnsupportedOperation("The file is open for reading only.")
        view = memoryview(data).cast("B")
        self._writer.write(self._compressor.compress(view))
        self._written_bytes += len(view)
        return len(view)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a byte of the content, and return where this is. The block is decoded at the next read.

        A position before the start is the start, and one after the end is the end, as in bz2 and lzma.
        """
        return self._check_reader().seek(offset, whence)

    def tell(self) -> int:
        self._check_open()
        return self._reader.tell() if self._reader else self._written_bytes

    def _check_open(self) -> BinaryIO:
        if self._file is None:
            raise ValueError("The file is closed.")
        return self._file

    def _check_reader(self) -> io.BufferedReader:
        self._check_open()
        if self._reader is None:
            raise io.UnsupportedOperation("The file is open for writing only.")
        return self._reader
