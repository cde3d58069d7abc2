"""*N-gram table*: which token followed the last ones in other texts, and what that says of a decision."""

from __future__ import annotations

from checks.independent.mixing import expected_bit, inputs_of
from checks.independent.tables import Adaptive, Ints, combine

_ORDERS = (5, 4, 3, 2)


class Ngrams:
    """The entries of a table, (lines, 16), and the token that they expect next."""

    def __init__(self, entries: Ints, adaptive: Adaptive, bits: int) -> None:
        """Take the adaptive probabilities by 16 * sure class + depth."""
        self.entries, self.adaptive, self.bits = entries, adaptive, bits
        self.expected: int | None = None
        self.sure_class = 0

    def begin_token(self, last: list[int]) -> None:
        """Look up what follows the lane's last five tokens, the last one first."""
        self.expected, self.sure_class = None, -1
        for order in _ORDERS:
            found = self._find(last[:order])
            if found and found[0] > self.sure_class:
                self.sure_class, self.expected = found

    def _find(self, last: list[int]) -> tuple[int, int] | None:
        """Return the class and the token of the entry for as many last tokens as the order."""
        t1, t2, *older = last
        e, check_bits = combine(combine(t1 + 65536 * t2, *older), len(last)), 27 - self.bits
        check = max(e % 2**check_bits, 1)
        line = self.entries[e * len(self.entries) >> 32].tolist()
        found = [entry >> check_bits for entry in line if entry % 2**check_bits == check]
        return (found[-1] % 32, found[-1] >> 5) if found else None

    def predict(self, node: int, depth: int, sure: int) -> tuple[list[int], int]:
        """Return the two inputs, and what becomes of `sure`."""
        self.bit = expected_bit(self.expected, node, depth, self.bits)
        if self.bit is None:
            return [0, 0], sure
        self.entry = 16 * self.sure_class + depth
        inputs = inputs_of(int(self.adaptive.p(self.entry)), self.bit)
        return inputs, sure or 50 + 2 * (7 * self.sure_class >> 5) + self.bit

    def learn(self, bit: int) -> None:
        if self.bit is not None:
            self.adaptive.learn(self.entry, int(self.bit == bit))
