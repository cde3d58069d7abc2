"""The definition of the byte model: the same predictions in plain Python integers, slow and readable.

Independent of the fast kernels; it shares only the constant tables and the few named constants of the model. The
tests compare every probability with `==`. Knows nothing of the coder.
"""

from __future__ import annotations

from nncomp.mixing import byte_model, core, tables
from nncomp.mixing.byte_contexts import CONTEXTS

_SQUASH = tables.squash_table().tolist()
_STRETCH = tables.stretch_table().tolist()
_NEXT, _FIRST = (table.tolist() for table in tables.history_tables())
_RATE = tables.rate_table(1024, 15).tolist()
_LIMIT = tables.LOGIT_LIMIT
_SEPARATORS = frozenset(b' ,\t\n:;=[]|"')
_LETTERS = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_" + bytes(range(128, 256)))


def combine(a: int, b: int) -> int:
    """Return the 32-bit hash of two 32-bit values."""
    h = (a * 0x2F0B4C47 + b * 0x1E3779B1 + 0x3C6EF372) % 2**32
    return h ^ (h >> 15)


def chain(*values: int) -> int:
    """Return combine(combine(values[0], values[1]), values[2]) and so on."""
    h = values[0]
    for value in values[1:]:
        h = combine(h, value)
    return h


def limit(x: int) -> int:
    """Return x within the logistic domain."""
    return min(max(x, -_LIMIT), _LIMIT)


def squash(x: int) -> int:
    """Return the probability of a logistic value."""
    return int(_SQUASH[limit(x) + _LIMIT])


class Adaptive:
    """A probability of 22 bits that moves by 1 / (n + 1.5) of its error after n observations."""

    def __init__(self, p16: int) -> None:
        self.p, self.count = p16 << 6, 0

    def update(self, bit: int, most: int) -> None:
        """Move towards `bit`; n stops at `most`."""
        self.p += (bit * (2**22 - 1) - self.p) * _RATE[self.count] >> 16
        self.count = min(self.count + 1, most)


class Slots:
    """The hashed histories of all contexts."""

    def __init__(self, buckets: int) -> None:
        self.buckets = [bytearray(16) for _ in range(buckets)]
        self.histories = [[Adaptive(p) for p in _FIRST] for _ in range(CONTEXTS)]
        self.found = [self.buckets[0]] * CONTEXTS
        self.states = [0] * CONTEXTS
        self.slot = 0

    def find(self, context: int, h: int) -> None:
        """Make the bucket of hash `h` the context's; a new one replaces the less used of two."""
        one = h * len(self.buckets) >> 32
        pair = self.buckets[one], self.buckets[one ^ 1]
        for bucket in pair:
            if bucket[0] == h % 256:
                self.found[context] = bucket
                return
        bucket = min(pair, key=lambda b: b[1])
        bucket[:] = bytes([h % 256, *[0] * 15])
        self.found[context] = bucket

    def inputs(self, slot: int) -> list[int]:
        """Return the inputs of all contexts for slot 1..15."""
        self.slot = slot
        self.states = [bucket[slot] for bucket in self.found]
        result = []
        for history, state in zip(self.histories, self.states, strict=True):
            p = history[state].p >> 6
            result += [_STRETCH[p >> 4], (p - 32768) >> 5]
        return result

    def update(self, bit: int) -> None:
        """Teach all contexts the decision."""
        for history, state, bucket in zip(self.histories, self.states, self.found, strict=True):
            if state:
                history[state].update(bit, core.HISTORY_LIMIT)
            bucket[self.slot] = _NEXT[2 * state + bit]


