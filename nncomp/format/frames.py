"""The layout of a `.nnc` file: frames, blocks, checksums, the index; and how they are written.

The law is `docs/FORMAT.md`. `frame_reader` reads what this module writes. Knows nothing of what a payload
means, of models (only their names) or of file names. Streams are buffered binary streams.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from nncomp.format.numbers import (
    BLOCK_MAGIC,
    CHECKSUM_BYTES,
    HAS_COPIES,
    HAS_MODEL,
    HAS_REFERENCE,
    HAS_WINDOW,
    KIND_BITS,
    LAST,
    MAGIC,
    MAX_LITERAL_BYTES,
    MAX_WINDOW_LOG2,
    MODEL_HASH_BYTES,
    REFERENCE_HASH_BYTES,
    TRAILER_BYTES,
    VERSION,
    BlockKind,
)
from nncomp.format.varints import varint


class Readable(Protocol):
    """A buffered stream: it gives as many bytes as are asked for, unless it ends."""

    def read(self, count: int, /) -> bytes: ...


class Writable(Protocol):
    """A buffered stream: it takes all bytes it is given, and returns how many they were."""

    def write(self, data: bytes, /) -> int: ...


@dataclass(frozen=True)
class ModelReference:
    """How a frame names its model: the id of a level (0 to 255) and the first 8 bytes of the file's SHA-256."""

    model_id: int
    content_hash: bytes

    def __post_init__(self) -> None:
        assert 0 <= self.model_id <= 255 and len(self.content_hash) == MODEL_HASH_BYTES


@dataclass(frozen=True)
class FrameHeader:
    """What stands before the blocks of a frame, and the bytes (`data`) that say it."""

    model: ModelReference | None
    window_log2: int  # log2 of how many literals back a copy may reach; 0 in a frame of one block
    data: bytes = field(repr=False)
    reference: bytes = b""  # the first 8 bytes of the SHA-256 of the text that stands before the content; none for no text


@dataclass(frozen=True)
class CopyList:
    """The coded list of a block's copies (`nncomp/format/copies.py`), and how many bytes they give."""

    kind: int  # as of a block, but never of tokens
    copied_bytes: int
    list_bytes: int  # before it was coded
    payload: bytes = field(repr=False)


@dataclass(frozen=True)
class Block:
    """One coded block: what its literals are coded as, how many they are, the payload, and the copies between them."""

    kind: int
    literal_bytes: int
    payload: bytes = field(repr=False)
    checksum: bytes  # see block_checksum
    is_last: bool
    copies: CopyList | None = None

    @property
    def raw_bytes(self) -> int:
        """The bytes of the content that it becomes."""
        return self.literal_bytes + (self.copies.copied_bytes if self.copies else 0)


class ListHeader(NamedTuple):
    """What a block's header says of its list of copies: see CopyList."""

    kind: int
    copied_bytes: int
    list_bytes: int
    payload_bytes: int


class Start(NamedTuple):
    """How many raw bytes and how many literals of its frame are before a block."""

    raw_bytes: int
    literal_bytes: int


@dataclass(frozen=True)
class BlockHeader:
    """What stands before a block's payloads, and the bytes (`data`) that say it."""

    kind: int
    literal_bytes: int
    payload_bytes: int
    checksum: bytes
    is_last: bool
    copies: ListHeader | None
    start: Start
    data: bytes = field(repr=False)

    @property
    def copied_bytes(self) -> int:
        return self.copies.copied_bytes if self.copies else 0

    @property
    def raw_bytes(self) -> int:
        return self.literal_bytes + self.copied_bytes

    @property
    def list_payload_bytes(self) -> int:
        return self.copies.payload_bytes if self.copies else 0

    @property
    def body_bytes(self) -> int:
        """What follows the header: the list's payload, and the literals'."""
        return self.list_payload_bytes + self.payload_bytes

    def block(self, body: bytes) -> Block:
        """Return the block with this header and body."""
        at = self.list_payload_bytes
        copies = CopyList(*self.copies[:3], body[:at]) if self.copies else None
        return Block(self.kind, self.literal_bytes, body[at:], self.checksum, self.is_last, copies)


@dataclass(frozen=True)
class FoundHeader:
    """A block's header as found in a file, after the header of its frame: see FrameBlock."""

    frame: int
    number: int
    offset: int
    head: FrameHeader
    header: BlockHeader


@dataclass(frozen=True)
class FrameBlock:
    """A block as found in a file: the number of its frame, its own number, where it starts and ends, and the frame's header."""

    frame: int
    number: int
    offset: int
    end: int
    head: FrameHeader
    block: Block

    @property
    def model(self) -> ModelReference | None:
        return self.head.model


def checksum(data: bytes) -> bytes:
    """Return BLAKE2b (RFC 7693) with 8 bytes.

    >>> checksum(b"").hex()
    'e4a6a0577479b2b4'
    """
    return hashlib.blake2b(data, digest_size=CHECKSUM_BYTES).digest()


