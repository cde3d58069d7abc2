"""Frames made by hand, of blocks that are stored or coded as LZMA."""

from __future__ import annotations

import io
import lzma
from collections.abc import Iterable

from nncomp.format.frames import Block, FrameWriter, ModelReference, block_checksum, checksum
from nncomp.format.numbers import BlockKind

BLOCK_BYTES = 1 << 20  # of files made here; nncomp takes more
SPLIT_BYTES = 3 * BLOCK_BYTES // 2


def parts(data: bytes, block_bytes: int = BLOCK_BYTES, split_bytes: int = SPLIT_BYTES) -> list[bytes]:
    """Return the bytes of each block, cut as nncomp does it where nothing repeats."""
    found = []
    while len(data) >= split_bytes:
        found.append(data[:block_bytes])
        data = data[block_bytes:]
    return [*found, data]


def stored_block(data: bytes, is_last: bool) -> Block:
    return Block(BlockKind.STORED, len(data), data, block_checksum(b"", data), is_last)


def lzma_block(data: bytes, is_last: bool) -> Block:
    return Block(BlockKind.LZMA, len(data), lzma_payload(data), block_checksum(b"", data), is_last)


def lzma_payload(data: bytes) -> bytes:
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": 8 << 20, "lc": 3, "lp": 0, "pb": 0}]
    return lzma.compress(data, lzma.FORMAT_RAW, filters=filters)


def frame(blocks: Iterable[Block], model: ModelReference | None = None, content: bytes = b"", window_log2: int = 20) -> bytes:
    """Return a frame of blocks, whose content is `content` if they are several."""
    sink = io.BytesIO()
    writer = FrameWriter(sink, model, window_log2)
    for block in blocks:
        writer.write(block, checksum(content))
    assert writer.frame_bytes == len(sink.getvalue())
    return sink.getvalue()


def stored(data: bytes, model: ModelReference | None = None, block_bytes: int = BLOCK_BYTES) -> bytes:
    """Return a frame of `data` with all blocks stored."""
    found = parts(data, block_bytes, 3 * block_bytes // 2)
    return frame([stored_block(part, i == len(found) - 1) for i, part in enumerate(found)], model, data)
