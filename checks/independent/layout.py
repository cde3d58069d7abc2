"""*File*, *Frame*, *Block* and *Footer*: the bytes of a file to its blocks, whose payloads stay coded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from checks.independent.refused import RefusedError, demand

MAGIC = bytes.fromhex("D61BA4E3")
BLOCK_MAGIC = bytes.fromhex("D61BA4B7")
MAX_LITERAL_BYTES = 18_874_367
MAX_RAW_BYTES = 67_108_864
MAX_LIST_BYTES = 1_048_576
STORED = 0


@dataclass
class Frame:
    """A frame as far as it is read: what its blocks share, and the checksum of its content, once its footer is read."""

    model_hash: bytes | None  # the first 8 bytes
    window_bytes: int  # 0 in a frame of one block
    reference_hash: bytes | None = None  # the first 8 bytes
    content_checksum: bytes | None = None
    headers: list[bytes] = field(default_factory=list)
    entries: list[bytes] = field(default_factory=list)
    raw_bytes: int = 0
    literal_bytes: int = 0


@dataclass
class CodedList:
    """The list of a block's copies as it stands in the file, and how many bytes the copies give."""

    kind: int
    copied_bytes: int
    list_bytes: int
    payload: bytes


@dataclass
class Block:
    """A block as it stands in the file."""

    frame: Frame
    kind: int
    literal_bytes: int
    copies: CodedList | None
    checksum: bytes
    payload: bytes

    @property
    def raw_bytes(self) -> int:
        return self.literal_bytes + (self.copies.copied_bytes if self.copies else 0)


class Bytes:
    """Bytes that are taken from the front."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def take(self, count: int) -> bytes:
        demand(self.position + count <= len(self.data), "it ends too early")
        self.position += count
        return self.data[self.position - count : self.position]

    def varint(self) -> int:
        value = 0
        for group in range(9):  # 63 bits
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << 7 * group
            if byte < 0x80:
                demand(byte > 0 or group == 0, "a varint is not in its shortest form")
                return value
        raise RefusedError("a varint has more than 63 bits")


def blake2b_8(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=8).digest()


def varint(value: int) -> bytes:
    groups = [value >> shift & 0x7F for shift in range(0, max(value.bit_length(), 1), 7)]
    return bytes([group | 0x80 for group in groups[:-1]] + groups[-1:])


def blocks(data: bytes) -> Iterator[Block]:
    """Yield the blocks of all frames; the footer of a frame is compared after its last block."""
    source = Bytes(data)
    demand(len(data) > 0, "a file without any frame")
    while source.position < len(data):
        yield from _blocks_of_frame(source)


def _blocks_of_frame(source: Bytes) -> Iterator[Block]:
    frame = _frame_header(source)
    is_last = False
    while not is_last:
        is_first = not frame.entries
        start = source.position
        demand(is_first or source.take(4) == BLOCK_MAGIC, "a block without its magic")
        first = source.take(1)[0]
        demand(first & 0b0111_0000 == 0, "a reserved bit of a block is set")
        kind, has_copies, is_last = first & 0b111, bool(first & 0b1000), first >= 0x80
        demand((is_first and is_last) == (frame.window_bytes == 0), "a window in a frame of one block, or none in another")
        place = (0, 0) if is_first else (source.varint(), source.varint())
        demand(place == (frame.raw_bytes, frame.literal_bytes), "a block says another place than it has")
        literal_bytes, payload_bytes = _sizes(source, kind, MAX_LITERAL_BYTES)
        listed = _list_header(source, literal_bytes) if has_copies else (STORED, 0, 0, 0)
        copied_bytes = listed[1]
        demand(literal_bytes + copied_bytes > 0 or frame.window_bytes == 0, "an empty block among others")
        checksum = source.take(8)
        frame.headers.append(source.data[start : source.position])
        list_payload = source.take(listed[3])
        copies = CodedList(*listed[:3], list_payload) if has_copies else None
        block = Block(frame, kind, literal_bytes, copies, checksum, source.take(payload_bytes))
        sizes = (source.position - start) * 8 + kind, literal_bytes, copied_bytes
        frame.entries.append(b"".join(map(varint, sizes)))
        frame.raw_bytes += block.raw_bytes
        frame.literal_bytes += literal_bytes
        yield block
    if len(frame.entries) > 1:
        _footer(source, frame)


def _frame_header(source: Bytes) -> Frame:
    start = source.position
    demand(source.take(4) == MAGIC, "not the magic")
    version_and_flags = source.take(1)[0]
    demand(version_and_flags >> 4 == 1, "not version 1")
    demand(version_and_flags & 0b0010 == 0, "a reserved flag is set")
    model_hash = source.take(9)[1:] if version_and_flags & 1 else None
    reference_hash = source.take(8) if version_and_flags & 8 else None
    window_bytes = 0
    if version_and_flags & 4:
        exponent = source.take(1)[0]
        demand(16 <= exponent <= 32, "a window that is none")
        window_bytes = 2**exponent
    return Frame(model_hash, window_bytes, reference_hash, headers=[source.data[start : source.position]])


def _sizes(source: Bytes, kind: int, most: int) -> tuple[int, int]:
    """Return the size of what is coded and that of its payload."""
    decoded_bytes = source.varint()
    demand(decoded_bytes <= most, "more bytes than there may be")
    payload_bytes = decoded_bytes if kind == STORED else source.varint()
    demand(payload_bytes <= decoded_bytes, "a payload longer than what it holds")
    return decoded_bytes, payload_bytes


def _list_header(source: Bytes, literal_bytes: int) -> tuple[int, int, int, int]:
    """Return what a block says of its copies: kind, copied bytes, list bytes, payload bytes."""
    kind = source.take(1)[0]
    demand(kind <= 2, "a list of copies of another kind")
    copied_bytes = source.varint()
    demand(literal_bytes + copied_bytes <= MAX_RAW_BYTES, "a block of more than 64 MiB")
    return kind, copied_bytes, *_sizes(source, kind, MAX_LIST_BYTES)


def _footer(source: Bytes, frame: Frame) -> None:
    index = varint(frame.raw_bytes) + varint(len(frame.entries)) + b"".join(frame.entries)
    demand(source.take(len(index)) == index, "another index than the blocks give")
    frame.content_checksum = source.take(8)
    index += frame.content_checksum
    index += blake2b_8(b"".join(frame.headers) + index)
    demand(source.take(12) == index[-8:] + (len(index) + 4).to_bytes(4, "little"), "another digest or size of the footer")
