"""Where the blocks of a `.nnc` file are, if it can be read at any place: from the index at its end, or from header to header.

Knows the layout, as `nncomp/format/frames.py` does, and nothing of what a payload means.
"""

from __future__ import annotations

import io
import os
import stat
from dataclasses import dataclass
from typing import BinaryIO

from nncomp.errors import FormatError
from nncomp.format.frame_reader import (
    ByteSource,
    check_magic,
    check_start,
    read_block_header,
    read_frame_header,
    read_headers,
    wrong_index,
)
from nncomp.format.frames import Block, BlockHeader, FrameHeader, FrameIndex, ModelReference, content_of
from nncomp.format.numbers import (
    CHECKSUM_BYTES,
    KIND_BITS,
    LEAST_BLOCK_BYTES,
    MAGIC,
    MAX_LITERAL_BYTES,
    MAX_RAW_BYTES,
    MAX_TOTAL_BYTES,
    TRAILER_BYTES,
)


@dataclass(frozen=True)
class Place:
    """Where a block is: in the file (`offset`), in the literals of its frame, and in the content (`raw_start`)."""

    offset: int
    block_bytes: int  # header, list of copies and payload
    kind: int
    frame: int
    literal_start: int
    literal_bytes: int
    raw_start: int
    raw_bytes: int
    is_last: bool
    is_first: bool
    head: FrameHeader  # of its frame

    @property
    def model(self) -> ModelReference | None:
        return self.head.model

    @property
    def end(self) -> int:
        return self.offset + self.block_bytes

    @property
    def raw_end(self) -> int:
        return self.raw_start + self.raw_bytes

    @property
    def literal_end(self) -> int:
        return self.literal_start + self.literal_bytes


def locate_blocks(stream: BinaryIO, failure: list[FormatError] | None = None) -> list[Place]:
    """Return the places of all blocks of all frames in a seekable stream, in order; raises FormatError for a damaged file.

    With `failure`, the places before the damage are returned, and the error is put into that list.
    No payload is read, and of a file far away that has an index, no block header either: `read_block` compares it.
    """
    try:
        return read_index(stream)
    except FormatError:  # no index, or a wrong one: then what is wrong is found here
        stream.seek(0)
    places: list[Place] = []
    try:
        _walk(stream, places)
    except FormatError as error:
        if failure is None:
            raise
        failure.append(error)
    return places


def _walk(stream: BinaryIO, places: list[Place]) -> None:
    source = ByteSource(stream)
    for found in read_headers(source):
        header, before = found.header, places[-1] if places else None
        block_bytes = len(header.data) + header.body_bytes
        literal_start = before.literal_end if before and found.number else 0
        raw_start = before.raw_end if before else 0
        starts = literal_start, header.literal_bytes, raw_start, header.raw_bytes
        if header.body_bytes:  # the last byte is taken, to see that it is there
            stream.seek(source.position + header.body_bytes - 1)
            source.position += header.body_bytes - 1
            source.take(1)
        places.append(
            Place(found.offset, block_bytes, header.kind, found.frame, *starts, header.is_last, not found.number, found.head)
        )


def read_index(stream: BinaryIO) -> list[Place]:
    """Return the places that the index at the end says, for a seekable stream that holds one frame of several blocks.

    Only claims that add up to the very length of the stream are believed; raises FormatError otherwise, also for a
    stream that has no index (one block, or several frames). Where the stream is a file or memory, and a jump costs
    little, the blocks' headers are read and the index's digest is compared; elsewhere a header is compared with the
    index when its block is read, and what the digest alone would tell, blocks of equal sizes exchanged, is not seen.
    """
    size = stream.seek(0, 2)
    stream.seek(0)
    source = ByteSource(stream)
    check_magic(source.take_up_to(len(MAGIC)), 0)
    head = read_frame_header(source)
    places, footer = read_places(stream, 0, head, size)
    if _jumps_are_cheap(stream):
        _check_digest(stream, places, footer)
    return places


