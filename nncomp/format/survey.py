"""Where the blocks of a damaged `.nnc` file are: from header to header, by the index, or by their magic numbers.

Knows the layout, as `nncomp/format/frames.py` does, and asks its caller whether a doubtful place holds a block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import BinaryIO

from nncomp.errors import FormatError
from nncomp.format.frame_reader import ByteSource, check_magic, read_block_header, read_frame_header, take_footer
from nncomp.format.frames import BlockHeader, FrameHeader, FrameIndex, ModelReference, Start, content_of, frame_header
from nncomp.format.index import Entry, Place, read_entries, read_places
from nncomp.format.numbers import (
    BLOCK_MAGIC,
    CHECKSUM_BYTES,
    LEAST_BLOCK_BYTES,
    MAGIC,
    MAX_RAW_BYTES,
    MAX_VARINT_BYTES,
    MAX_WINDOW_LOG2,
    MODEL_HASH_BYTES,
    REFERENCE_HASH_BYTES,
    TRAILER_BYTES,
    BlockKind,
)
from nncomp.format.varints import varint

# What a header that is damaged may have been, for its length and whether blocks follow; which model it named nobody knows.
_ANY_MODEL = ModelReference(0, bytes(MODEL_HASH_BYTES))
_HEADERS = [
    FrameHeader(None, window, frame_header(model, window, reference).data, reference)
    for reference in (b"", bytes(REFERENCE_HASH_BYTES))
    for window in (MAX_WINDOW_LOG2, 0)
    for model in (_ANY_MODEL, None)
]
_FIRST_WINDOW_BYTES, _WINDOW_BYTES = 1 << 12, 1 << 20  # what is read at a time to find something: twice as much each time
# The most that a footer has, and a block in it.
_FOOTER_BYTES, _ENTRY_BYTES = 2 * MAX_VARINT_BYTES + 2 * CHECKSUM_BYTES + TRAILER_BYTES, 12


@dataclass(frozen=True)
class Found:
    """Where a block should be: its frame (where that begins) and its header, the block's own, and where its body begins."""

    frame: int
    head: FrameHeader
    header: BlockHeader
    body_offset: int

    @property
    def offset(self) -> int:
        return self.body_offset - len(self.header.data)

    @property
    def end(self) -> int:
        return self.body_offset + self.header.body_bytes


@dataclass(frozen=True)
class Gap:
    """Blocks of a frame that are missing; None where it is not known how many bytes or literals they had.

    `raw_bytes` is counted from what the headers of the blocks before say of their sizes.
    """

    frame: int
    raw_bytes: int | None = None
    literal_bytes: int | None = None
    has_header: bool = False  # of its frame there is a right header and no block: so something is missing


@dataclass(frozen=True)
class Content:
    """The checksum of the content of a frame, after its blocks."""

    frame: int
    checksum: bytes


Piece = Found | Gap | Content


