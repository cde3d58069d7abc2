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
from nncomp.format.frames import (
    Block,
    BlockHeader,
    ByteSource,
    FrameHeader,
    FrameIndex,
    ModelReference,
    check_magic,
    read_block_header,
    read_frame_header,
    read_headers,
    varint,
)
from nncomp.format.numbers import CHECKSUM_BYTES, KIND_BITS, MAGIC, SPLIT_BYTES, TRAILER_BYTES, BlockKind


@dataclass(frozen=True)
class Place:
    """Where a block is, in the file (`offset`) and in the content (`raw_start`), and enough to read it alone."""

    offset: int
    kind: int
    raw_start: int
    raw_bytes: int
    payload_bytes: int
    is_last: bool
    is_first: bool
    head: FrameHeader  # of its frame

    @property
    def model(self) -> ModelReference | None:
        return self.head.model

    @property
    def raw_end(self) -> int:
        return self.raw_start + self.raw_bytes

    @property
    def payload_offset(self) -> int:
        """Where the payload begins: after the kind, the sizes and the checksum."""
        sizes = [self.raw_bytes] * self.is_last + [self.payload_bytes] * (self.kind != BlockKind.STORED)
        return self.offset + 1 + sum(len(varint(size)) for size in sizes) + CHECKSUM_BYTES


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
    raw_start = 0
    for found in read_headers(source):
        header = found.header
        sizes = raw_start, header.raw_bytes, header.payload_bytes
        places.append(Place(found.offset, header.kind, *sizes, header.is_last, not found.number, found.head))
        raw_start += header.raw_bytes
        if header.payload_bytes:  # the last byte is taken, to see that it is there
            stream.seek(source.position + header.payload_bytes - 1)
            source.position += header.payload_bytes - 1
            source.take(1)


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
    if not TRAILER_BYTES + CHECKSUM_BYTES < footer_bytes <= end - start - len(head.data):
        raise absent
    source = ByteSource(stream)
    stream.seek(end - footer_bytes)
    total, _ = source.take_varint((1 << 63) - 1, "a content")
    count, _ = source.take_varint((end - start) // (2 + CHECKSUM_BYTES), "an index")
    block_bytes = head.block_bytes
    last_bytes = total - block_bytes * (count - 1)
    if count < 2 or not SPLIT_BYTES - block_bytes <= last_bytes < SPLIT_BYTES:
        raise absent
    places: list[Place] = []
    offset = start + len(head.data)
    for i in range(count):
        entry, _ = source.take_varint(SPLIT_BYTES << KIND_BITS, "a block")
        is_last = i == count - 1
        raw_bytes = last_bytes if is_last else block_bytes
        kind, payload_bytes = entry & (1 << KIND_BITS) - 1, entry >> KIND_BITS
        places.append(Place(offset, kind, block_bytes * i, raw_bytes, payload_bytes, is_last, i == 0, head))
        offset = places[-1].payload_offset + payload_bytes
    if offset != end - footer_bytes or source.position != footer_bytes - CHECKSUM_BYTES - TRAILER_BYTES:
        raise absent
    stream.seek(end - footer_bytes)
    return places, source.take(footer_bytes)


def _check_digest(stream: BinaryIO, places: list[Place], footer: bytes) -> None:
    index = FrameIndex(places[0].head.data)
    for place in places:
        index.add(_read_header(stream, place)[0])
    if index.footer() != footer:
        raise _wrong()


def _jumps_are_cheap(stream: BinaryIO) -> bool:
    """Return whether a stream is a file of this machine or in memory; elsewhere each jump may be a request."""
    try:
        return isinstance(stream, io.BytesIO) or stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (AttributeError, OSError, ValueError):  # io.UnsupportedOperation is both of the latter
        return False


def read_block(stream: BinaryIO, place: Place) -> Block:
    """Return the block at a place; raises FormatError when another one is there."""
    header, source = _read_header(stream, place)
    return header.block(source.take(place.payload_bytes))


def _read_header(stream: BinaryIO, place: Place) -> tuple[BlockHeader, ByteSource]:
    """Return the header of the block at a place, and what stands before its payload."""
    stream.seek(place.offset)
    source = ByteSource(stream)
    header = read_block_header(source, place.is_first, place.head.block_bytes)
    found = header.kind, header.raw_bytes, header.payload_bytes, header.is_last
    if found != (place.kind, place.raw_bytes, place.payload_bytes, place.is_last):
        raise _wrong()
    return header, source


def _wrong() -> FormatError:
    return FormatError("The index at the end does not describe the blocks before it; the file is altered.")
