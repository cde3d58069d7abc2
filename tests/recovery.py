"""A frame of five blocks, and what recovery makes of a damaged one."""

from __future__ import annotations

import io
from functools import cache

from nncomp.blocks.memory import Memory
from nncomp.errors import ModelError
from nncomp.format.frame_reader import read_blocks
from nncomp.format.frames import ModelReference
from nncomp.network.registry import ModelFile
from nncomp.stream.recovery import Recovered, recover
from tests.blocks import frame, lzma_block, stored_block

COUNT = 5  # blocks of the long frame
BLOCK_BYTES, LAST_BYTES = 40_000, 30_000


def no_model(reference: ModelReference) -> ModelFile:
    raise ModelError("No such model is here.")


@cache
def part(number: int) -> bytes:
    """Return the raw bytes of a block: each another, and quick to code."""
    line = b"block %d, line after line after line\n" % number
    size = LAST_BYTES if number == COUNT - 1 else BLOCK_BYTES
    return (line * (size // len(line) + 1))[:size]


@cache
def long_frame() -> bytes:
    """Return a frame of five blocks: xz, stored, xz, stored, xz."""
    kinds = [stored_block if i % 2 else lzma_block for i in range(COUNT)]
    blocks = [kind(part(i), i == COUNT - 1) for i, kind in enumerate(kinds)]
    return frame(blocks, content=b"".join(part(i) for i in range(COUNT)))


@cache
def places() -> list[tuple[int, int, int]]:
    """Return where each block of the long frame begins, its payload begins, and it ends."""
    found = read_blocks(io.BytesIO(long_frame()))
    return [(f.offset, f.end - len(f.block.payload), f.end) for f in found]


def recovered(packed: bytes) -> tuple[bytes, Recovered]:
    sink = io.BytesIO()
    result = recover(io.BytesIO(packed), sink, no_model, [], 0, Memory())
    return sink.getvalue(), result


def without(*missing: int) -> bytes:
    """Return the content with zeros for the missing blocks, and nothing for those at the end."""
    parts = [bytes(len(part(i))) if i in missing else part(i) for i in range(COUNT)]
    while parts and len(parts) - 1 in missing:
        parts.pop()
    return b"".join(parts)


def spans(result: Recovered) -> list[tuple[int, int | None]]:
    return [(loss.start, loss.end) for loss in result.lost]


def start(number: int) -> int:
    return number * BLOCK_BYTES


def end(number: int) -> int:
    return start(number) + len(part(number))


def altered(at: int, new: bytes, packed: bytes | None = None) -> bytes:
    packed = packed or long_frame()
    return packed[:at] + new + packed[at + len(new) :]