class Survey:
    """The pieces of a file that can seek; `is_right` tells whether a block is decoded to what its checksum says."""

    def __init__(self, stream: BinaryIO, is_right: Callable[[Found], bool]) -> None:
        self._stream = stream
        self._is_right = is_right
        self._size = stream.seek(0, 2)
        self._ends: dict[int, list[int]] | None = None
        self._frame_from = self._frame_at = -1  # no right header of a frame is from the one up to the other, where one is
        self._damaged: dict[int, bool] = {}  # places after a frame, and whether a frame with a damaged header begins there

    def pieces(self) -> Iterator[Piece]:
        """Yield all blocks in the order of the content, a Gap where some are missing, and the Content where it is known."""
        at = 0
        while at < self._size:
            pieces, at = self._whole_frame(at) or self._indexed_frame(at) or self._searched_frame(at)
            yield from pieces

    def _at(self, offset: int) -> ByteSource:
        self._stream.seek(offset)
        source = ByteSource(self._stream)
        source.position = offset
        return source

    def _read(self, offset: int, count: int) -> bytes:
        return self._at(offset).take_up_to(count)

    def _frame_header(self, at: int) -> FrameHeader | None:
        source = self._at(at)
        try:
            check_magic(source.take(len(MAGIC)), 0)
            return read_frame_header(source)
        except FormatError:
            return None

    def _block(self, frame: int, at: int, head: FrameHeader, is_first: bool) -> Found | None:
        """Return the block whose header is at a place; None if there is none."""
        source = self._at(at)
        try:
            header = read_block_header(source, head, is_first)
        except FormatError:
            return None
        found = Found(frame, head, header, source.position)
        return found if header.kind in set(BlockKind) and found.end <= self._size else None

    def _whole_frame(self, at: int) -> tuple[Sequence[Piece], int] | None:
        """Return the blocks of the frame that begins here, and its end, if all its headers and its footer are right."""
        head = self._frame_header(at)
        if head is None:
            return None
        index, pieces, place = FrameIndex(head.data), list[Found](), at + len(head.data)
        while True:
            block = self._block(at, place, head, not pieces)
            if block is None:
                return None
            index.add(block.header)
            pieces.append(block)
            place = block.end
            if block.header.is_last:
                break
        source = self._at(place)
        try:
            content = take_footer(source, index)
        except FormatError:
            return None
        end = source.position
        if not head.window_log2 and not self._is_frame_end(end) and self._next_frame(at + 1) < end:
            return (pieces, end) if self._is_right(pieces[0]) else None  # or its size is damaged, and the next frame is in it
        return ([*pieces, *([Content(at, content)] if content else [])], end) if self._is_followed(end) else None

    def _is_frame_end(self, at: int) -> bool:
        return at == self._size or self._read(at, len(MAGIC)) == MAGIC

    def _is_followed(self, at: int) -> bool:
        """Return whether a frame that ends here is followed by nothing or by a frame, whose header may be damaged."""
        return self._is_frame_end(at) or self._begins_damaged(at)

    def _begins_damaged(self, at: int) -> bool:
        """Return whether a block, of a frame without a right header, is found here before the next frame."""
        if at not in self._damaged:
            firsts = (self._block(at, at + len(head.data), head, True) for head in self._assumed(at))
            is_first = any(first is not None and self._is_right(first) for first in firsts)
            self._damaged[at] = is_first or self._next_block(at, at, _HEADERS[0])[0] is not None
        return self._damaged[at]

    def _assumed(self, at: int) -> list[FrameHeader]:
        """Return what a damaged header here may have been; none reaches into the next frame."""
        most = self._read(at + 1, max(len(head.data) for head in _HEADERS) + len(MAGIC)).find(MAGIC) + 1
        return [head for head in _HEADERS if not most or len(head.data) <= most]

    def _indexed_frame(self, at: int) -> tuple[list[Piece], int] | None:
        """Return the blocks of the frame that begins here, and its end, if the index before an end adds up to its length."""
        heads = self._heads(at)
        candidates = [(end, head) for head in heads for end in self._ends_of(at + len(head.data))]
        for end, head in sorted(candidates, key=itemgetter(0)):
            try:
                places, footer = read_places(self._stream, at, head, end)
            except FormatError:
                continue
            if self._fits(at, places):
                return [*(self._indexed(at, place) for place in places), Content(at, content_of(footer))], end
        return None

    def _ends_of(self, start: int) -> list[int]:
        """Return where indexes end whose blocks begin at a place. All are looked for once: there may be many frames."""
        if self._ends is None:
            self._ends, end = {}, 0
            while end < self._size:
                end = self._next(MAGIC, end + 1)
                footer_bytes = int.from_bytes(self._read(max(0, end - TRAILER_BYTES), TRAILER_BYTES), "little")
                footer = self._entries(end - footer_bytes) if footer_bytes < end else None
                if footer and footer[1] == end:
                    first = end - footer_bytes - sum(entry[1] for entry in footer[0])
                    self._ends.setdefault(first, []).append(end)
        return self._ends.get(start, [])

    def _heads(self, at: int) -> list[FrameHeader]:
        """Return what the header of the frame that begins here may be: as it is read, or as it may have been."""
        head = self._frame_header(at)
        return self._assumed(at) if head is None else [head, *self._assumed(at)]

    def _fits(self, at: int, places: list[Place]) -> bool:
        """Return whether blocks are where an index says, if the frame's header has the length that was taken for it."""
        return any(self._read(place.offset, len(BLOCK_MAGIC)) == BLOCK_MAGIC for place in places[1:]) or (
            self._block(at, places[0].offset, places[0].head, True) is not None
        )

    def _indexed(self, frame: int, place: Place) -> Found | Gap:
        """Return the block at a place of the index. Where its header is damaged, the index stands in, but not for a list."""
        found = self._block(frame, place.offset, place.head, place.is_first)
        if found and found.end == place.end and found.header.literal_bytes == place.literal_bytes:
            copies = found.header.copies  # the size that they make is in the header and in the index alone
            if copies and found.header.raw_bytes != place.raw_bytes:
                copies = copies._replace(copied_bytes=place.raw_bytes - place.literal_bytes)
                found = replace(found, header=replace(found.header, copies=copies))
            return found
        gap = Gap(frame, place.raw_bytes, place.literal_bytes)
        if place.kind not in set(BlockKind) or place.raw_bytes != place.literal_bytes:
            return gap
        before = 1 + len(varint(place.literal_bytes)) + CHECKSUM_BYTES
        if not place.is_first:
            before += len(BLOCK_MAGIC) + len(varint(place.raw_start)) + len(varint(place.literal_start))
        for size_bytes in (0,) if place.kind == BlockKind.STORED else (1, 2, 3, 4):
            payload_bytes = place.block_bytes - before - size_bytes
            if payload_bytes >= 0 and (not size_bytes or len(varint(payload_bytes)) == size_bytes):
                body = place.end - payload_bytes
                checksum = self._read(body - CHECKSUM_BYTES, CHECKSUM_BYTES)
                start = Start(place.raw_start, place.literal_start)
                header = BlockHeader(place.kind, place.literal_bytes, payload_bytes, checksum, place.is_last, None, start, b"")
                return Found(frame, place.head, header, body)
        return gap

    def _next(self, magic: bytes, at: int, stop: int | None = None) -> int:
        """Return where a magic number is next, or `stop`, by default the end of the file."""
        stop, count = self._size if stop is None else stop, _FIRST_WINDOW_BYTES
        while at < stop:
            window = self._read(at, min(count, stop - at) + len(magic) - 1)
            if (found := window.find(magic)) >= 0:
                return at + found
            at += count
            count = min(2 * count, _WINDOW_BYTES)
        return stop

    def _searched_frame(self, at: int) -> tuple[list[Piece], int]:
        """Return what can be found of the frame that begins here, or was to begin here, and where it ends."""
        heads = self._heads(at)
        for head in heads:
            first = self._block(at, at + len(head.data), head, True)
            if first and self._holds(first):
                return self._search(at, head, first)
        pieces, end = self._search(at, heads[0] if heads and heads[0].window_log2 else _HEADERS[0], None)
        has_header = self._frame_header(at) is not None
        return [replace(each, has_header=has_header) if isinstance(each, Gap) else each for each in pieces], end

    def _search(self, frame: int, head: FrameHeader, block: Found | None) -> tuple[list[Piece], int]:
        """Return the pieces of a frame whose first block is found, or is missing, and where the frame ends."""
        found = [block] if block else []
        place = block.end if block else frame + 1
        while not (found and found[-1].header.is_last):
            here = self._block(frame, place, head, False) if found else None
            if here is None or not self._holds(here):
                here, place = self._next_block(frame, place, head)
            if here is None:
                return _with_gaps(frame, found, place, self._total(place)), place
            found.append(here)
            place = here.end
        footer = self._entries(place)
        pieces = _with_gaps(frame, found, place, _sum(footer[0]) if footer else None)
        end = place
        if footer:
            end = footer[1]
            pieces.append(Content(frame, content_of(self._read(place, end - place))))
        if not self._is_followed(end):
            junk, end = end, self._next(MAGIC, end)
            if footer or end - junk > _most_footer_bytes(found, any(isinstance(piece, Gap) for piece in pieces)):
                pieces.append(Gap(frame))  # more than a damaged footer
        return pieces, end

    def _total(self, end: int) -> Start | None:
        """Return what the footer that ends here says a frame has, or None if there is no footer."""
        size = int.from_bytes(self._read(max(0, end - TRAILER_BYTES), TRAILER_BYTES), "little")
        footer = self._entries(end - size) if size < end else None
        if footer is None or footer[1] != end:
            return None
        return _sum(footer[0])

    def _next_frame(self, at: int) -> int:
        """Return where the next right header of a frame is, or the end of the file."""
        if not self._frame_from <= at <= self._frame_at:
            stop = self._next(MAGIC, at)
            while stop < self._size and self._frame_header(stop) is None:
                stop = self._next(MAGIC, stop + 1)
            self._frame_from, self._frame_at = at, stop
        return self._frame_at

    def _next_block(self, frame: int, at: int, head: FrameHeader) -> tuple[Found | None, int]:
        """Return the next block of a frame and where it ends, or None and where the next frame begins or the file ends."""
        stop = self._next_frame(at)
        while (at := self._next(BLOCK_MAGIC, at, stop)) < stop:
            block = self._block(frame, at, head, False)
            if block and self._holds(block):
                return block, block.end
            at += 1
        return None, stop

    def _holds(self, found: Found) -> bool:
        """Return whether a block is where a header says: what should follow follows, or it is what its checksum says."""
        after = self._read(found.end, len(BLOCK_MAGIC))
        follows = self._is_frame_end(found.end) if found.header.is_last else after == BLOCK_MAGIC
        return follows or (found.header.is_last and self._entries(found.end) is not None) or self._is_right(found)

    def _entries(self, at: int) -> tuple[list[Entry], int] | None:
        """Return the entries of the footer at a place (kind, block bytes, literals, copied bytes), and its end."""
        try:
            return read_entries(self._at(at), self._size)
        except FormatError:
            return None


