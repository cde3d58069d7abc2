"""The definition of the n-gram table: the same as `ngram_table.py` in plain Python integers, slow and readable."""

from __future__ import annotations

from collections.abc import Sequence

from nncomp.mixing.byte_contexts_reference import chain, combine
from nncomp.mixing.byte_predictor_reference import Adaptive, Vote, stretch


class NgramReference:
    """A table of lines of 16 entries for tokens of `bits` decisions, and an adaptive probability for each class and depth."""

    def __init__(self, bits: int, entries: Sequence[int], strength: Sequence[int]) -> None:
        self.bits, self.lines = bits, [entries[at : at + 16] for at in range(0, len(entries), 16)]
        self.strength = [Adaptive(packed) for packed in strength]
        self.token: int | None = None
        self.chance = -1

    def begin(self, last_tokens: Sequence[int]) -> None:
        """Take the surest entry of the last tokens, the last one first: of two to five of them; of equals that of most."""
        self.token, self.chance = None, -1
        t1, t2, *older = last_tokens
        check_bits = 27 - self.bits
        for order in (5, 4, 3, 2):
            h = combine(chain(t1 + 65536 * t2, *older[: order - 2]), order)
            check = max(h % 2**check_bits, 1)
            for entry in self.lines[h * len(self.lines) >> 32][::-1]:
                if entry % 2**check_bits == check:
                    chance = entry >> check_bits & 31
                    if chance > self.chance:
                        self.token, self.chance = entry >> check_bits + 5, chance
                    break

    def predict(self, depth: int, node: int) -> tuple[list[int], int, list[Vote]]:
        """Return two inputs; what is expected of the decision at `node`, and how surely (0, or 50..63); votes."""
        if self.token is None or (1 << self.bits | self.token) >> (self.bits - depth) != node:
            return [0, 0], 0, []
        bit = self.token >> (self.bits - 1 - depth) & 1
        strength = self.strength[16 * self.chance + depth]
        p, sign = strength.p >> 6, 1 if bit else -1
        return [sign * stretch(p), sign * (p - 32768 >> 5)], 50 + 2 * (7 * self.chance >> 5) + bit, [(strength, bit)]
