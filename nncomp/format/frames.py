"""The layout of a `.nnc` file: frames, blocks, checksums, the index, and the limits a reader keeps.

The law is `docs/FORMAT.md`; this is its one implementation. Knows nothing of what a payload means, of models (only
their names) or of file names. Streams are buffered binary streams; none need be seekable (`nncomp/format/index.py`: those
that are).

A size that the bytes claim is checked against its limit before anything is read or allocated for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from nncomp.errors import FormatError
from nncomp.format.numbers import (
    BLOCK_BYTES,
    BLOCK_UNIT_BYTES,
    CHECKSUM_BYTES,
    KIND_BITS,
    MAGIC,
    MAX_BLOCK_UNITS,
    MODEL_HASH_BYTES,
    SPLIT_BYTES,
    TRAILER_BYTES,
    VERSION,
    BlockKind,
)


class Readable(Protocol):
    """A buffered stream: it gives as many bytes as are asked for, unless it ends."""

    def read(self, count: int, /) -> bytes: ...


class Writable(Protocol):
    """A buffered stream: it takes all bytes it is given, and returns how many they were."""

    def write(self, data: bytes, /) -> int: ...


_HAS_MODEL = 0x01  # flags: the low four bits of the byte after the magic
_HAS_BLOCK_UNITS = 0x04  # the frame has several blocks, and says how large they are
_LAST = 0x80  # in the first byte of a block; the low three bits are its kind, the others are 0


class TruncatedError(FormatError, EOFError):
    """There are fewer bytes than there should be; what is there may be right. It is an EOFError too."""

    def __init__(self, message: str = "The file ends where more was expected; it is truncated: fetch or copy it again.") -> None:
        super().__init__(message)


class TrailingError(FormatError):
    """After the end of the last frame there are bytes that are no part of it; all before them is whole.

    `offset` says where they begin, -1 if that is not known. `content` is what the whole frames hold, where a function on bytes
    raises this: it can return nothing.
    """

    content: bytes | None = None

    def __init__(
        self,
        message: str = "There are bytes after the end of the compressed data that are no part of it; remove them.",
        offset: int = -1,
    ) -> None:
        super().__init__(message)
        self.offset = offset


@dataclass(frozen=True)
class ModelReference:
    """How a frame names its model: the id of a level (0 to 255) and the first 8 bytes of the file's SHA-256."""

    model_id: int
    content_hash: bytes

    def __post_init__(self) -> None:
        assert 0 <= self.model_id <= 255 and len(self.content_hash) == MODEL_HASH_BYTES


@dataclass(frozen=True)
class FrameHeader:
    """What stands before the blocks of a frame, and the bytes (`data`) that say it: its model, the size of its blocks."""

    model: ModelReference | None
    block_bytes: int  # raw bytes of every block but the last; 0 in a frame of one block
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class Block:
    """One coded block: what it is, what it becomes, and the payload."""

    kind: int
    raw_bytes: int
    payload: bytes = field(repr=False)
    checksum: bytes
    is_last: bool


@dataclass(frozen=True)
class FrameBlock:
    """A block as found in a file: with the number of its frame, its own number, where it starts, and the frame's model."""

    frame: int
    number: int
    offset: int
    header_bytes: int
    model: ModelReference | None
    block: Block


@dataclass(frozen=True)
class BlockHeader:
    """What stands before a payload, and the bytes (`data`) that say it."""

    kind: int
    raw_bytes: int
    payload_bytes: int
    checksum: bytes
    is_last: bool
    data: bytes = field(repr=False)

    def block(self, payload: bytes) -> Block:
        return Block(self.kind, self.raw_bytes, payload, self.checksum, self.is_last)


@dataclass(frozen=True)
class FoundHeader:
    """A block's header as found in a file, after the header of its frame: see FrameBlock."""

    frame: int
    number: int
    offset: int
    head: FrameHeader
    header: BlockHeader


def checksum(data: bytes) -> bytes:
    """Return the checksum of a block's raw bytes: BLAKE2b (RFC 7693), 8 bytes.

    >>> checksum(b"").hex()
    'e4a6a0577479b2b4'
    """
    return hashlib.blake2b(data, digest_size=CHECKSUM_BYTES).digest()


def varint(value: int) -> bytes:
    """Return `value` in groups of seven bits, low groups first, bit 7 set on all bytes but the last.

    >>> varint(300).hex()
    'ac02'
    """
    assert value >= 0
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def split(source: Readable) -> Iterator[tuple[bytes, bool]]:
    """Yield the raw bytes of each block of `source` and whether it is the last; nothing in gives one empty block."""
    held = b""
    while True:
        held += source.read(SPLIT_BYTES - len(held))
        if len(held) < SPLIT_BYTES:
            yield held, True
            return
        yield held[:BLOCK_BYTES], False
        held = held[BLOCK_BYTES:]


