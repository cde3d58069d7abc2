"""The arithmetic of all predictors: a hash, squash and stretch, and the adaptive probability. Integers only.

A probability has 16 bits: 65536 is 1. The logistic domain has 8 fractional bits (see `tables`). Knows nothing of contexts.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nncomp.machine.kernels import inlined
from nncomp.mixing import tables

PROBABILITY_BITS = 22  # of an adaptive probability and of a point of an APM
COUNT_BITS = 10  # of an adaptive probability
HALF = 32768  # a probability of 1/2
FLAT_SHIFT = 5  # an input in the probability domain is (p - HALF) >> FLAT_SHIFT
BIAS = 256  # the last input of every mixer

POINT_LIMIT = 255  # of the count of a point of an APM

LOGIT_LIMIT = tables.LOGIT_LIMIT
_COUNT_MASK = (1 << COUNT_BITS) - 1
_SQUASH = tables.squash_table().astype(np.uint16)  # 16 bits an entry: more of the table stays in the nearest cache
_STRETCH = tables.stretch_table().astype(np.int16)
_RATE = tables.rate_table(1 << COUNT_BITS, 15).astype(np.uint16)
_POINT_RATE = tables.rate_table(1 << COUNT_BITS, 240).astype(np.uint16)


@inlined
def combine(a: Any, b: Any) -> Any:
    """Return a 32-bit hash of two values, of which 32 bits count.

    Bound for a < 2**33 and b < 2**32: a * 2**30 + b * 2**29 < 2**63.
    """
    h = (a * 0x2F0B4C47 + b * 0x1E3779B1 + 0x3C6EF372) & 0xFFFFFFFF
    return h ^ (h >> 15)


@inlined
def next_bit(symbol: int, bits: int, depth: int, node: int) -> int:
    """Return the decision at `node` on the way to a symbol of `bits` decisions; -1 if none is expected, or not there."""
    path = symbol + (np.int64(1) << bits)
    bit = path >> (bits - 1 - depth) & 1
    return np.int64(bit) if symbol >= 0 and path >> (bits - depth) == node else np.int64(-1)


@inlined
def limited(x: int) -> int:
    """Return x limited to the logistic domain."""
    return min(max(x, -LOGIT_LIMIT), LOGIT_LIMIT)


@inlined
def squash(x: int) -> int:
    """Return the probability (1..65535) of a logistic value, which is limited first."""
    return np.int64(_SQUASH[limited(x) + LOGIT_LIMIT])


@inlined
def stretch(p: int) -> int:
    """Return the logistic value of a 16-bit probability (0..65535)."""
    return np.int64(_STRETCH[p >> 4])


@inlined
def flat(p: int) -> int:
    """Return a 16-bit probability as an input in the probability domain: -1024..1023, 0 for 1/2."""
    return (p - HALF) >> FLAT_SHIFT


@inlined
def set_expected(inputs: Any, first: int, p: int, bit: int) -> None:
    """Set two inputs, inputs[first] and the next, to what says that `bit` comes with the 16-bit probability `p`."""
    sign = 2 * bit - 1
    inputs[first] = sign * stretch(p)
    inputs[first + 1] = sign * flat(p)


@inlined
def probability(packed: int) -> int:
    """Return the 16-bit probability of an adaptive probability, packed as uint32."""
    return np.int64(packed) >> 16


@inlined
def adapt(maps: Any, i: int, bit: int, limit: int) -> None:
    """Move the adaptive probability `maps[i]` (uint32) towards `bit`.

    An adaptive probability holds 22 bits of probability and 10 bits of count: p << 10 | count. It moves by 1 / (count + 1.5) of
    its error. The count grows by 1 up to `limit`, so a low limit forgets sooner. PAQ calls an array of them a StateMap.
    Bound: |error| < 2**22 and rate <= 2**16, so the product is below 2**38.
    """
    v = np.int64(maps[i])
    count = v & _COUNT_MASK
    maps[i] = _moved(v, bit, np.int64(_RATE[count])) | (count + (count < limit))


@inlined
def adapt_point(points: Any, i: int, bit: int) -> None:
    """Move the point `points[i]` of an APM towards `bit`: an adaptive probability that moves by 1 / (count + 24)."""
    v = np.int64(points[i])
    count = v & _COUNT_MASK
    points[i] = _moved(v, bit, np.int64(_POINT_RATE[count])) | (count + (count < POINT_LIMIT))


@inlined
def _moved(packed: int, bit: int, rate: int) -> int:
    """Return the packed adaptive probability, moved towards `bit` by the rate (16 bits), without its count."""
    p = packed >> COUNT_BITS
    p += (((bit << PROBABILITY_BITS) - bit - p) * rate) >> 16
    return p << COUNT_BITS


def packed_probability(p: int) -> int:
    """Return a 16-bit probability as an adaptive probability that has learned nothing.

    >>> packed_probability(32768)
    2147483648
    """
    return p << (PROBABILITY_BITS - 16 + COUNT_BITS)
