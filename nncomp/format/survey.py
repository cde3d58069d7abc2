"""Where the blocks of a damaged `.nnc` file are: from header to header, by the index, or by their magic numbers.

Knows the layout, as `nncomp/format/frames.py` does, and asks its caller whether a doubtful place holds a block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from nncomp.errors import FormatError
from nncomp.format.frame_reader import ByteSource, check_magic, read_block_header, read_frame_header, take_footer
from nncomp.format.frames import BlockHeader, FrameHeader, FrameIndex, ModelReference, frame_header
from nncomp.format.index import Place, read_entries, read_places
from nncomp.format.numbers import BLOCK_MAGIC, CHECKSUM_BYTES, MAGIC, MAX_WINDOW_LOG2, MODEL_HASH_BYTES, BlockKind
from nncomp.format.varints import varint

# What a header that is damaged may have been, for its length and whether blocks follow; which model it named nobody knows.
_ANY_MODEL = ModelReference(0, bytes(MODEL_HASH_BYTES))
_HEADERS = [
    FrameHeader(None, window, frame_header(model, window).data) for window in (MAX_WINDOW_LOG2, 0) for model in (_ANY_MODEL, None)
]
_WINDOW_BYTES = 1 << 20


@dataclass(frozen=True)
class Found:
    """Where a block should be: its frame (where that begins) and its header, the block's own, and where its body begins."""

    frame: int
    head: FrameHeader
    header: BlockHeader
    body_offset: int

    @property
    def end(self) -> int:
        return self.body_offset + self.header.body_bytes


@dataclass(frozen=True)
class Gap:
    """Blocks of a frame that are missing; None where it is not known how many bytes or literals they had."""

    frame: int
    raw_bytes: int | None = None
    literal_bytes: int | None = None