class Weights:
    """Rows of weights, each made from the first one when it is first used."""

    def __init__(self, first: list[int]) -> None:
        self.first, self.rows = first, dict[tuple[int, int], list[int]]()

    def dot(self, row: tuple[int, int], inputs: list[int]) -> int:
        """Return the weighted sum, in the logistic domain."""
        weights = self.rows.setdefault(row, list(self.first))
        return limit(sum(w * x for w, x in zip(weights, inputs, strict=True)) >> 16)

    def learn(self, row: tuple[int, int], inputs: list[int], error: int, rate: int) -> None:
        """Move the row along its inputs."""
        step = error * rate >> 10
        weights = self.rows[row]
        for i, x in enumerate(inputs):
            weights[i] = min(max(weights[i] + (x * step + 32768 >> 16), -core.WEIGHT_LIMIT), core.WEIGHT_LIMIT)


class CorrectionMap:
    """Per context a curve over the logistic domain, given at points 256 apart."""

    def __init__(self) -> None:
        self.rows = dict[int, list[int]]()

    def row(self, context: int) -> list[int]:
        """Return the curve of a context, made as the identity when first used."""
        return self.rows.setdefault(context, [squash(256 * j) << 6 for j in range(-12, 13)])

    def correct(self, context: int, x: int) -> int:
        """Return the probability between the two nearest points."""
        row, at, weight = self.row(context), (x + 3072) // 256, x % 256
        return (row[at] * (256 - weight) + row[at + 1] * weight) >> 14

    def update(self, context: int, x: int, bit: int) -> None:
        """Move the nearer point towards the decision."""
        row, at = self.row(context), (x + 3072 + 128) // 256
        row[at] += (bit * (2**22 - 1) - row[at]) >> 6


