"""The golden files that must always be read: one of each feature of the format."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from unittest.mock import patch

import numpy as np

from nncomp import range_coder
from nncomp.blocks import token_payload
from nncomp.blocks.lzma_payload import encode_lzma
from nncomp.format.frames import Block, FrameWriter, ModelReference, checksum
from nncomp.format.numbers import BLOCK_BYTES, BLOCK_UNIT_BYTES, SPLIT_BYTES, BlockKind
from nncomp.mixing import byte_predictor
from nncomp.network.engine import Network
from nncomp.network.model import parse_model
from tests.golden import texts
from tests.golden.models import CODED, EXTREME, FEW, REACH, SMALL, WORDS, model_bytes
from tests.models import TEXT, small_start

File = tuple[str, str, bytes, bytes]  # what it is about, its model or "", the file, the content

MIXED = (
    texts.prose(1, 350) + texts.markup(2) + texts.table(2, 6) + texts.code(2) + texts.odd()[190:420] + texts.prose(3, 150)
)  # about 1.3 KB


@cache
def packed(model: str) -> Network:
    return Network(parse_model(model_bytes(model), model))


def reference(model: str, model_id: int = 255) -> ModelReference:
    """Return how a frame names a golden model."""
    return ModelReference(model_id, hashlib.sha256(model_bytes(model)).digest()[:8])


@contextmanager
def _choice(lanes_log2: int | None, lines_log2: int | None) -> Iterator[None]:
    """Let the encoder take other lanes and lines than it would: the format lets a writer choose."""
    choices = {"lanes_log2": lanes_log2, "lines_log2": lines_log2}
    with ExitStack() as stack:
        for name, value in choices.items():
            if value is not None:
                stack.enter_context(patch.object(token_payload, name, return_value=value))
        yield


def tokens(data: bytes, model: str = SMALL, lanes_log2: int | None = None, lines_log2: int | None = None) -> Block:
    with _choice(lanes_log2, lines_log2):
        payload = token_payload.encode_tokens(packed(model), data).payload
    return Block(BlockKind.TOKENS, len(data), payload, checksum(data), True)


def coded_tokens(data: bytes, levels: list[int], lanes_log2: int = 0) -> Block:
    """Return a block of tokens with a code: any, for a writer may send which it likes."""
    with _choice(lanes_log2, None):
        payload = token_payload.encode_and_learn(packed(CODED), data, small_start(), code=np.array(levels))[0]
    return Block(BlockKind.TOKENS, len(data), payload, checksum(data), True)


def in_bytes(data: bytes, table_bits: int = 26) -> Block:
    raw = np.frombuffer(data, np.uint8)
    words = range_coder.encode(np.unpackbits(raw), byte_predictor.encode_bytes(raw, table_bits))
    payload = bytes([table_bits]) + range_coder.words_to_bytes(words)
    return Block(BlockKind.BYTES, len(data), payload, checksum(data), True)


def lzma_block(data: bytes, is_last: bool = True) -> Block:
    return Block(BlockKind.LZMA, len(data), encode_lzma(data), checksum(data), is_last)


def stored(data: bytes, is_last: bool = True) -> Block:
    return Block(BlockKind.STORED, len(data), data, checksum(data), is_last)


def frame(blocks: list[Block], named: ModelReference | None = None) -> bytes:
    sink = io.BytesIO()
    writer = FrameWriter(sink, named)
    for block in blocks:
        assert block.kind == BlockKind.STORED or len(block.payload) <= block.raw_bytes, (block, len(block.payload))
        writer.write(block)
    return sink.getvalue()


def in_blocks(data: bytes, block_bytes: int) -> list[Block]:
    """Return the blocks of a frame whose blocks have this size, all but the last."""
    parts = []
    while len(data) >= SPLIT_BYTES:
        parts.append(data[:block_bytes])
        data = data[block_bytes:]
    return [*(lzma_block(part, False) for part in parts), lzma_block(data)]


def long_content() -> bytes:
    """Return 10.5 million bytes that xz makes small: three blocks."""
    line = texts.table(9, 40)
    return (texts.prose(8, 4000) + line) * (10_500_000 // (4000 + len(line)) + 1)


def files() -> dict[str, File]:
    """Return each golden file by its name."""
    small, extreme, coded, few, reach, words = map(reference, (SMALL, EXTREME, CODED, FEW, REACH, WORDS))
    two_lanes = (TEXT[:900] * 5)[:4096]  # in the tokens that the small model has
    part, repeated, short = MIXED[:700], texts.prose(4, 120) * 7, b"A short frame after others.\n"
    long = long_content()
    long_blocks = in_blocks(long, BLOCK_BYTES)
    small_units = long[: BLOCK_UNIT_BYTES + 6_100_000]
    frames = [
        frame([tokens(part)], small),
        frame([in_bytes(part[:300])]),
        frame([stored(b"")]),
        frame([lzma_block(b"xz " * 99)]),
        frame([stored(short)]),
    ]
    rows: dict[str, File] = {
        "empty": ("nothing at all", "", frame([stored(b"")]), b""),
        "stored": ("bytes without order", "", frame([stored(texts.noise(1, 200))]), texts.noise(1, 200)),
        "lzma": ("LZMA", "", frame([lzma_block(MIXED)]), MIXED),
        "lzma-long": ("three blocks and a footer", "", frame(long_blocks), long),
        "lzma-long-named": ("a model is named that no block uses", "", frame(long_blocks, ModelReference(1, bytes(8))), long),
        "lzma-units-named": (
            "blocks of 256 KiB; a model is named",
            "",
            frame(in_blocks(small_units, BLOCK_UNIT_BYTES), ModelReference(2, bytes(8))),
            small_units,
        ),
        "bytes": ("mixing alone", "", frame([in_bytes(MIXED)]), MIXED),
        "bytes-small-tables": ("mixing alone, the smallest tables", "", frame([in_bytes(part, 16)]), part),
        "bytes-odd": ("mixing alone on odd bytes", "", frame([in_bytes(texts.odd())]), texts.odd()),
        "tokens": ("one lane", SMALL, frame([tokens(MIXED)], small), MIXED),
        "tokens-2-lanes": ("two lanes", SMALL, frame([tokens(two_lanes, lanes_log2=1)], small), two_lanes),
        "tokens-16-lanes": ("sixteen lanes", SMALL, frame([tokens(part, lanes_log2=4)], small), part),
        "tokens-empty-lanes": ("a lane without bytes", SMALL, frame([tokens(b"a" * 15, lanes_log2=4)], small), b"a" * 15),
        "tokens-few-lines": ("the smallest table of mixing", SMALL, frame([tokens(part, lines_log2=8)], small), part),
        "tokens-extreme": ("numbers at their bounds", EXTREME, frame([tokens(repeated, EXTREME, 1)], extreme), repeated),
        "tokens-code": ("a code, one lane", CODED, frame([coded_tokens(repeated, [4, 0, 2])], coded), repeated),
        "tokens-code-lanes": ("a code, four lanes", CODED, frame([coded_tokens(repeated, [1, 3, 4], 2)], coded), repeated),
        "tokens-reaches": ("contexts of each reach", REACH, frame([tokens(MIXED * 2, REACH, 1)], reach), MIXED * 2),
        "tokens-words": ("contexts of three words", WORDS, frame([tokens(MIXED, WORDS, 1)], words), MIXED),
        "tokens-some-contexts": ("some parts of mixing", FEW, frame([tokens(MIXED, FEW, 2)], few), MIXED),
        "frames": ("all kinds, each in a frame", SMALL, b"".join(frames), part + part[:300] + b"xz " * 99 + short),
    }
    return {f"good/{name}.nnc": row for name, row in rows.items()}
