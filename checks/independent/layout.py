"""*File*, *Frame*, *Block* and *Footer*: the bytes of a file to its blocks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from checks.independent.refused import RefusedError, demand

MAGIC = bytes.fromhex("D61BA4E3")
UNIT_BYTES = 262_144
SPLIT_BYTES = 6_291_456
STORED = 0


@dataclass
class Block:
    """A block as it stands in the file, and the first 8 bytes of the hash of its frame's model, if it names one."""

    kind: int
    raw_bytes: int
    payload: bytes
    checksum: bytes
    model_hash: bytes | None


class _Bytes:
    """A file's bytes, taken from the front."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def take(self, count: int) -> bytes:
        demand(self.position + count <= len(self.data), "the file ends too early")
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
    source = _Bytes(data)
    demand(len(data) > 0, "a file without any frame")
    while source.position < len(data):
        yield from _frame(source)


def _frame(source: _Bytes) -> Iterator[Block]:
    start = source.position
    demand(source.take(4) == MAGIC, "not the magic")
    version_and_flags = source.take(1)[0]
    demand(version_and_flags >> 4 == 1, "not version 1")
    demand(version_and_flags & 0b1010 == 0, "a reserved flag is set")
    model_hash = source.take(9)[1:] if version_and_flags & 1 else None
    block_bytes = 0
    if version_and_flags & 4:
        units = source.take(1)[0]
        demand(1 <= units <= 15, "a size of blocks that is none")
        block_bytes = units * UNIT_BYTES
    headers = [source.data[start : source.position]]
    sizes: list[tuple[int, int, int]] = []
    is_last = False
    while not is_last:
        start = source.position
        first = source.take(1)[0]
        demand(first & 0b0111_1000 == 0, "a reserved bit of a block is set")
        kind, is_last = first & 0b111, first >= 0x80
        is_alone = is_last and not sizes
        demand(is_alone == (block_bytes == 0), "a size of blocks in a frame of one block, or none in a frame of several")
        raw_bytes = source.varint() if is_last else block_bytes
        demand(raw_bytes < SPLIT_BYTES, "a last block of 6 MiB or more")
        demand(not sizes or raw_bytes >= SPLIT_BYTES - block_bytes, "a last block that would have been two")
        payload_bytes = raw_bytes if kind == STORED else source.varint()
        demand(payload_bytes <= raw_bytes, "a payload longer than the raw bytes")
        checksum = source.take(8)
        headers.append(source.data[start : source.position])
        sizes.append((raw_bytes, payload_bytes, kind))
        yield Block(kind, raw_bytes, source.take(payload_bytes), checksum, model_hash)
    if len(sizes) > 1:
        index = varint(sum(raw_bytes for raw_bytes, _, _ in sizes)) + varint(len(sizes))
        index += b"".join(varint(payload_bytes * 8 + kind) for _, payload_bytes, kind in sizes)
        index += blake2b_8(b"".join(headers) + index)
        footer = index + (len(index) + 4).to_bytes(4, "little")
        demand(source.take(len(footer)) == footer, "another footer than the blocks give")
