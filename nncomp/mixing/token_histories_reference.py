"""The definition of what contexts of tokens have seen: as `token_histories.py`, in plain Python integers, slow and readable.

Shares with the fast kernels only the tables. The tests compare every probability with `==`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from nncomp.mixing import tables
from nncomp.mixing.bit_histories import COUNT_LIMIT
from nncomp.mixing.byte_contexts_reference import combine
from nncomp.mixing.byte_predictor_reference import Adaptive, limit, stretch

_NEXT = tables.history_tables()[0].tolist()
_MOST, _HAS_BUCKET = 15, 16


def first_depths(bits: int) -> list[int]:
    """Return the depths at which the parts of a token begin: as few as can be, of four decisions, then of three.

    >>> first_depths(14), first_depths(9)
    ([0, 4, 8, 11], [0, 3, 6])
    """
    parts = -(-bits // 4)
    sizes = [4] * (bits - 3 * parts) + [3] * (4 * parts - bits)
    return list(accumulate(sizes[:-1], initial=0))


class Record(NamedTuple):
    """The one token that a context has seen at a node and how often, 1 to 15; or 16: there is a bucket."""

    check: int
    token: int
    count: int


_NOTHING = Record(0, 0, 0)


class Line:
    """Eight records and two buckets; byte 0 of a bucket is its check, the others are slots."""

    def __init__(self) -> None:
        self.records = [_NOTHING] * 8
        self.buckets = bytearray(16), bytearray(16)

    def bucket(self, h: int) -> bytearray:
        """Return the bucket of hash `h`; a new one replaces the less used of the two."""
        for bucket in self.buckets:
            if bucket[0] == h % 256:
                return bucket
        bucket = min(self.buckets, key=lambda b: b[1])
        bucket[:] = bytes([h % 256, *[0] * 15])
        return bucket


def check_of(h: int) -> int:
    """Return the check of a record with hash `h`: never 0, which is that of an empty record."""
    return max(h % 2048, 1)


def node_of(token: int, bits: int, depth: int) -> int:
    """Return the node of a token's first `depth` decisions."""
    return (token + 2**bits) >> (bits - depth)


class Seen:
    """What one context has found for the token at hand."""

    def __init__(self, context: int) -> None:
        self.context = self.hash = context  # the hash of the context, and of the node where it was looked up last
        self.depth, self.place = 0, 0  # of that node, and of the record in its line
        self.record = Record(0, 0, _HAS_BUCKET)
        self.bucket = bytearray(16)
        self.state = 0  # the bit history of the decision at hand; while a token is expected, whether it has the decisions so far
        self.learning: tuple[Adaptive, ...] = ()  # what has predicted the decision at hand
        self.expected_bit = 1


class Map(dict[int, Adaptive]):
    """Adaptive probabilities by place, each made of its start value when it is first used: of 115,000 a short text uses few."""

    def __init__(self, start: Sequence[int]) -> None:
        self._start = start

    def __missing__(self, place: int) -> Adaptive:
        self[place] = Adaptive(int(self._start[place]))
        return self[place]