class FrameIndex:
    """What both sides gather while a frame passes, and the footer that it gives."""

    def __init__(self, header: bytes) -> None:
        self._digest = hashlib.blake2b(header, digest_size=CHECKSUM_BYTES)
        self._entries = bytearray()
        self.blocks = 0
        self._raw_bytes = 0

    def add(self, header: BlockHeader) -> None:
        self._digest.update(header.data)
        self._entries += varint(header.payload_bytes << KIND_BITS | header.kind)
        self.blocks += 1
        self._raw_bytes += header.raw_bytes

    def footer(self) -> bytes:
        """Return the footer; a frame of one block has none: its block says it all."""
        if self.blocks == 1:
            return b""
        index = varint(self._raw_bytes) + varint(self.blocks) + bytes(self._entries)
        digest = self._digest.copy()
        digest.update(index)
        index += digest.digest()
        return index + (len(index) + TRAILER_BYTES).to_bytes(TRAILER_BYTES, "little")


def frame_header(model: ModelReference | None, block_bytes: int) -> FrameHeader:
    """Return the header of a frame: `block_bytes` are the raw bytes of each block but the last, or 0 for a frame of one block."""
    units = block_bytes // BLOCK_UNIT_BYTES
    assert units * BLOCK_UNIT_BYTES == block_bytes and units <= MAX_BLOCK_UNITS
    data = MAGIC + bytes([VERSION << 4 | (_HAS_MODEL if model else 0) | (_HAS_BLOCK_UNITS if units else 0)])
    if model:
        data += bytes([model.model_id]) + model.content_hash
    return FrameHeader(model, block_bytes, data + bytes([units]) if units else data)


class FrameWriter:
    """Writes one frame, block by block; the frame is complete when the block marked last is written.

    Of several blocks the first says how large all but the last are; of one block, nothing needs to be said.
    """

    def __init__(self, sink: Writable, model: ModelReference | None = None) -> None:
        self._sink = sink
        self._model = model
        self._block_bytes = 0
        self._index: FrameIndex | None = None
        self._is_complete = False
        self.frame_bytes = 0

    def write(self, block: Block) -> None:
        """Write a block, the frame's header before the first one, and the footer after the last one."""
        if self._index is None:
            self._block_bytes = 0 if block.is_last else block.raw_bytes
            head = frame_header(self._model, self._block_bytes).data
            self._index = FrameIndex(head)
            self.frame_bytes += self._sink.write(head)
        assert not self._is_complete and (block.is_last or block.raw_bytes == self._block_bytes)
        assert block.kind != BlockKind.STORED or len(block.payload) == block.raw_bytes
        header = bytes([block.kind | (_LAST if block.is_last else 0)])
        if block.is_last:
            header += varint(block.raw_bytes)
        if block.kind != BlockKind.STORED:
            header += varint(len(block.payload))
        header += block.checksum
        self._index.add(BlockHeader(block.kind, block.raw_bytes, len(block.payload), block.checksum, block.is_last, header))
        self._is_complete = block.is_last
        for part in (header, block.payload, self._index.footer() if block.is_last else b""):
            self._sink.write(part)
            self.frame_bytes += len(part)


