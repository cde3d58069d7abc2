"""The constant tables of mixing: the logistic function and its inverse, bit-history states, adaptation rates.

Integer arithmetic makes them, never a machine's `exp`: so they are the same everywhere. Every start of a process makes them, so
that is done in a few milliseconds. Knows nothing of contexts or of the mixer.

Units: a probability has 16 bits (65536 is 1). The logistic domain has 8 fractional bits: x = 256 * ln(p / (1 - p)),
limited to +-LOGIT_LIMIT.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

LOGIT_LIMIT = 3071  # 12 nats: p from 1/162,000; the coder's own limit is 1/65,536
HISTORY_STATES = 255
_FRACTION_BITS = 192  # of an exponential: 3,071 products lose 12 of them; no value of the table is that near to a half


@lru_cache(maxsize=1)
def squash_table() -> NDArray[np.int32]:
    """Return p (1..65535, int32) for x = index - LOGIT_LIMIT: 65536 / (1 + exp(-x / 256)), rounded."""
    one = exponential = 1 << _FRACTION_BITS
    ratio, upper = _exp_of_minus_one_over(256), []
    for _ in range(LOGIT_LIMIT + 1):
        upper.append(min(((one << 17) // (one + exponential) + 1) >> 1, 65535))
        exponential = exponential * ratio >> _FRACTION_BITS
    return np.array([65536 - p for p in reversed(upper[1:])] + upper, dtype=np.int32)


def _exp_of_minus_one_over(n: int) -> int:
    """Return exp(-1 / n) with _FRACTION_BITS fraction bits: the sum of (-1 / n)**k / k!."""
    total, term, k = 0, 1 << _FRACTION_BITS, 0
    while term:
        total += -term if k & 1 else term
        k += 1
        term //= n * k
    return total


@lru_cache(maxsize=1)
def stretch_table() -> NDArray[np.int32]:
    """Return x (int32) for p = 16 * index + 8, index 0..4095: the least x whose squash reaches p."""
    squash = squash_table()
    return (np.searchsorted(squash, np.arange(4096, dtype=np.int32) * 16 + 8) - LOGIT_LIMIT).astype(np.int32)


def rate_table(size: int, offset_tenths: int) -> NDArray[np.int32]:
    """Return 65536 / (n + offset_tenths / 10) for n = 0..size-1, rounded down (int32): the rate after n decisions."""
    return np.array([655360 // (10 * n + offset_tenths) for n in range(size)], dtype=np.int32)


# Bit histories. A state stands for (zeros seen, ones seen, last decision), the counts bounded and the opposite count
# discounted at each decision, as in the ICM of ZPAQ (M. Mahoney, The ZPAQ Open Standard Format, 2.06). State 0: nothing seen.
_MOST_OPPOSITE = (20, 48, 15, 8, 6, 5)  # for the smaller count: the greatest larger count


def _variants(zeros: int, ones: int) -> int:
    """Return how many states the counts have: 0 (no such state), 1, or 2 (the last decision is told apart)."""
    few, many = sorted((zeros, ones))
    if few < 0 or few >= len(_MOST_OPPOSITE) or many > _MOST_OPPOSITE[few]:
        return 0
    return 2 if few > 0 and zeros + ones <= 17 else 1


def _discount(count: int) -> int:
    return sum(count >= limit for limit in (1, 2, 3, 4, 5, 7, 8))


def _next_counts(zeros: int, ones: int, bit: int) -> tuple[int, int]:
    if zeros < ones:
        ones, zeros = _next_counts(ones, zeros, 1 - bit)
        return zeros, ones
    if bit:
        ones, zeros = ones + 1, _discount(zeros)
    else:
        zeros, ones = zeros + 1, _discount(ones)
    while not _variants(zeros, ones):
        if ones < 2:
            zeros -= 1
        else:
            zeros = (zeros * (ones - 1) + ones // 2) // ones
            ones -= 1
    return zeros, ones


@lru_cache(maxsize=1)
def history_tables() -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Return (next state at 2 * state + bit, shape (512,), uint8; first probability of 1 by state, shape (256,), int32)."""
    number: dict[tuple[int, int, int], int] = {}
    for total in range(50):
        for ones in range(total + 1):
            for variant in range(_variants(total - ones, ones)):
                number[total - ones, ones, variant] = len(number)
    assert len(number) == HISTORY_STATES
    successor = np.zeros(512, np.uint8)
    first = np.full(256, 32768, np.int32)
    for (zeros, ones, _), state in number.items():
        for bit in range(2):
            counts = _next_counts(zeros, ones, bit)
            successor[2 * state + bit] = number[(*counts, bit if _variants(*counts) == 2 else 0)]
        first[state] = (2 * ones + 1) * 65536 // (2 * (zeros + ones) + 2)
    return successor, first
