"""*Slots*, *Mixer*, *Adaptive probability maps* and the part of *Match models* that both models share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from checks.independent.tables import NEXT, POINT_RATE, SQUASH, STRETCH, X_LIMIT, Adaptive, Ints, clip, combine, squash

BIAS = 256
_LENGTHS = (1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32, 64, 256, 1024)


class Slots:
    """The histories of all contexts, and what each context makes of them."""

    def __init__(self, bucket_count: int, adaptive: Adaptive) -> None:
        """Take the adaptive probabilities of each context and history, (contexts, 256)."""
        self.table = np.zeros((bucket_count, 16), np.uint8)
        self.adaptive = adaptive
        self.contexts = np.arange(adaptive.q.shape[0])
        self.buckets = np.zeros(len(self.contexts), np.int64)
        self.inputs = np.zeros(2 * len(self.contexts), np.int64)

    def begin_part(self, hashes: Ints, node: int) -> None:
        """Find the bucket of each context, or take one."""
        h = combine(hashes, node)
        for context, (i, check) in enumerate(zip((h * len(self.table) >> 32).tolist(), (h % 256).tolist(), strict=True)):
            bucket = i
            if self.table[i, 0] != check:
                bucket = i ^ 1
                if self.table[bucket, 0] != check:
                    bucket = i ^ 1 if self.table[i ^ 1, 1] < self.table[i, 1] else i
                    self.table[bucket] = 0
                    self.table[bucket, 0] = check
            self.buckets[context] = bucket

    def predict(self, slot: int) -> Ints:
        """Return the two inputs of each context, one context after another."""
        self.slot = slot
        self.histories = self.table[self.buckets, slot].astype(np.int64)
        p = self.adaptive.p((self.contexts, self.histories))
        self.inputs[0::2], self.inputs[1::2] = STRETCH[p >> 4], (p - 32768) >> 5
        return self.inputs

    def learn(self, bit: int) -> None:
        seen = self.histories != 0
        self.adaptive.learn((self.contexts[seen], self.histories[seen]), bit)
        self.table[self.buckets, self.slot] = NEXT[self.histories, bit]  # of equal places the last one stays


Rates = tuple[int, int, int]


class Selector:
    """Rows of weights, each a copy of a first row from when it is first picked; also how often each has learned."""

    def __init__(self, first_rows: Ints, rates: Rates) -> None:
        self.first_rows, self.rates = first_rows, rates
        self.rows: dict[int, Ints] = {}
        self.learned: dict[int, int] = {}

    def pick(self, row: int, first_row: int) -> Ints:
        self.row = row
        if row not in self.rows:
            self.rows[row], self.learned[row] = self.first_rows[first_row].copy(), 0
        return self.rows[row]

    def learn(self, x: Ints, result: int, bit: int) -> None:
        """Move the row that was picked last, which made this result of the inputs."""
        least, extra, shift = self.rates
        error = bit * 65536 - int(SQUASH[result + X_LIMIT])
        step = (error * (least + extra // (64 + (self.learned[self.row] >> shift)))) >> 10
        self.rows[self.row] = clip(self.rows[self.row] + ((x * step + 32768) >> 16), 2**19)
        self.learned[self.row] = min(self.learned[self.row] + 1, 65535)


class Mixer:
    """Selectors, and final mixers that do the same with what the selectors' rows make of the inputs."""

    def __init__(self, selectors: list[Selector], final_mixers: list[Selector]) -> None:
        self.selectors, self.final_mixers = selectors, final_mixers

    def mix(self, x: Ints, picks: list[tuple[int, int]], final_rows: list[int]) -> int:
        """Pick a row and the first row that it begins as for each selector; return what they make of the inputs."""
        self.x = x
        rows = np.array([selector.pick(*pick) for selector, pick in zip(self.selectors, picks, strict=True)])
        self.outputs = clip(((rows * x) >> 9).sum(axis=1) >> 7, X_LIMIT)
        finals = np.array([mixer.pick(row, row) for mixer, row in zip(self.final_mixers, final_rows, strict=True)])
        self.results = clip(((finals * self.outputs) >> 9).sum(axis=1) >> 7, X_LIMIT)
        return int(self.results.sum()) // len(self.results)

    def learn(self, bit: int) -> None:
        for mixer, result in zip(self.final_mixers, self.results.tolist(), strict=True):
            mixer.learn(self.outputs, result, bit)
        for selector, output in zip(self.selectors, self.outputs.tolist(), strict=True):
            selector.learn(self.x, output, bit)