class Survey:
    """The pieces of a file that can seek; `is_right` tells whether a block is decoded to what its checksum says."""

    def __init__(self, stream: BinaryIO, is_right: Callable[[Found], bool]) -> None:
        self._stream = stream
        self._is_right = is_right
        self._size = stream.seek(0, 2)

    def pieces(self) -> Iterator[Found | Gap]:
        """Yield all blocks in the order of the content, and a Gap where some are missing."""
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

    def _whole_frame(self, at: int) -> tuple[list[Found | Gap], int] | None:
        """Return the blocks of the frame that begins here, and its end, if all its headers and its footer are right."""
        head = self._frame_header(at)
        if head is None:
            return None
        index, pieces, place = FrameIndex(head.data), list[Found | Gap](), at + len(head.data)
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
            take_footer(source, index)
        except FormatError:
            return None
        return (pieces, source.position) if self._is_frame_end(source.position) else None

    def _is_frame_end(self, at: int) -> bool:
        return at == self._size or self._read(at, len(MAGIC)) == MAGIC

    def _indexed_frame(self, at: int) -> tuple[list[Found | Gap], int] | None:
        """Return the blocks of the frame that begins here, and its end, if the index before an end adds up to its length."""
        head, end = self._frame_header(at), at
        while end < self._size:
            end = self._next(MAGIC, end + 1)
            for each in [head] if head else [head for head in _HEADERS if head.window_log2]:
                try:
                    places, _ = read_places(self._stream, at, each, end)
                except FormatError:
                    continue
                if head or self._fits(at, places):
                    return [self._indexed(at, place) for place in places], end
        return None

    def _fits(self, at: int, places: list[Place]) -> bool:
        """Return whether blocks are where an index says, if the frame's header has the length that was taken for it."""
        return any(isinstance(self._indexed(at, place), Found) for place in places[:1]) or any(
            self._read(place.offset, len(BLOCK_MAGIC)) == BLOCK_MAGIC for place in places[1:]
        )

    def _indexed(self, frame: int, place: Place) -> Found | Gap:
        """Return the block at a place of the index. Where its header is damaged, the index stands in, but not for copies."""
        found = self._block(frame, place.offset, place.head, place.is_first)
        if found and found.end == place.end and found.header.literal_bytes == place.literal_bytes:
            return found
        gap = Gap(frame, place.raw_bytes, place.literal_bytes)
        if place.kind not in set(BlockKind) or place.raw_bytes != place.literal_bytes:
            return gap
        before = (0 if place.is_first else len(BLOCK_MAGIC)) + 1 + len(varint(place.literal_bytes)) + CHECKSUM_BYTES
        for size_bytes in (0,) if place.kind == BlockKind.STORED else (1, 2, 3, 4):
            payload_bytes = place.block_bytes - before - size_bytes
            if payload_bytes >= 0 and (not size_bytes or len(varint(payload_bytes)) == size_bytes):
                body = place.end - payload_bytes
                checksum = self._read(body - CHECKSUM_BYTES, CHECKSUM_BYTES)
                header = BlockHeader(place.kind, place.literal_bytes, payload_bytes, checksum, place.is_last, None, b"")
                return Found(frame, place.head, header, body)
        return gap

    def _next(self, magic: bytes, at: int) -> int:
        """Return where a magic number is next, or the end of the file."""
        while at < self._size:
            window = self._read(at, _WINDOW_BYTES + len(magic) - 1)
            if (found := window.find(magic)) >= 0:
                return at + found
            at += _WINDOW_BYTES
        return self._size

    def _searched_frame(self, at: int) -> tuple[list[Found | Gap], int]:
        """Return what can be found of the frame that begins here, or was to begin here, and where it ends."""
        head = self._frame_header(at)
        heads = [head] if head else _HEADERS
        for each in heads:
            first = self._block(at, at + len(each.data), each, True)
            if first and self._holds(first):
                return self._search(at, each, first)
        return self._search(at, head or _HEADERS[0], None)

    def _search(self, frame: int, head: FrameHeader, block: Found | None) -> tuple[list[Found | Gap], int]:
        """Return the pieces of a frame whose first block is found, or is missing, and where the frame ends."""
        pieces: list[Found | Gap] = [block or Gap(frame)]
        place = block.end if block else frame + 1
        while not (block and block.header.is_last):
            here = self._block(frame, place, head, False) if block else None
            if here is None or not self._holds(here):
                here, place = self._next_block(frame, place, head)
                if isinstance(pieces[-1], Found):
                    pieces.append(Gap(frame))
            if here is None:
                return pieces, place
            pieces.append(here)
            block, place = here, here.end
        return self._ended(frame, pieces, place)

    def _next_block(self, frame: int, at: int, head: FrameHeader) -> tuple[Found | None, int]:
        """Return the next block of a frame and where it ends, or None and where the next frame begins or the file ends."""
        stop = self._next(MAGIC, at)
        while stop < self._size and self._frame_header(stop) is None:
            stop = self._next(MAGIC, stop + 1)
        while (at := self._next(BLOCK_MAGIC, at)) < stop:
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

    def _entries(self, at: int) -> tuple[list[tuple[int, int, int, int]], int] | None:
        """Return the entries of the footer at a place (kind, block bytes, literals, copied bytes), and its end."""
        try:
            return read_entries(self._at(at), self._size)
        except FormatError:
            return None

    def _ended(self, frame: int, pieces: list[Found | Gap], at: int) -> tuple[list[Found | Gap], int]:
        """Return the pieces of a frame whose last block ends here, with what its footer says of those missing, and its end."""
        footer = self._entries(at)
        if footer is None:
            if self._is_frame_end(at):
                return pieces, at
            end = self._next(MAGIC, at)
            return [*pieces, Gap(frame)] if isinstance(pieces[-1], Gap) else pieces, end
        entries, end = footer
        known: list[Found | Gap] = []
        number = 0
        for piece in pieces:
            if isinstance(piece, Gap):
                continue
            header, start = piece.header, number
            sizes = header.kind, piece.end - piece.body_offset + len(header.data), header.literal_bytes, header.copied_bytes
            while number < len(entries) and entries[number] != sizes:
                number += 1
            if number == len(entries):
                return pieces, end  # another footer: it tells nothing
            known += [Gap(frame, literals + copied, literals) for _, _, literals, copied in entries[start:number]]
            known.append(piece)
            number += 1
        return known, end