class TokenHistories:
    """The hash table of a block of tokens of `bits` decisions, and what its contexts predict."""

    def __init__(self, bits: int, lines: int, start: Mapping[str, Sequence[int]]) -> None:
        """`start` has the start values histories, joint, records and record_joint, all packed."""
        self.bits, self.line_count, self.parts = bits, lines, [*first_depths(bits), bits]
        self.lines = defaultdict[int, Line](Line)
        self.maps = {name: Map(start[name]) for name in ("histories", "joint", "records", "record_joint")}
        self.seen, self.slot = list[Seen](), 0

    def line(self, h: int) -> Line:
        """Return the line of the hash `h`."""
        return self.lines[h * self.line_count >> 32]

    def begin(self, contexts: list[int]) -> None:
        """Take the contexts of the next token."""
        self.seen = [Seen(context) for context in contexts]

    def _look_up(self, node: int, depth: int) -> None:
        """Find what the contexts that had a bucket so far have seen at a node where a part begins."""
        for one in self.seen:
            if one.record.count != _HAS_BUCKET:
                continue
            one.hash = combine(one.context, node) if depth else one.context
            one.depth, one.record, one.place = depth, _NOTHING, 0
            line = self.line(one.hash)
            for place, record in enumerate(line.records):
                if record.check == check_of(one.hash):
                    one.record, one.place = record, place
            if one.record.count == _HAS_BUCKET:
                one.bucket = line.bucket(one.hash)

    def inputs(self, node: int, depth: int, network: int) -> list[int]:
        """Return the two inputs of each context for a decision; `network` is the network's stretched probability of it."""
        if depth in self.parts:
            self._look_up(node, depth)
        deep = depth - max(first for first in self.parts if first <= depth)
        self.slot = node % 2**deep + 2**deep
        result = []
        for i, one in enumerate(self.seen):
            one.learning, one.expected_bit = (), 1
            names, place = ("histories", "joint"), 256 * i
            if one.record.count == _HAS_BUCKET:
                one.state = one.bucket[self.slot]
                place += one.state
            elif one.record.count and node_of(one.record.token, self.bits, depth) == node:
                one.expected_bit = node_of(one.record.token, self.bits, depth + 1) % 2
                names, place = ("records", "record_joint"), place + 16 * one.record.count + depth
            else:
                result += [0, 0]
                continue
            sign = 1 if one.expected_bit else -1
            network_bin = min(max(sign * network // 512 + 4, 0), 7)
            plain, joint = self.maps[names[0]][place], self.maps[names[1]][8 * place + network_bin]
            is_known = one.record.count != _HAS_BUCKET or one.state > 0
            result += [sign * stretch(plain.p >> 6), limit(sign * stretch(joint.p >> 6) - network) if is_known else 0]
            one.learning = (plain, joint) if is_known else ()
        return result

    def update(self, bit: int) -> None:
        """Teach all contexts the decision."""
        for one in self.seen:
            for adaptive in one.learning:
                adaptive.update(int(bit == one.expected_bit), COUNT_LIMIT)
            if one.record.count == _HAS_BUCKET:
                one.bucket[self.slot] = _NEXT[2 * one.state + bit]

    def end(self, token: int) -> None:
        """Teach the token to the records: first to those that stay, then to those that become buckets."""
        opening = list[Seen]()
        for one in self.seen:
            if one.record.count == 0:
                self._put(one.hash, token, 1)
            elif one.record.count != _HAS_BUCKET:
                is_same = one.record.token == token
                count = min(one.record.count + 1, _MOST) if is_same else _HAS_BUCKET
                self.line(one.hash).records[one.place] = Record(check_of(one.hash), token, count)
                opening += [] if is_same else [one]
        for one in opening:
            self._open(one, token)

    def _put(self, h: int, token: int, count: int) -> None:
        """Write the record of the hash `h`: over one with its check, else over one of its line with the least count."""
        records, check = self.line(h).records, check_of(h)
        order = [((h >> 11) + j) % 8 for j in range(8)]
        place = min(order, key=lambda j: -1 if records[j].check == check else records[j].count)
        records[place] = Record(check, token, count)

    def _open(self, one: Seen, new: int) -> None:
        """Give a context with a record a bucket, for a second token has come; where the tokens part, each gets a record."""
        old, count, h = one.record.token, one.record.count, one.hash
        for depth, end in pairwise(self.parts):
            if depth < one.depth:
                continue
            bucket = self.line(h).bucket(h)
            for token in [old] * count + [new]:
                for d in range(depth, end):
                    slot = node_of(token, self.bits, d) % 2 ** (d - depth) + 2 ** (d - depth)
                    bucket[slot] = _NEXT[2 * bucket[slot] + node_of(token, self.bits, d + 1) % 2]
            node, old_node = node_of(new, self.bits, end), node_of(old, self.bits, end)
            if end == self.bits:
                return
            h = combine(one.context, node)
            if node != old_node:
                self._put(combine(one.context, old_node), old, count)
                self._put(h, new, 1)
                return
            self._put(h, new, _HAS_BUCKET)
