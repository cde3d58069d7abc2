"""*Tables*, *Hash* and *Adaptive probabilities*."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

_TABLE_HASHES = {
    "squash": "5c75f7db98c8c55a",
    "stretch": "7e88a1ffb27b4d5a",
    "rate": "9907bf9ddc225daf",
    "next": "c4dd7e7e0c1072de",
    "first": "83f0be6ed7f56b60",
}
X_LIMIT = 3071


def _make_squash() -> Ints:
    upper = [min(65535, math.floor(65536 / (1 + math.exp(-x / 256)) + 0.5)) for x in range(X_LIMIT + 1)]
    return np.array([65536 - p for p in upper[:0:-1]] + upper, np.int64)


def _make_stretch(squash: Ints) -> Ints:
    """Return the table of p = 0, 16, 32 and so on."""
    return np.array([int(np.argmax(squash >= 16 * i + 8)) - X_LIMIT for i in range(4096)], np.int64)


def _exists(zeros: int, ones: int) -> bool:
    few, many = sorted((zeros, ones))
    return few <= 5 and many <= (20, 48, 15, 8, 6, 5)[few]


def _has_last(zeros: int, ones: int) -> bool:
    return min(zeros, ones) > 0 and zeros + ones <= 17


def _after(zeros: int, ones: int, bit: int) -> tuple[int, int, int]:
    """Return the history after a bit."""
    counts = [zeros, ones]
    counts[bit] += 1
    counts[1 - bit] = sum(limit <= counts[1 - bit] for limit in (1, 2, 3, 4, 5, 7, 8))
    greater = 1 if ones > zeros else 0
    while not _exists(*counts):
        z, o = counts[greater], counts[1 - greater]
        counts[greater], counts[1 - greater] = (z - 1, o) if o < 2 else ((z * (o - 1) + o // 2) // o, o - 1)
    return counts[0], counts[1], bit if _has_last(*counts) else 0


def _make_histories() -> tuple[Ints, Ints]:
    """Return `next`, shape (255, 2), and `first`, shape (255,)."""
    histories = [
        (zeros, total - zeros, last)
        for total in range(69)
        for zeros in range(total, -1, -1)  # then ones, from few to many
        if _exists(zeros, total - zeros)
        for last in ((0, 1) if _has_last(zeros, total - zeros) else (0,))
    ]
    number = {history: i for i, history in enumerate(histories)}
    after = [[number[_after(zeros, ones, bit)] for bit in (0, 1)] for zeros, ones, _ in histories]
    first = [(2 * ones + 1) * 65536 // (2 * (zeros + ones) + 2) for zeros, ones, _ in histories]
    return np.array(after, np.int64), np.array(first, np.int64)


SQUASH = _make_squash()
STRETCH = _make_stretch(SQUASH)
RATE = np.array([655360 // (10 * n + 15) for n in range(1024)], np.int64)
POINT_RATE = np.array([65536 // (n + 24) for n in range(1024)], np.int64)
NEXT, FIRST = _make_histories()

for _name, _table in (("squash", SQUASH), ("stretch", STRETCH), ("rate", RATE), ("next", NEXT), ("first", FIRST)):
    _found = hashlib.sha256(_table.astype("<i4").tobytes()).hexdigest()[:16]
    assert _found == _TABLE_HASHES[_name], f"this machine makes another table: {_name} {_found}"


def clip(x: Any, m: int) -> Ints:
    limited: Ints = np.minimum(np.maximum(x, -m), m)
    return limited


def squash(x: Any) -> Any:
    """Return the probability (16 bits) of a number or an array in the logistic domain."""
    return SQUASH[clip(x, X_LIMIT) + X_LIMIT]


def combine(a: Any, *others: Any) -> Any:
    """Return the hash of two numbers or more, or of as many as the arrays hold; all are below 2**32."""
    h = a
    for b in others:
        h = (h * 0x2F0B4C47 + b * 0x1E3779B1 + 0x3C6EF372) % 2**32
        h ^= h >> 15
    return h


class Adaptive:
    """Adaptive probabilities, chosen by an index that may be an array: q (22 bits) and counts n, both of one shape."""

    def __init__(self, q: Ints, n: Ints, limit: int, rate: Ints = RATE) -> None:
        self.q, self.n, self.limit, self.rate = q.astype(np.int64), n.astype(np.int64), limit, rate

    @classmethod
    def unpacked(cls, packed: NDArray[Any], limit: int, rate: Ints = RATE) -> Adaptive:
        return cls(packed.astype(np.int64) >> 10, packed.astype(np.int64) & 1023, limit, rate)

    def p(self, index: Any) -> Any:
        return self.q[index] >> 6

    def learn(self, index: Any, bit: int) -> None:
        self.q[index] += ((bit * (2**22 - 1) - self.q[index]) * self.rate[self.n[index]]) >> 16
        self.n[index] += self.n[index] < self.limit