class Apm:
    """Rows of 16 points that correct the mixer's result. The points are adaptive probabilities."""

    def __init__(self, points: Adaptive) -> None:
        self.points = points

    @classmethod
    def unpacked(cls, points: Ints) -> Apm:
        return cls(Adaptive.unpacked(points.reshape(-1, 16), 255, POINT_RATE))

    @classmethod
    def plain(cls, rows: int) -> Apm:
        q = np.tile(squash(256 * np.arange(16) - 1920) << 6, (rows, 1))
        return cls(Adaptive(q, np.zeros_like(q), 255, POINT_RATE))

    def correct(self, row: int, m: int) -> int:
        self.row, self.place = row, min(max(m, -1920), 1919) + 1920
        j, w = self.place >> 8, self.place % 256
        q = self.points.q[row]
        return int(q[j] * (256 - w) + q[j + 1] * w) >> 14

    def learn(self, bit: int) -> None:
        self.points.learn((self.row, (self.place + 128) >> 8), bit)


class Corrections:
    """The maps, and the probability they end in."""

    def __init__(self, maps: list[Apm], shares: tuple[int, ...]) -> None:
        self.maps, self.shares = maps, shares

    def p1(self, m: int, rows: list[int]) -> int:
        values = [int(SQUASH[m + X_LIMIT])]
        values += [a_map.correct(row, m) for a_map, row in zip(self.maps, rows, strict=True)]
        total = sum(share * value for share, value in zip(self.shares, values, strict=True))
        return min(max((total + 4) >> 3, 1), 65535)

    def learn(self, bit: int) -> None:
        for a_map in self.maps:
            a_map.learn(bit)


@dataclass
class Match:
    """A place where the last symbols stood before."""

    place: int = 0
    length: int = 0
    misses: int = 0
    expected: int | None = None

    def score(self, was_right: bool) -> None:
        """Take note of whether the symbol that came was the expected one."""
        self.length = min(self.length + 1, 65535) if was_right else 0
        self.misses = (2 * self.misses + (not was_right)) % 256

    def restart(self, place: int, length: int) -> None:
        self.place, self.length, self.misses = place, length, 0

    def length_class(self) -> int:
        return sum(limit <= self.length for limit in _LENGTHS)

    def match_class(self) -> int:
        recent = 0 if self.misses == 0 else 1 if self.misses % 4 == 0 else 2 if self.misses % 2 == 0 else 3
        return 4 * self.length_class() + recent


def expected_bit(expected: int | None, node: int, depth: int, bits: int) -> int | None:
    """Return the bit that an expected symbol of `bits` decisions has at a node, if there is one and it leads there."""
    if expected is None or (1 << bits | expected) >> (bits - depth) != node:
        return None
    return expected >> (bits - depth - 1) & 1


def inputs_of(p: int, bit: int) -> list[int]:
    """Return the two inputs of an expected bit that comes with the probability p."""
    sign = 1 if bit else -1
    return [sign * int(STRETCH[p >> 4]), sign * ((p - 32768) >> 5)]


class MatchVoices:
    """What the two matches say of a decision: their inputs, and `sure`."""

    def __init__(self, adaptives: list[Adaptive], bits: int) -> None:
        self.adaptives, self.bits = adaptives, bits

    def predict(self, matches: list[Match], node: int, depth: int) -> tuple[list[int], int]:
        """Return two inputs for each match, and `sure`."""
        inputs: list[int] = []
        sure = 0
        self.heard: list[tuple[Adaptive, int, int]] = []
        for k, match in enumerate(matches):
            bit = expected_bit(match.expected, node, depth, self.bits)
            if bit is None:
                inputs += [0, 0]
                continue
            match_class = match.match_class()
            inputs += inputs_of(int(self.adaptives[k].p(match_class)), bit)
            sure = sure or 2 * (1 + match.length_class() // 2) + bit + 32 * k
            self.heard.append((self.adaptives[k], match_class, bit))
        return inputs, sure

    def learn(self, bit: int) -> None:
        for adaptive, match_class, expected in self.heard:
            adaptive.learn(match_class, int(expected == bit))
