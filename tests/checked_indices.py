"""Compiled loops whose every index is checked: `python -m tests.checked_indices WHAT` dies at the first one out of bounds.

Kernels check no index, and none counts from the end of an array. Here LLVM's trap ends the process where an index is negative or
too large. The test gives the process a cache of its own.
"""

from __future__ import annotations

import random
import sys
from contextlib import suppress
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

import nncomp
from nncomp import range_coder
from nncomp.blocks import token_payload, token_threads, token_ways
from nncomp.blocks.byte_payload import decode_bytes, encode_bytes
from nncomp.blocks.levels import Effort
from nncomp.blocks.several_blocks import decode_several
from nncomp.errors import FormatError
from nncomp.format.payloads import Payload
from nncomp.machine import compiling
from nncomp.machine.kernels import compiled
from nncomp.network.engine import Network
from tests.models import TEXT, coded_model


def checked_index(context: Any, builder: Any, kind: Any, index: Any, size: Any) -> Any:
    """Return an index as it is; end the process where it is out of bounds."""
    index = context.cast(builder, index, kind, types.intp)
    with builder.if_then(builder.icmp_unsigned(">=", index, size), likely=False):
        trap = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), []), "llvm.trap")
        builder.call(trap, [])
    return index


@compiled
def _first_and(array: Any, place: int) -> None:
    array[0] = array[place]


def altered(payload: bytes, seed: int) -> bytes:
    random_, changed = random.Random(seed), bytearray(payload)
    for _ in range(random_.randrange(1, 4)):
        changed[random_.randrange(len(changed))] = random_.randrange(256)
    return bytes(changed[: random_.choice((len(changed), len(changed) - 4))])


def tokens() -> None:
    """Tokens in one, two and four lanes, in one and two threads; and what altered payloads make of them."""
    network, data = Network(coded_model()), TEXT[:3000]
    token_threads._TRIAL_TOKENS = 40
    token_ways._LARGE_WEIGHTS, token_ways._HALVED_BYTES = 0, 1  # the mechanism of large models
    vars(token_payload)["LANE_BYTES"], token_ways._TRIED_BYTES = 512, 0
    for lanes in (1, 2, 4):
        for threads in (1, 2):
            payload = token_payload.encode_tokens(network, data, threads, Effort(max_lanes=lanes)).payload
            assert token_payload.decode_tokens(network, payload, len(data), threads) == data
            for seed in range(20):
                with suppress(FormatError):
                    token_payload.decode_tokens(network, altered(payload, seed), len(data), threads)
    parts = [data[:size] for size in (1, 40, 900, 300, 700)]
    payloads = {Payload(token_payload.encode_tokens(network, part).payload, len(part)): part for part in parts}
    assert decode_several(network, list(payloads), 3) == payloads
    decode_several(network, [Payload(altered(each.data, len(each.data)), each.raw_bytes) for each in payloads], 3)


def plain_bytes() -> None:
    """Blocks of bytes: text, a table of numbers and random bytes; and altered payloads."""
    table = b"".join(b"%d,%d\r\n" % (i, i * i) for i in range(200))
    for data in (TEXT[:3000], table, random.Random(1).randbytes(2000), bytes(3000)):
        coded = encode_bytes(data)
        assert coded is not None and decode_bytes(coded.payload, len(data)) == data
        for seed in range(20):
            with suppress(FormatError):
                decode_bytes(altered(coded.payload, seed), len(data))


def repeats() -> None:
    """Repeats of all distances, found and taken out, by the library as its users call it; a reference; the encoder's twin."""
    data = TEXT * 40 + random.Random(2).randbytes(70_000)
    packed = nncomp.compress(data + data[::-1] + data, model=None)
    assert nncomp.decompress(packed) == data + data[::-1] + data
    reference = TEXT[:2000]
    packed = nncomp.compress(TEXT[1500:3000], model=None, reference=reference)
    assert nncomp.decompress(packed, reference=reference) == TEXT[1500:3000]
    decisions, p1 = np.unpackbits(np.frombuffer(TEXT[:2000], np.uint8)), np.full(16_000, 40_000, np.uint16)
    twin, other = range_coder.TwinEncoder(), range_coder.new_encoder()
    for encoder in (twin, other):
        encoder.add(decisions, p1)
    assert np.array_equal(twin.words(), other.words())


def outside() -> None:
    """Proof that a wrong index ends the process."""
    _first_and(np.zeros(3, np.int64), int(sys.argv[2]))


if __name__ == "__main__":
    compiling._plain_index = checked_index
    {"tokens": tokens, "bytes": plain_bytes, "repeats": repeats, "outside": outside}[sys.argv[1]]()
