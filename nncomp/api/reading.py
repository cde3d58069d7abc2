"""The content of a .nnc file as a raw stream: `Reader`, and the search for the block that holds a byte.

Knows files that can seek and streams that cannot; nothing of writing, of opening files by name or of modes.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any, BinaryIO, Protocol, cast

from nncomp.blocks.memory import Memory
from nncomp.errors import FormatError
from nncomp.format.frame_reader import TrailingError, read_blocks
from nncomp.format.frames import FrameBlock
from nncomp.format.index import Place, locate_blocks, read_block
from nncomp.machine.forks import once
from nncomp.stream.assembly import Assembly
from nncomp.stream.ranges import Literals
from nncomp.stream.tasks import Decoded, FindModel, decode_task, reference_of


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

    @once
    def _literals(self) -> Literals:
        return Literals(self.places(), self._decode, reference_of(self._find_model))

    def _decode(self, place: Place) -> Decoded:
        return decode_task(read_block(self._file, place), place.head, self._find_model, memory=Memory()).run()

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
        places = self.places()
        number = bisect_right(places, position, key=lambda place: place.raw_end)
        if number < len(places):
            place = places[number]
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
            decoded = decode_task(found.block, found.head, self._find_model, memory=Memory()).run()
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


class Reader(io.RawIOBase):
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