def read_places(stream: BinaryIO, start: int, head: FrameHeader, end: int) -> tuple[list[Place], bytes]:
    """Return the places of the blocks of the frame from `start` to `end`, by the index before `end`, and the footer.

    Raises FormatError unless the sizes add up. Nothing before the index is read.
    """
    absent = FormatError("The file has no index of its blocks at its end.")
    stream.seek(max(start, end - TRAILER_BYTES))
    footer_bytes = int.from_bytes(stream.read(TRAILER_BYTES), "little")
    if not TRAILER_BYTES + 2 * CHECKSUM_BYTES < footer_bytes <= end - start - len(head.data):
        raise absent
    source = ByteSource(stream)
    stream.seek(end - footer_bytes)
    entries = _take_entries(source, end - start)
    places: list[Place] = []
    offset, literal_start, raw_start = start + len(head.data), 0, 0
    for i, (kind, block_bytes, literal_bytes, copied_bytes) in enumerate(entries):
        starts = literal_start, literal_bytes, raw_start, literal_bytes + copied_bytes
        places.append(Place(offset, block_bytes, kind, 0, *starts, i == len(entries) - 1, i == 0, head))
        offset, literal_start, raw_start = places[-1].end, places[-1].literal_end, places[-1].raw_end
    ends_right = source.position == footer_bytes - 2 * CHECKSUM_BYTES - TRAILER_BYTES
    if offset != end - footer_bytes or not ends_right:
        raise absent
    stream.seek(end - footer_bytes)
    return places, source.take(footer_bytes)


Entry = tuple[int, int, int, int]  # kind, bytes of the block, literals, copied bytes


def _take_entries(source: ByteSource, limit: int) -> list[Entry]:
    """Return the entries of a footer, one for each block; no block has more bytes than `limit`.

    Raises FormatError unless they add up to the total, at the first one that is too much: what is no footer is soon left.
    """
    left, _ = source.take_varint(MAX_TOTAL_BYTES, "a content")
    count, _ = source.take_varint(limit // LEAST_BLOCK_BYTES, "an index")
    entries: list[Entry] = []
    for _ in range(count):
        entry, _ = source.take_varint(limit << KIND_BITS, "a block")
        literal_bytes, _ = source.take_varint(MAX_LITERAL_BYTES, "literals")
        copied_bytes, _ = source.take_varint(MAX_RAW_BYTES - literal_bytes, "copies")
        entries.append((entry & (1 << KIND_BITS) - 1, entry >> KIND_BITS, literal_bytes, copied_bytes))
        left -= literal_bytes + copied_bytes
        if left < 0:
            raise wrong_index()
    if left:
        raise wrong_index()
    if count < 2:
        raise FormatError("An index is of fewer than two blocks; the file is altered.")
    return entries


def read_entries(source: ByteSource, limit: int) -> tuple[list[Entry], int]:
    """Return the entries of the footer that stands here, and where it ends; raises FormatError when none does."""
    start = source.position
    entries = _take_entries(source, limit)
    source.take(2 * CHECKSUM_BYTES)
    if int.from_bytes(source.take(TRAILER_BYTES), "little") != source.position - start:
        raise wrong_index()
    return entries, source.position


def _check_digest(stream: BinaryIO, places: list[Place], footer: bytes) -> None:
    index = FrameIndex(places[0].head.data)
    for place in places:
        header = _read_header(stream, place)[0]
        check_start(header, index)
        index.add(header)
    if index.footer(content_of(footer)) != footer:
        raise wrong_index()


def _jumps_are_cheap(stream: BinaryIO) -> bool:
    """Return whether a stream is a file of this machine or in memory; elsewhere each jump may be a request."""
    try:
        return isinstance(stream, io.BytesIO) or stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (AttributeError, OSError, ValueError):  # io.UnsupportedOperation is both of the latter
        return False


def read_block(stream: BinaryIO, place: Place) -> Block:
    """Return the block at a place; raises FormatError when another one is there."""
    header, source = _read_header(stream, place)
    return header.block(source.take(header.body_bytes))


def _read_header(stream: BinaryIO, place: Place) -> tuple[BlockHeader, ByteSource]:
    """Return the header of the block at a place, and what stands after it."""
    stream.seek(place.offset)
    source = ByteSource(stream)
    header = read_block_header(source, place.head, place.is_first)
    sizes = len(header.data) + header.body_bytes, header.start.literal_bytes, header.literal_bytes, header.raw_bytes
    expected = place.block_bytes, place.literal_start, place.literal_bytes, place.raw_bytes
    if (header.kind, header.is_last, *sizes) != (place.kind, place.is_last, *expected):
        raise wrong_index()
    return header, source
