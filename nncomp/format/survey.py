"""Where the blocks of a damaged `.nnc` file are: from header to header, by the index, or by looking for what may be a header.

Knows the layout, as `nncomp/format/frames.py` does, and asks its caller whether a doubtful place holds a block.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import BinaryIO

from nncomp.errors import FormatError
from nncomp.format.frames import (
    BlockHeader,
    ByteSource,
    FrameHeader,
    FrameIndex,
    ModelReference,
    check_magic,
    frame_header,
    read_block_header,
    read_frame_header,
)
from nncomp.format.index import read_places
from nncomp.format.numbers import (
    BLOCK_BYTES,
    CHECKSUM_BYTES,
    KIND_BITS,
    MAGIC,
    MODEL_HASH_BYTES,
    SPLIT_BYTES,
    TRAILER_BYTES,
    BlockKind,
)

# What a header that is damaged may have been, for its length and the size of blocks; which model it named nobody knows.
_ANY_MODEL = ModelReference(0, bytes(MODEL_HASH_BYTES))
_HEADERS = [replace(frame_header(model, size), model=None) for size in (BLOCK_BYTES, 0) for model in (_ANY_MODEL, None)]
_KINDS = set(BlockKind)  # a header of another kind is damaged
_WINDOW_BYTES = 1 << 20
_OVERLAP_BYTES = 32  # more than any header has
_FOOTER_BYTES, _ENTRY_BYTES = 9 + 9 + CHECKSUM_BYTES + TRAILER_BYTES, 4  # the most that a footer has, and a block in it
_LINKS = 2  # so many headers after another are no chance
# Where a block may begin: a kind and the payload's size, or, marked as the last of several, sizes of 2 MiB and more first.
_HEADER = re.compile(
    rb"(?=\x00|[\x01-\x03](?:[\x80-\xff]{0,3}[\x01-\x7f])|[\x80-\x83][\x80-\xff]{3}[\x01-\x02])|" + re.escape(MAGIC), re.DOTALL
)


@dataclass(frozen=True)
class Found:
    """Where a block should be: its payload, what it should become, its frame and the model that this names."""

    frame: int  # where it begins
    kind: int
    raw_bytes: int
    payload_offset: int
    payload_bytes: int
    checksum: bytes
    model: ModelReference | None

    @property
    def end(self) -> int:
        return self.payload_offset + self.payload_bytes


@dataclass(frozen=True)
class Gap:
    """Blocks that are missing; `raw_bytes` is None where it is not known how many bytes they had."""

    raw_bytes: int | None


class Survey:
    """The pieces of a file that can seek; `is_right` tells whether a block is decoded to the bytes of its checksum."""

    def __init__(self, stream: BinaryIO, is_right: Callable[[Found], bool]) -> None:
        self._stream = stream
        self._is_right = is_right
        self._size = stream.seek(0, 2)
        self._pieces: list[Found | Gap] = []

    def pieces(self) -> list[Found | Gap]:
        """Return all blocks in the order of the content, and a Gap where some are missing."""
        at = 0
        while at < self._size:
            at = self._whole_frame(at) or self._indexed_frame(at) or self._searched_frame(at)
        return self._pieces

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

    def _block(self, frame: int, at: int, is_first: bool, head: FrameHeader) -> tuple[Found, BlockHeader] | None:
        """Return the block whose header is at a place, and the header; None if there is none."""
        source = self._at(at)
        try:
            header = read_block_header(source, is_first, head.block_bytes)
        except FormatError:
            return None
        if header.kind not in _KINDS:
            return None
        sizes = header.kind, header.raw_bytes, source.position, header.payload_bytes
        return Found(frame, *sizes, header.checksum, head.model), header

    def _heads(self, at: int) -> list[FrameHeader]:
        """Return what the header of the frame that begins here may be: as it is read, or as it may have been."""
        head = self._frame_header(at)
        if head is None:
            return _HEADERS
        other_sizes = [frame_header(head.model, size) for size in (BLOCK_BYTES, 0)]
        return list(dict.fromkeys([head, *other_sizes, *_HEADERS]))

    def _whole_frame(self, at: int) -> int:
        """Take the frame that begins here if all its headers and its footer are right; return its end, or 0.

        The footer's digest tells of a header that says another size of blocks than it should.
        """
        for head in self._heads(at):
            if end := self._whole_frame_after(at, head):
                return end
        return 0

    def _whole_frame_after(self, at: int, head: FrameHeader) -> int:
        index, pieces, place = FrameIndex(head.data), list[Found | Gap](), at + len(head.data)
        while True:
            block = self._block(at, place, not index.blocks, head)
            if block is None or block[0].end > self._size:
                return 0
            index.add(block[1])
            pieces.append(block[0])
            place = block[0].end
            if block[1].is_last:
                break
        footer = index.footer()
        end = place + len(footer)
        if self._read(place, len(footer)) != footer or not self._is_frame_end(end):
            return 0
        self._pieces += pieces
        return end

    def _is_frame_end(self, at: int) -> bool:
        return at == self._size or self._read(at, len(MAGIC)) == MAGIC

    def _indexed_frame(self, at: int) -> int:
        """Take the frame that begins here if the index before its end adds up to its length; return its end, or 0."""
        heads, end = self._heads(at), at
        while end < self._size:
            end = self._next_magic(end + 1)
            choices = [pieces for head in heads if (pieces := self._indexed_pieces(at, head, end))]
            if choices:
                self._pieces += self._best(choices)
                return end
        return 0

    def _indexed_pieces(self, at: int, head: FrameHeader, end: int) -> list[Found | Gap]:
        try:
            places, _ = read_places(self._stream, at, head, end)
        except FormatError:
            return []
        pieces: list[Found | Gap] = []
        for place in places:
            checksum = self._read(place.payload_offset - CHECKSUM_BYTES, CHECKSUM_BYTES)
            sizes = place.kind, place.raw_bytes, place.payload_offset, place.payload_bytes
            pieces.append(Found(at, *sizes, checksum, head.model))
        return pieces

    def _best(self, choices: list[list[Found | Gap]]) -> list[Found | Gap]:
        """Return of several readings of a frame, which differ in the size of its blocks, the first with most right blocks."""

        def right_blocks(pieces: list[Found | Gap]) -> int:  # among the first; a last block is right in all readings
            found = [piece for piece in pieces if isinstance(piece, Found)]
            return sum(self._is_right(piece) for piece in found[: _LINKS + 1])

        return max(choices, key=right_blocks) if len(choices) > 1 else choices[0]

    def _next_magic(self, at: int) -> int:
        """Return where the next frame may begin, or the end of the file."""
        while at < self._size:
            window = self._read(at, _WINDOW_BYTES + len(MAGIC) - 1)
            if (found := window.find(MAGIC)) >= 0:
                return at + found
            at += _WINDOW_BYTES
        return self._size

    def _searched_frame(self, at: int) -> int:
        """Take what blocks can be found of the frame that begins here, or was to begin here; return where it ends."""
        heads = self._heads(at)
        begun = [(head, at + len(head.data)) for head in heads if self._begins(at, head)]
        if not begun and heads is not _HEADERS:
            begun = [(heads[0], at + len(heads[0].data))]
        if not begun:  # nothing tells the size of its blocks
            begun = [(head, at) for head in _HEADERS[::2]]
        results = [self._search(at, *each) for each in begun]
        pieces = self._best([result[0] for result in results])
        self._pieces += pieces
        return next(end for found, end in results if found is pieces)

    def _begins(self, at: int, head: FrameHeader) -> bool:
        """Return whether after a header like this one there is a block."""
        block = self._block(at, at + len(head.data), True, head)
        return block is not None and self._holds(*block, head)

    def _search(self, at: int, head: FrameHeader, place: int) -> tuple[list[Found | Gap], int]:
        """Return the pieces that can be found from a place on, and where the frame ends."""
        pieces: list[Found | Gap] = []
        is_first = place > at
        while place < self._size:
            block = self._block(at, place, is_first, head)
            if block and self._holds(*block, head):
                pieces.append(block[0])
                place = block[0].end
                if block[1].is_last:
                    return self._end_frame(place, pieces)
            elif place > at and self._read(place, len(MAGIC)) == MAGIC:
                break  # another frame, before this one's last block
            else:
                pieces.append(Gap(block[0].raw_bytes if block else head.block_bytes or None))
                if block and block[1].is_last and block[0].end > self._size:
                    return pieces, self._size  # cut off in the last block, whose size is known
                place = self._next_beginning(at, place + 1, head)
            is_first = False
        while pieces and isinstance(pieces[-1], Gap):
            pieces.pop()
        return [*pieces, Gap(None)], place

    def _holds(self, found: Found, header: BlockHeader, head: FrameHeader) -> bool:
        """Return whether a block is where a header says: right headers follow, or it is decoded to what it should be."""
        return found.end <= self._size and (self._are_links(found.end, header.is_last, head) or self._is_right(found))

    def _are_links(self, at: int, is_end: bool, head: FrameHeader) -> bool:
        """Return whether after a block there is what should be: headers, or the end of a frame."""
        for _ in range(_LINKS):
            if is_end:
                return self._is_frame_end(at) or self._read_footer(at) is not None
            block = self._block(0, at, False, head)
            if block is None or block[0].end > self._size:
                return False
            at, is_end = block[0].end, block[1].is_last
        return True

    def _read_footer(self, at: int) -> tuple[int, int] | None:
        """Return the raw bytes that a footer here says the frame has, and its end; None if there is no footer here."""
        source = self._at(at)
        try:
            total, _ = source.take_varint((1 << 63) - 1, "a content")
            count, _ = source.take_varint(self._size, "an index")
            for _ in range(count):
                source.take_varint(SPLIT_BYTES << KIND_BITS, "a block")
            source.take(CHECKSUM_BYTES)
            size = int.from_bytes(source.take(TRAILER_BYTES), "little")
        except FormatError:
            return None
        return (total, source.position) if count > 1 and size == source.position - at else None

    def _end_frame(self, at: int, pieces: list[Found | Gap]) -> tuple[list[Found | Gap], int]:
        """Return the pieces of a frame whose last block ends here, and where the frame ends, after its footer."""
        gaps = [i for i, piece in enumerate(pieces) if isinstance(piece, Gap)]
        footer = self._read_footer(at)
        if footer and len(gaps) == 1:  # then it is known how much is missing
            missing = footer[0] - sum(piece.raw_bytes or 0 for piece in pieces if isinstance(piece, Found))
            pieces[gaps[0]] = Gap(max(0, missing))
        if footer or self._is_frame_end(at):
            return pieces, footer[1] if footer else at
        end = self._next_magic(at)
        if end - at > _FOOTER_BYTES + _ENTRY_BYTES * len(pieces):
            pieces.append(Gap(None))  # more than a footer
        return pieces, end

    def _next_beginning(self, frame: int, at: int, head: FrameHeader) -> int:
        """Return where the next block or frame begins, or the end of the file."""
        while at < self._size:
            window = self._read(at, _WINDOW_BYTES + _OVERLAP_BYTES)
            for match in _HEADER.finditer(window):
                place = at + match.start()
                if match.group():
                    if self._frame_header(place):
                        return place
                elif (block := self._block(frame, place, False, head)) and self._holds(*block, head):
                    return place
            at += _WINDOW_BYTES
        return self._size
