"""A block as bytes: mixing predicts each bit, the range coder writes it; kind BYTES. Knows nothing of the other kinds."""

# R raw bytes

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from nncomp import range_coder
from nncomp.blocks.levels import PARTS
from nncomp.format.numbers import MAX_TABLE_BITS
from nncomp.format.payloads import BytesHead
from nncomp.mixing import byte_predictor

_USUAL = BytesHead(MAX_TABLE_BITS)
_LEAST_PART = 256  # bytes: what is done for a part takes as long as to code some fifty


class EncodedBytes(NamedTuple):
    """A payload, and the surprisal in bits of each part of the raw bytes: of PARTS, or of fewer in a short block."""

    payload: bytes
    part_bits: tuple[float, ...]


def encode_bytes(
    data: bytes,
    is_lost: Callable[[list[float]], bool] = lambda _: False,
    head: BytesHead = _USUAL,
    after: byte_predictor.Primed | None = None,
) -> EncodedBytes | None:
    """Return the payload of a block; or None as soon as `is_lost` says so of the bits of the parts so far.

    `after` is what is known after the primer that the head says.
    """
    raw, encoder = np.frombuffer(data, np.uint8), range_coder.new_encoder()
    part_bits: list[float] = []
    done = 0
    for p1 in byte_predictor.probabilities_in_parts(raw, max(-(-len(data) // PARTS), _LEAST_PART), head.table_bits, after):
        decisions = np.unpackbits(raw[done : done + len(p1) // 8])  # most significant first, as the predictor takes them
        encoder.add(decisions, p1)
        part_bits.append(range_coder.cost_bits(decisions, p1))
        done += len(p1) // 8
        if is_lost(part_bits):
            return None
    return EncodedBytes(head.pack() + range_coder.words_to_bytes(encoder.words()), tuple(part_bits))


def decode_bytes(payload: bytes, raw_bytes: int, after: byte_predictor.Primed | None = None) -> bytes:
    """Return the raw bytes of a payload; raises FormatError when it does not hold exactly `raw_bytes`."""
    head = BytesHead.parse(payload)
    words = range_coder.bytes_to_words(payload[BytesHead.SIZE :])
    return byte_predictor.decode_bytes(words, raw_bytes, head.table_bits, after).tobytes()
