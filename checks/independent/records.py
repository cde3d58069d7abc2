"""*Records and buckets*: what the contexts of the token tree have seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from checks.independent.tables import NEXT, STRETCH, X_LIMIT, Adaptive, Ints, combine

_OPEN, _EXPECTS, _NOTHING = range(3)


class Records:
    """The hash table of the contexts, and the two inputs that each of them gives."""

    def __init__(self, lines: int, bits: int, start: dict[str, Ints], contexts: int) -> None:
        self.lines, self.bits = lines, bits
        parts = (bits + 3) // 4
        fours = bits - 3 * parts
        self.parts = [4 * i - max(0, i - fours) for i in range(parts)] + [bits]
        self.table = np.zeros((lines, 8, 3), np.int64)  # check, token, count
        self.buckets = np.zeros((lines, 2, 16), np.uint8)
        self.plain, self.joint = [], []
        for plain, joint in (("histories", "joint"), ("records", "record_joint")):
            self.plain.append(Adaptive.unpacked(start[plain], 1023))
            self.joint.append(Adaptive.unpacked(start[joint], 1023))
        self.is_what = [_NOTHING] * contexts

    def begin_token(self, hashes: Ints) -> None:
        """Open all contexts."""
        self.contexts: list[int] = hashes.tolist()
        count = len(self.contexts)
        self.is_what, self.h = [_OPEN] * count, list(self.contexts)
        self.part, self.place = [0] * count, [0] * count
        self.bucket: list[NDArray[np.uint8]] = [self.buckets[0, 0]] * count
        self.token, self.count = [0] * count, [0] * count

    def _hash(self, i: int, node: int) -> int:
        return self.contexts[i] if node == 1 else int(combine(self.contexts[i], node))

    def _line(self, h: int) -> int:
        return h * self.lines >> 32

    def _find_bucket(self, h: int) -> NDArray[np.uint8]:
        first, second = self.buckets[self._line(h)]
        for bucket in (first, second):
            if bucket[0] == h % 256:
                return bucket  # type: ignore[no-any-return]
        taken = second if second[1] < first[1] else first
        taken[:] = 0
        taken[0] = h % 256
        return taken  # type: ignore[no-any-return]

    def _put(self, h: int, token: int, count: int) -> None:
        records, check = self.table[self._line(h)], max(h % 2048, 1)
        order = [(h // 2048 + j) % 8 for j in range(8)]
        with_check = [j for j in order if records[j, 0] == check]
        counts = [records[j, 2] for j in order]
        records[with_check[0] if with_check else order[int(np.argmin(counts))]] = check, token, count

    def _look_up(self, node: int, part: int) -> None:
        for i, what in enumerate(self.is_what):
            if what != _OPEN:
                continue
            h = self._hash(i, node)
            self.h[i], self.part[i] = h, part
            found = np.flatnonzero(self.table[self._line(h), :, 0] == max(h % 2048, 1))
            if not len(found):
                self.is_what[i] = _NOTHING
                continue
            self.place[i] = int(found[-1])
            _, self.token[i], self.count[i] = self.table[self._line(h), self.place[i]].tolist()
            if self.count[i] == 16:
                self.bucket[i] = self._find_bucket(h)
            else:
                self.is_what[i] = _EXPECTS

    def predict(self, node: int, x: int) -> Ints:
        """Return the two inputs of each context, where the network's stretched probability is `x`."""
        d = node.bit_length() - 1
        if d in self.parts:
            self._look_up(node, self.parts.index(d))
        k = d - max(first for first in self.parts if first <= d)
        self.slot = 2**k + node % 2**k
        inputs = np.zeros((len(self.contexts), 2), np.int64)
        self.used: list[tuple[int, int, int, int]] = []  # of records or histories, places of both probabilities, expected bit
        self.histories: list[tuple[int, int]] = []
        for i, what in enumerate(self.is_what):
            sign, kind = 1, 0
            if what == _OPEN:
                s = int(self.bucket[i][self.slot])
                self.histories.append((i, s))
                entry = 256 * i + s
                if s == 0:
                    inputs[i, 0] = STRETCH[self.plain[0].p(entry) >> 4]
                    continue
            elif what == _EXPECTS and (2**self.bits + self.token[i]) >> (self.bits - d) == node:
                kind, sign = 1, 1 if self.token[i] >> (self.bits - d - 1) & 1 else -1
                entry = 256 * i + 16 * self.count[i] + d
            else:
                continue
            bin_entry = 8 * entry + min(max((sign * x >> 9) + 4, 0), 7)
            inputs[i, 0] = sign * STRETCH[self.plain[kind].p(entry) >> 4]
            inputs[i, 1] = min(max(sign * STRETCH[self.joint[kind].p(bin_entry) >> 4] - x, -X_LIMIT), X_LIMIT)
            self.used.append((kind, entry, bin_entry, int(sign > 0)))
        return inputs.reshape(-1)

    def learn(self, bit: int) -> None:
        for kind, entry, bin_entry, expected in self.used:
            self.plain[kind].learn(entry, int(bit == expected))
            self.joint[kind].learn(bin_entry, int(bit == expected))
        for i, s in self.histories:
            self.bucket[i][self.slot] = NEXT[s, bit]

    def end_token(self, t: int) -> None:
        opened = []
        for i, what in enumerate(self.is_what):
            h = self.h[i]
            if what == _NOTHING:
                self._put(h, t, 1)
            elif what == _EXPECTS:
                count = min(self.count[i] + 1, 15) if self.token[i] == t else 16
                self.table[self._line(h), self.place[i]] = max(h % 2048, 1), t, count
                if count == 16:
                    opened.append(i)
        for i in opened:
            self._open(i, t)

    def _open(self, i: int, t: int) -> None:
        o, n, h = self.token[i], self.count[i], self.h[i]
        for part in range(self.part[i], len(self.parts) - 1):
            bucket = self._find_bucket(h)
            first, end = self.parts[part], self.parts[part + 1]
            for token in [o] * n + [t]:
                slot = 1
                for d in range(first, end):
                    bit = token >> (self.bits - 1 - d) & 1
                    bucket[slot] = NEXT[bucket[slot], bit]
                    slot = 2 * slot + bit
            if end == self.bits:
                return
            node, other = ((2**self.bits + token) >> (self.bits - end) for token in (t, o))
            h = self._hash(i, node)
            if node != other:
                self._put(self._hash(i, other), o, n)
                self._put(h, t, 1)
                return
            self._put(h, t, 16)