def _most_footer_bytes(found: list[Found], are_more: bool) -> int:
    """Return how long the footer of these blocks is, or may be where others are missing."""
    if are_more:
        return _FOOTER_BYTES + _ENTRY_BYTES * len(found)
    index = FrameIndex(b"")
    for block in found:
        index.add(block.header)
    return len(index.footer(bytes(CHECKSUM_BYTES)))


def _sum(entries: list[Entry]) -> Start:
    """Return the raw bytes and the literals of all blocks that a footer has entries of."""
    return Start(sum(each[2] + each[3] for each in entries), sum(each[2] for each in entries))


def _with_gaps(frame: int, found: list[Found], end_offset: int, total: Start | None) -> list[Piece]:
    """Return the blocks of a frame and what is missing between them, and after them up to `total`, if that is known.

    A block's place is not in its checksum: where a block follows at once, it only counts if what comes next confirms it.
    """
    pieces, offset, end = list[Piece](), frame, Start(0, 0)
    for i, block in enumerate(found):
        start, follows = block.header.start, block.offset == offset
        if follows and start != end:
            is_right = _is_confirmed(end, block, found[i + 1] if i + 1 < len(found) else None, total)
            start = start if is_right and start.raw_bytes > end.raw_bytes and start.literal_bytes >= end.literal_bytes else end
        if start != end:
            pieces.append(_gap(frame, end, start, end_offset if follows else block.offset - offset))
        pieces.append(block)
        offset, end = block.end, _end(block.header, start)
    if not found or not found[-1].header.is_last:
        pieces.append(_gap(frame, end, total, end_offset - offset) if total else Gap(frame))
    return pieces


def _end(header: BlockHeader, start: Start) -> Start:
    return Start(start.raw_bytes + header.raw_bytes, start.literal_bytes + header.literal_bytes)


def _is_confirmed(end: Start, block: Found, after: Found | None, total: Start | None) -> bool:
    """Return whether a block that follows at once on others, which end at `end`, is right to say that it has another place."""
    start = block.header.start
    if after and after.offset == block.end:
        return after.header.start == _end(block.header, start)
    if not after and total:
        return total == _end(block.header, start)
    return start.raw_bytes > end.raw_bytes and start.literal_bytes > end.literal_bytes


def _gap(frame: int, end: Start, start: Start, file_bytes: int) -> Gap:
    """Return the gap between two places; of unknown size if no blocks in so many bytes of the file can have been so large."""
    raw_bytes, literal_bytes = start.raw_bytes - end.raw_bytes, start.literal_bytes - end.literal_bytes
    most = (file_bytes // LEAST_BLOCK_BYTES + 1) * MAX_RAW_BYTES
    is_possible = 0 <= literal_bytes <= most and 0 <= raw_bytes <= most
    return Gap(frame, raw_bytes, literal_bytes) if is_possible else Gap(frame)