def block_checksum(copy_list: bytes, literals: bytes) -> bytes:
    """Return the checksum of a block: of its list of copies, before it is coded, and of its literals."""
    return checksum(copy_list + literals if copy_list else literals)


class FrameIndex:
    """What both sides gather while a frame passes, and the footer that it gives."""

    def __init__(self, header: bytes) -> None:
        self._digest = hashlib.blake2b(header, digest_size=CHECKSUM_BYTES)
        self._entries = bytearray()
        self.blocks = 0
        self.end = Start(0, 0)  # of the next block

    def add(self, header: BlockHeader) -> None:
        self._digest.update(header.data)
        block_bytes = len(header.data) + header.body_bytes
        for value in (block_bytes << KIND_BITS | header.kind, header.literal_bytes, header.copied_bytes):
            self._entries += varint(value)
        self.blocks += 1
        self.end = Start(self.end.raw_bytes + header.raw_bytes, self.end.literal_bytes + header.literal_bytes)

    def footer(self, content: bytes) -> bytes:
        """Return the footer, with the checksum of the content; a frame of one block has none: its block says it all."""
        if self.blocks == 1:
            return b""
        index = varint(self.end.raw_bytes) + varint(self.blocks) + bytes(self._entries) + content
        digest = self._digest.copy()
        digest.update(index)
        index += digest.digest()
        return index + (len(index) + TRAILER_BYTES).to_bytes(TRAILER_BYTES, "little")


def content_of(footer: bytes) -> bytes:
    """Return the checksum of the content in a footer, of which the end is enough; no bytes in one of no bytes."""
    return footer[-TRAILER_BYTES - 2 * CHECKSUM_BYTES : -TRAILER_BYTES - CHECKSUM_BYTES]


def frame_header(model: ModelReference | None, window_log2: int, reference: bytes = b"") -> FrameHeader:
    """Return the header of a frame; `window_log2` is 0 for a frame of one block, `reference` empty for a frame without one."""
    assert len(reference) in (0, REFERENCE_HASH_BYTES)
    flags = (HAS_MODEL if model else 0) | (HAS_WINDOW if window_log2 else 0) | (HAS_REFERENCE if reference else 0)
    data = MAGIC + bytes([VERSION << 4 | flags])
    if model:
        data += bytes([model.model_id]) + model.content_hash
    return FrameHeader(model, window_log2, data + reference + (bytes([window_log2]) if window_log2 else b""), reference)


def block_header(block: Block, start: Start | None) -> BlockHeader:
    """Return the header of a block, the first of its frame (None) or a later one."""
    copies = block.copies
    first = block.kind | (HAS_COPIES if copies else 0) | (LAST if block.is_last else 0)
    data = bytes([first]) + varint(block.literal_bytes)
    if start:
        data = BLOCK_MAGIC + bytes([first]) + varint(start.raw_bytes) + varint(start.literal_bytes) + varint(block.literal_bytes)
    if block.kind != BlockKind.STORED:
        data += varint(len(block.payload))
    if copies:
        data += bytes([copies.kind]) + varint(copies.copied_bytes) + varint(copies.list_bytes)
        if copies.kind != BlockKind.STORED:
            data += varint(len(copies.payload))
    sizes = ListHeader(copies.kind, copies.copied_bytes, copies.list_bytes, len(copies.payload)) if copies else None
    data += block.checksum
    return BlockHeader(
        block.kind, block.literal_bytes, len(block.payload), block.checksum, block.is_last, sizes, start or Start(0, 0), data
    )


class FrameWriter:
    """Writes one frame, block by block; the frame is complete when the block marked last is written."""

    def __init__(
        self, sink: Writable, model: ModelReference | None = None, window_log2: int = MAX_WINDOW_LOG2, reference: bytes = b""
    ) -> None:
        self._sink = sink
        self._model, self._window_log2, self._reference = model, window_log2, reference
        self._index: FrameIndex | None = None
        self._is_complete = False
        self.frame_bytes = 0

    def write(self, block: Block, content: bytes = b"") -> None:
        """Write a block, the frame's header before the first one, and the footer after the last one.

        `content` is the checksum of the content, for the footer: needed with the last of several blocks.
        """
        if self._index is None:
            head = frame_header(self._model, 0 if block.is_last else self._window_log2, self._reference).data
            self._index = FrameIndex(head)
            self.frame_bytes += self._sink.write(head)
        assert not self._is_complete and block.literal_bytes <= MAX_LITERAL_BYTES
        assert block.kind != BlockKind.STORED or len(block.payload) == block.literal_bytes
        header = block_header(block, self._index.end if self._index.blocks else None)
        self._index.add(header)
        self._is_complete = block.is_last
        footer = self._index.footer(content) if block.is_last else b""
        assert not footer or len(content) == CHECKSUM_BYTES
        for part in (header.data, block.copies.payload if block.copies else b"", block.payload, footer):
            self._sink.write(part)
            self.frame_bytes += len(part)