class Match:
    """Follows the last place where the last `least` bytes were seen."""

    def __init__(self, least: int, heads: int) -> None:
        self.least, self.heads, self.places = least, heads, dict[int, int]()
        self.place = self.length = self.misses = 0
        self.expected: int | None = None  # a byte
        self.strength = [Adaptive(65536 - 65536 // (3 + 4 * (c // 4))) for c in range(64)]

    def follow(self, data: bytes) -> None:
        """Take note of the last byte of `data`."""
        if self.place:
            hit = data[self.place] == data[-1]
            self.length = min(self.length + 1, 65535) if hit else 0
            self.misses = (2 * self.misses + (not hit)) % 256
            self.place += 1
        if len(data) >= self.least:
            head = chain(0, *reversed(data[-self.least :])) * self.heads >> 32
            candidate = self.places.get(head, 0)
            if self.length < self.least and candidate not in (0, self.place):
                length = 0
                while length < min(32, candidate) and data[candidate - 1 - length] == data[-1 - length]:
                    length += 1
                if length >= self.least:
                    self.place, self.length, self.misses = candidate, length, 0
            self.places[head] = len(data)
        if self.misses == 255:
            self.place = 0
        self.expected = data[self.place] if self.place else None

    def length_class(self) -> int:
        """Return the class 0..15 of the length."""
        starts = [*range(9), 12, 16, 24, 32, 64, 256, 1024]
        return sum(self.length >= start for start in starts) - 1

    def class_now(self) -> int:
        """Return the class 0..63 of length and late misses."""
        late = 0 if not self.misses else 1 if not self.misses % 4 else 2 if not self.misses % 2 else 3
        return 4 * self.length_class() + late


def kind(c: int) -> int:
    """Return one of 8 kinds of byte."""
    groups = [range(97, 123), range(65, 91), range(48, 58), b" \t", b"\n\r\0", range(128, 256), b".,;:!?"]
    return next((i for i, group in enumerate(groups) if c in group), 7)


class Text:
    """Words, fields, lines, formats and open tags of the bytes so far."""

    def __init__(self) -> None:
        self.word = self.previous_word = self.older_word = self.key = 0
        self.column = self.indent = self.first = self.field = self.field_hash = 0
        self.line = self.line_above = 0
        self.format = self.kinds = 0
        self.mode, self.tag_name, self.depth, self.tags = 0, 0, 0, [0] * 64
        self.starts, self.starts_above = [0] * 256, [0] * 256
        self.hashes, self.hashes_above = [0] * 256, [0] * 256

    def follow(self, data: bytes) -> None:
        """Take note of the last byte of `data`."""
        t, c, before = len(data), data[-1], data[-2] if len(data) > 1 else 10
        self.column += 1
        folded = next((group[0] for group in (b"0123456789", range(97, 123), range(65, 91)) if c in group), min(c, 128))
        if folded != self.format % 256 or folded not in (48, 97, 65, 128):
            self.format = (self.format * 256 + folded) % 2**48
        self.kinds = (self.kinds * 8 + kind(c)) % 2**28
        if c in _LETTERS:
            self.word = combine(self.word, c + 32 if 65 <= c <= 90 else c)
        elif self.word:
            self.older_word, self.previous_word, self.word = self.previous_word, self.word, 0
            if c in b':="':
                self.key = self.previous_word
        if c != 10 and self.column == 1:
            self.first, self.indent = c, 0
        if c in b" \t" and self.indent == self.column - 1:
            self.indent = self.column
        self.follow_fields(t, c)
        self.follow_tags(c, before)

    def follow_fields(self, t: int, c: int) -> None:
        """Note where fields and lines start."""
        if c in _SEPARATORS:
            self.hashes[min(self.field, 255)] = self.field_hash
            self.field, self.field_hash = self.field + 1, 0
            self.starts[min(self.field, 255)] = t
        else:
            self.field_hash = combine(self.field_hash, c + 1)
        if c == 10:
            self.line_above, self.line = self.line, t
            known = min(self.field, 255) + 1
            self.hashes_above = self.hashes[:known] + [0] * (256 - known)
            self.starts_above = self.starts[:known] + [0] * (256 - known)
            self.column = self.field = self.field_hash = 0
            self.starts[0] = t

    def follow_tags(self, c: int, before: int) -> None:
        """Keep the open tags. Mode 0: outside, 1: a tag's name, 2: its attributes, 3: a closing tag, 4: <! or <?."""
        mode = self.mode
        if c == ord("<"):
            self.mode, self.tag_name = 1, 0
        elif mode == 1 and before == ord("<") and c == ord("/"):
            self.mode = 3
        elif mode == 1 and before == ord("<") and c not in _LETTERS:
            self.mode = 4 if c in b"!?" else 0
        elif mode and c == ord(">"):
            self.mode = 0
            if mode == 3:
                self.depth = max(self.depth - 1, 0)
            elif mode < 3 and before != ord("/"):
                self.depth = min(self.depth + 1, 63)
                self.tags[self.depth] = self.tag_name
        elif mode == 1:
            if c <= 32 or c == ord("/"):
                self.mode = 2
            else:
                self.tag_name = combine(self.tag_name, c)

    def contexts(self, data: bytes, match: Match) -> list[int]:
        """Return the hashes of all contexts for the byte after `data`."""
        t = len(data)
        last = [data[t - 1 - i] if i < t else 0 for i in range(8)]
        b1, b2, b3, b4, b5, b6, b7, b8 = last

        def pack(*values: int) -> int:
            return sum(value << 8 * i for i, value in enumerate(values))

        above_at = self.line_above + self.column
        above = data[above_at] if above_at < self.line else 0
        above_next = data[above_at + 1] if above_at + 1 < self.line else 0
        f = min(self.field, 255)
        at = self.starts_above[f] + t - self.starts[f]
        field_above = data[at] if (self.starts_above[f] or f == 0) and at < self.line else 0
        expected = (0 if match.expected is None else match.expected + 1) << 5 | min(match.length, 31)
        last4 = pack(b1, b2, b3, b4)
        hashes = [
            0,
            b1,
            pack(b1, b2),
            pack(b1, b2, b3),
            last4,
            chain(last4, b5),
            chain(last4, pack(b5, b6)),
            chain(last4, pack(b5, b6, b7, b8)),
            chain(self.word, b1),
            chain(self.word, self.previous_word, b1),
            chain(self.word, self.older_word, b1),
            chain(self.word, self.previous_word, self.older_word),
            pack(b2, b3),
            pack(b1, b3),
            chain(pack(b2, b3, b4), 14),
            chain(pack(above, min(self.column, 255)), 15),
            chain(pack(above, above_next, b1), 16),
            chain(self.hashes_above[f], self.field_hash, f),
            chain(f, b1, self.word),
            chain(pack(field_above, b1, f), 19),
            self.format % 2**32,
            chain(self.format % 2**24, self.word),
            combine(self.tags[self.depth], combine(self.mode, self.word)),
            chain(expected, b1),
            chain(self.key, self.word, b1),
            chain(pack(self.first, self.indent), self.word, b1),
        ]
        return [combine(h, i + 1) for i, h in enumerate(hashes)]


def probabilities(data: bytes, table_bits: int) -> list[int]:
    """Return p1 of each decision of `data`, as `byte_model.encode_bytes` must."""
    buckets, map_rows, heads = byte_model.sizes(len(data), table_bits)
    slots, text = Slots(buckets), Text()
    matches = [Match(least, heads) for least in byte_model.MATCH_LEAST]
    first = [*byte_model.FIRST_WEIGHTS * CONTEXTS, *byte_model.FIRST_MATCH_WEIGHTS * len(matches)]
    weights, finals = Weights([*first, 0]), Weights([65536 // 6] * 6)
    maps = [CorrectionMap() for _ in range(3)]
    result = []
    for t, symbol in enumerate(data):
        before = data[:t]
        if t:
            text.follow(before)
            for match in matches:
                match.follow(before)
        contexts = text.contexts(before, matches[0])
        b1, b2 = data[t - 1] if t else 0, data[t - 2] if t > 1 else 0
        rate, final_rate = 1000 + 256000 // (64 + t // 4), 600 + 128000 // (64 + t // 8)
        for depth in range(8):
            node, bit = (256 | symbol) >> (8 - depth), symbol >> (7 - depth) & 1
            if depth % 4 == 0:
                for i, context in enumerate(contexts):
                    slots.find(i, combine(context, node))
            inputs = slots.inputs(node if depth < 4 else node % 2 ** (depth - 4) + 2 ** (depth - 4))
            sure, hits = 0, list[tuple[Adaptive, int]]()
            for m, match in enumerate(matches):
                pair = [0, 0]
                if match.expected is not None and (256 | match.expected) >> (8 - depth) == node:
                    expected = match.expected >> (7 - depth) & 1
                    strength = match.strength[match.class_now()]
                    hits.append((strength, int(expected == bit)))
                    p, sign = strength.p >> 6, 1 if expected else -1
                    pair = [sign * _STRETCH[p >> 4], sign * (p - 32768 >> 5)]
                    sure = sure or (1 + match.length_class() // 2) * 2 + expected + 32 * m
                inputs += pair
            inputs.append(256)
            seen = sum(state != 0 for state in slots.states[:8])
            rows = [
                sure * 8 + depth,
                node,
                b1,
                text.kinds % 64 * 8 + depth,
                seen * 8 + depth + (128 if sure else 0),
                min(text.field, 15) * 8 + depth + 128 * text.mode,
            ]
            outputs = [weights.dot(row, inputs) for row in enumerate(rows)]
            mixed = finals.dot((0, node), outputs)
            places = [node + 256 * min(sure, 7), chain(node, b1) % map_rows, chain(node, b1, b2 + 256) % map_rows]
            corrected = [one.correct(place, mixed) for one, place in zip(maps, places, strict=True)]
            p1 = (squash(mixed) + corrected[0] + 3 * corrected[1] + 3 * corrected[2] + 4) >> 3
            result.append(min(max(p1, 1), 65535))
            slots.update(bit)
            target = bit << 16
            finals.learn((0, node), outputs, target - squash(mixed), final_rate)
            for row, output in zip(enumerate(rows), outputs, strict=True):
                weights.learn(row, inputs, target - squash(output), rate)
            for one, place in zip(maps, places, strict=True):
                one.update(place, mixed, bit)
            for strength, hit in hits:
                strength.update(hit, 255)
    return result
