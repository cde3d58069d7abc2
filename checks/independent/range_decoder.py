"""*Range coder*: the words of a payload to decisions."""

from __future__ import annotations

import struct

from checks.independent.refused import demand

_MASK = 2**64 - 1


class RangeDecoder:
    """Gives one decision after another, each with the probability it is told."""

    def __init__(self, payload: bytes) -> None:
        demand(len(payload) % 4 == 0, "the payload does not end with a whole word")
        self.words = list(struct.unpack(f"<{len(payload) // 4}I", payload))
        self.lower, self.range = 0, _MASK
        self.position = 0
        self.point = self._word() << 32
        self.point |= self._word()

    def _word(self) -> int:
        self.position += 1
        demand(self.position <= len(self.words) + 2, "the words end before the data")  # it would not become right later
        return self.words[self.position - 1] if self.position <= len(self.words) else 0

    def decide(self, p1: int) -> int:
        assert 1 <= p1 <= 65535
        left = ((65536 - p1) * (2**24 - 2) >> 16) + 1
        scale = self.range >> 24
        offset = (self.point - self.lower) & _MASK
        demand(offset < scale << 24, "the words are damaged")
        split = scale * left
        decision = int(offset >= split)
        if decision:
            self.lower = (self.lower + split) & _MASK
            self.range = (scale << 24) - split
        else:
            self.range = split
        if self.range < 2**32:
            self.lower = self.lower << 32 & _MASK
            self.range = self.range << 32
            self.point = (self.point << 32 | self._word()) & _MASK
        return decision

    def finish(self) -> None:
        """Refuse what does not end where its data end."""
        demand(len(self.words) <= self.position <= len(self.words) + 2, "the words do not end where the data end")
