"""*Slots*, *Mixer*, *Adaptive probability maps* and the part of *Match models* that both models share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from checks.independent.tables import NEXT, SQUASH, STRETCH, X_LIMIT, Adaptive, Ints, clip, combine, squash

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


class Mixer:
    """Sets of rows of weights, one row of each set chosen at each decision, and likewise the final weights."""

    def __init__(self, weights: list[Ints], final_weights: list[Ints]) -> None:
        self.weights, self.set_starts = np.concatenate(weights), np.cumsum([0, *map(len, weights[:-1])])
        self.final_weights, self.final_starts = np.concatenate(final_weights), np.cumsum([0, *map(len, final_weights[:-1])])

    def mix(self, x: Ints, rows: list[int], final_rows: list[int]) -> int:
        """Choose a row of each set, and return what they make of the inputs."""
        self.x, self.rows, self.final_rows = x, self.set_starts + rows, self.final_starts + final_rows
        self.outputs = clip((self.weights[self.rows] @ x) >> 16, X_LIMIT)
        self.results = clip((self.final_weights[self.final_rows] @ self.outputs) >> 16, X_LIMIT)
        return int(self.results.sum()) // len(self.results)

    def learn(self, bit: int, rate: int, final_rate: int) -> None:
        final = self.final_weights[self.final_rows]
        self.final_weights[self.final_rows] = self._moved(final, self.outputs, self.results[:, None], bit, final_rate)
        w = self.weights[self.rows]
        self.weights[self.rows] = self._moved(w, self.x, self.outputs[:, None], bit, rate)

    @staticmethod
    def _moved(w: Ints, x: Ints, result: Any, bit: int, rate: int) -> Ints:
        error = bit * 65536 - SQUASH[result + X_LIMIT]
        step = (error * rate) >> 10
        return clip(w + ((x * step + 32768) >> 16), 2**20)


class Apm:
    """Rows of 25 points that correct the mixer's result."""

    def __init__(self, points: Ints) -> None:
        self.points = points

    @classmethod
    def plain(cls, rows: int) -> Apm:
        return cls(np.tile(squash(256 * (np.arange(25) - 12)) << 6, (rows, 1)))

    def correct(self, row: int, m: int) -> int:
        self.row, self.m = row, m
        j, w = (m + 3072) >> 8, (m + 3072) % 256
        points = self.points[row]
        return int(points[j] * (256 - w) + points[j + 1] * w) >> 14

    def learn(self, bit: int) -> None:
        j = (self.m + 3200) >> 8
        point = int(self.points[self.row, j])
        self.points[self.row, j] = point + ((bit * (2**22 - 1) - point) >> 6)


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

    def expected_bit(self, node: int, depth: int, bits: int) -> int | None:
        """Return the bit that the expected symbol of `bits` decisions has at a node, if it leads there."""
        if self.expected is None or (1 << bits | self.expected) >> (bits - depth) != node:
            return None
        return self.expected >> (bits - depth - 1) & 1


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
            bit = match.expected_bit(node, depth, self.bits)
            if bit is None:
                inputs += [0, 0]
                continue
            match_class = match.match_class()
            p = int(self.adaptives[k].p(match_class))
            sign = 1 if bit else -1
            inputs += [sign * int(STRETCH[p >> 4]), sign * ((p - 32768) >> 5)]
            sure = sure or 2 * (1 + match.length_class() // 2) + bit + 32 * k
            self.heard.append((self.adaptives[k], match_class, bit))
        return inputs, sure

    def learn(self, bit: int) -> None:
        for adaptive, match_class, expected in self.heard:
            adaptive.learn(match_class, int(expected == bit))