class ByteSource:
    """A stream that counts what it gave and that never gives less than was asked for."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self.position = 0

    def take_up_to(self, count: int) -> bytes:
        data = self._stream.read(count)
        self.position += len(data)
        return data

    def take(self, count: int) -> bytes:
        data = self.take_up_to(count)
        if len(data) < count:
            raise TruncatedError
        return data

    def take_varint(self, limit: int, what: str) -> tuple[int, bytes]:
        """Return a value of at most `limit` and the bytes it was read from."""
        value, taken = 0, b""
        while True:
            byte = self.take(1)
            value |= (byte[0] & 0x7F) << 7 * len(taken)
            taken += byte
            if not byte[0] & 0x80:
                break
            if value > limit or len(taken) > 9:
                break
        if value > limit or byte[0] & 0x80:
            raise FormatError(f"The file claims {what} of more than {limit:,} bytes, the most there can be; it is altered.")
        if taken != varint(value):
            raise FormatError("The file holds a size that is not written in its shortest form; it is altered.")
        return value, taken


def read_blocks(stream: Readable) -> Iterator[FrameBlock]:
    """Yield the blocks of all frames in `stream`, in order; raises FormatError for whatever is not as it should be.

    Payloads are not decoded and so raw bytes are not checked: `FrameBlock.block.checksum` is there for that.
    """
    source = ByteSource(stream)
    for found in read_headers(source):
        block = found.header.block(source.take(found.header.payload_bytes))
        yield FrameBlock(found.frame, found.number, found.offset, len(found.header.data), found.head.model, block)


def read_headers(source: ByteSource) -> Iterator[FoundHeader]:
    """Yield the headers of the blocks of all frames; whoever asks for the next one has taken or skipped the payload."""
    frame = 0
    while magic := source.take_up_to(len(MAGIC)):
        check_magic(magic, frame, source.position - len(magic))
        head = read_frame_header(source)
        index = FrameIndex(head.data)
        while True:
            offset = source.position
            header = read_block_header(source, not index.blocks, head.block_bytes)
            yield FoundHeader(frame, index.blocks, offset, head, header)
            index.add(header)
            if header.is_last:
                break
        check_footer(source, index)
        frame += 1
    if not frame:
        raise FormatError("The file is empty, but even no bytes at all compress to a few; it is truncated.")


def check_magic(magic: bytes, frame: int, offset: int = 0) -> None:
    """Raise FormatError unless these are the first bytes of the frame with this number, at this offset."""
    if magic == MAGIC:
        return
    if frame:
        raise TrailingError(offset=offset)
    if MAGIC.startswith(magic):
        raise TruncatedError
    raise FormatError(
        f"This is not a .nnc file: it begins with {magic.hex(' ')}, not with {MAGIC.hex(' ')}. "
        "Give a file made by nncomp compress."
    )


def read_frame_header(source: ByteSource) -> FrameHeader:
    """Return the header of a frame, after its magic."""
    byte = source.take(1)
    version, flags = byte[0] >> 4, byte[0] & 0x0F
    if version != VERSION:
        raise FormatError(
            f"The file is of format version {version}; this nncomp reads version {VERSION}. "
            "Use the nncomp that made it or a newer one."
        )
    if flags & ~(_HAS_MODEL | _HAS_BLOCK_UNITS):
        raise FormatError("The file's header sets bits that mean nothing in version 1; the file is altered.")
    name = source.take(1 + MODEL_HASH_BYTES) if flags & _HAS_MODEL else b""
    model = ModelReference(name[0], name[1:]) if name else None
    if not flags & _HAS_BLOCK_UNITS:
        return FrameHeader(model, 0, MAGIC + byte + name)
    units = source.take(1)
    if not 1 <= units[0] <= MAX_BLOCK_UNITS:
        raise FormatError(f"The file claims blocks of {units[0]} times 256 KiB, and there are 1 to 15; it is altered.")
    return FrameHeader(model, units[0] * BLOCK_UNIT_BYTES, MAGIC + byte + name + units)


def read_block_header(source: ByteSource, is_first: bool, block_bytes: int) -> BlockHeader:
    """Return the header of a block, the first of its frame or not; raises FormatError when no writer makes such a one.

    `block_bytes` is that of the frame's header.
    """
    header = source.take(1)
    kind, is_last = header[0] & (1 << KIND_BITS) - 1, bool(header[0] & _LAST)
    if header[0] & ~_LAST != kind:
        raise FormatError("A block's first byte sets bits that mean nothing in version 1; the file is altered.")
    if bool(block_bytes) == (is_first and is_last):
        says = (
            "A frame of one block says the size of several"
            if block_bytes
            else "A frame of several blocks does not say their size"
        )
        raise FormatError(f"{says}; the file is altered.")
    raw_bytes = block_bytes
    if is_last:
        raw_bytes, taken = source.take_varint(SPLIT_BYTES - 1, "a last block")
        header += taken
        if not is_first and raw_bytes < SPLIT_BYTES - block_bytes:
            raise FormatError(
                f"The file claims a last block of {raw_bytes:,} bytes, fewer than any writer leaves for it; it is altered."
            )
    payload_bytes = raw_bytes
    if kind != BlockKind.STORED:
        # A writer stores what it cannot make smaller.
        payload_bytes, taken = source.take_varint(raw_bytes, "a coded block")
        header += taken
    digest = source.take(CHECKSUM_BYTES)
    return BlockHeader(kind, raw_bytes, payload_bytes, digest, is_last, header + digest)


def check_footer(source: ByteSource, index: FrameIndex) -> None:
    """Take the footer of a frame; raise FormatError unless it is the one that its blocks give."""
    footer = index.footer()
    if source.take(len(footer)) != footer:
        raise FormatError("The index at the end does not describe the blocks before it; the file is altered.")
