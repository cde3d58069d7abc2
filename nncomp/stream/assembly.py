"""The content again: literals that are decoded, and the copies between them, put together and compared with the frame's checksum.

Knows bytes and where they go; nothing of how literals are coded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from nncomp.errors import FormatError
from nncomp.format.copies import Copy
from nncomp.format.frames import FrameHeader
from nncomp.format.numbers import CHECKSUM_BYTES
from nncomp.stream.history import History
from nncomp.stream.reference import Reference, needed_reference

Part = bytes | memoryview
PART_BYTES = 1 << 20  # of a copy, at a time
_WRITTEN_BYTES = 1 << 16  # small parts are joined


class Earlier(Protocol):
    """The literals of a frame before a block: how many there are, how far back a copy may reach, and those at a place."""

    @property
    def end(self) -> int: ...

    @property
    def window_bytes(self) -> int: ...

    def read(self, place: int, count: int, /) -> bytes: ...


@dataclass(frozen=True)
class AfterReference:
    """The literals of a frame before a block, and before them a reference, whose places are negative."""

    earlier: Earlier | None  # None in a frame of one block
    reference: Reference

    @property
    def end(self) -> int:
        return self.earlier.end if self.earlier else 0

    @property
    def window_bytes(self) -> int:
        return self.earlier.window_bytes if self.earlier else 0

    def read(self, place: int, count: int, /) -> bytes:
        if place < 0:
            return self.reference.read(self.reference.size + place, min(count, -place))
        assert self.earlier
        return self.earlier.read(place, count)


def content_hash() -> hashlib.blake2b:
    """Return what takes the content of a frame and gives its checksum, 8 bytes."""
    return hashlib.blake2b(digest_size=CHECKSUM_BYTES)


def pieces(copies: Sequence[Copy], literal_bytes: int, first: int, last: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield what the raw bytes from `first` up to `last` of a block are: (place, distance, from, to) for each piece.

    A piece is the bytes `from` up to `to` of the literals from `place` on, which is relative to the block's first; where
    `distance` is not 0, `distance` literals again and again.
    """
    raw = 0
    for place, distance, length in _whole_pieces(copies, literal_bytes):
        start, stop = max(first - raw, 0), min(last - raw, length)
        if start < stop:
            yield place, distance, start, stop
        raw += length
        if raw >= last:
            return


def _whole_pieces(copies: Sequence[Copy], literal_bytes: int) -> Iterator[tuple[int, int, int]]:
    """Yield (place, distance, length) of all literals and copies of a block in turn."""
    at = 0
    for run, length, distance in copies:
        yield at, 0, run
        at += run
        yield at - distance, distance, length
    yield at, 0, literal_bytes - at


def check_sources(copies: Sequence[Copy], before: int, window_bytes: int | None, reference_bytes: int = 0) -> None:
    """Raise FormatError for a copy from where no text is kept, in a block that has so many literals before it.

    `window_bytes` is None for the only block of a frame; a reference is kept beside the window.
    """
    for copy in copies:
        before += copy.run
        source = before - copy.distance
        if source < 0 < reference_bytes:
            if source < -reference_bytes or source + copy.length > 0:
                raise FormatError("A copy is not within the reference; the file is altered.")
        elif source < 0 or (window_bytes is not None and copy.distance > window_bytes):
            raise FormatError("A copy is of text from before the window or the beginning; the file is altered.")


def put_together(
    literals: bytes,
    copies: Sequence[Copy],
    earlier: Earlier | None,
    first: int = 0,
    last: int | None = None,
    reference: Reference | None = None,
) -> Iterator[Part]:
    """Yield the raw bytes of a block in parts, or those from `first` up to `last`.

    `earlier` has the literals of the blocks before; without it the block is the only one of its frame. `reference` is the
    frame's. Raises FormatError for a copy from where no text is kept.
    """
    before, window_bytes = (earlier.end, earlier.window_bytes) if earlier else (0, None)
    check_sources(copies, before, window_bytes, reference.size if reference else 0)
    earlier = AfterReference(earlier, reference) if reference else earlier
    view = memoryview(literals)
    last = len(literals) + sum(copy.length for copy in copies) if last is None else last
    for piece in pieces(copies, len(literals), first, last):
        yield from piece_bytes(view, earlier, *piece)


def piece_bytes(
    literals: memoryview, earlier: Earlier | None, place: int, distance: int, start: int, stop: int
) -> Iterator[Part]:
    """Yield the bytes of a piece, as `pieces` says it."""
    if not distance:
        yield literals[place + start : place + stop]
    elif stop > distance and distance <= PART_BYTES:
        yield from _repeated(b"".join(_literals(earlier, literals, place, distance)), start, stop)
    else:
        while start < stop:
            count = min(stop - start, distance - start % distance)
            yield from _literals(earlier, literals, place + start % distance, count)
            start += count


def _literals(earlier: Earlier | None, view: memoryview, place: int, count: int) -> Iterator[Part]:
    """Yield literals from a place on, relative to those of the block: negative for earlier ones."""
    while earlier and place < 0 and count:
        part = earlier.read(earlier.end + place, min(count, -place, PART_BYTES))
        yield part
        place += len(part)
        count -= len(part)
    yield view[place : place + count]


def _repeated(unit: bytes, start: int, stop: int) -> Iterator[Part]:
    """Yield the bytes from `start` up to `stop` of a unit again and again."""
    count = min(PART_BYTES, stop - start)  # many copies of few bytes take no more than these
    many = memoryview(unit * (count // len(unit) + 2))
    while start < stop:
        part = many[start % len(unit) :][: stop - start]
        yield part
        start += len(part)


def joined(parts: Iterable[Part]) -> Iterator[bytes]:
    """Yield the same bytes in parts that are worth a write each."""
    held = bytearray()
    for part in parts:
        held += part
        if len(held) >= _WRITTEN_BYTES:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)


class Assembly:
    """Takes the decoded blocks of all frames in order and gives their content, compared with each frame's checksum.

    `reference` is that of the frames that name one.
    """

    def __init__(self, reference: Reference | None = None) -> None:
        self._reference = reference
        self._frame = -1
        self._history: History | None = None
        self._hash = content_hash()
        self._expected: dict[int, bytes] = {}

    def expect(self, frame: int, content: bytes) -> None:
        """Take the checksum of a frame's content, before the next frame's first block is added."""
        self._expected[frame] = content

    def add(self, frame: int, head: FrameHeader, literals: bytes, copies: Sequence[Copy]) -> Iterator[bytes]:
        """Yield the raw bytes of the next block: of the frame with this number and header, with these literals and copies.

        Raises FormatError, and NoReferenceError if its frame names a reference that is not given.
        """
        reference = needed_reference(head, self._reference)
        if frame != self._frame:
            self.check()
            self._frame, self._hash = frame, content_hash()
            self._history = History(1 << head.window_log2) if head.window_log2 else None
        for part in joined(put_together(literals, copies, self._history, reference=reference)):
            if self._history:
                self._hash.update(part)
            yield part
        if self._history:
            self._history.append(literals)

    def check(self) -> None:
        """Raise FormatError unless the content of the last frame is that of its checksum. The frame is complete."""
        expected = self._expected.pop(self._frame, None)
        if expected is not None and expected != self._hash.digest():
            raise FormatError("The content is not that of its checksum, though each block is; the file is altered.")
        self.close()

    def close(self) -> None:
        """Let go of the text that is kept for copies."""
        if self._history:
            self._history.close()
            self._history = None
