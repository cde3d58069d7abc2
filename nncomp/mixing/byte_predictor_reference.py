"""The definition of mixing on bytes: the same predictions in plain Python integers, slow and readable.

The parts (adaptive probabilities, bit histories, mixer, APMs, matches) are also those of mixing on tokens. Shares with the fast
kernels only the tables and the named constants. The tests compare every probability with `==`. Knows nothing of the coder.
"""

from __future__ import annotations

from collections.abc import Sequence

from nncomp.mixing import byte_predictor, tables
from nncomp.mixing.bit_histories import COUNT_LIMIT
from nncomp.mixing.byte_contexts import CONTEXTS
from nncomp.mixing.byte_contexts_reference import Text, chain, combine, last_bytes
from nncomp.mixing.mixer import WEIGHT_LIMIT

_SQUASH = tables.squash_table().tolist()
_STRETCH = tables.stretch_table().tolist()
_NEXT, _FIRST = (table.tolist() for table in tables.history_tables())
_RATE, _POINT_RATE = tables.rate_table(1024, 15).tolist(), tables.rate_table(1024, 240).tolist()
_LIMIT = tables.LOGIT_LIMIT


def limit(x: int) -> int:
    """Return x within the logistic domain."""
    return min(max(x, -_LIMIT), _LIMIT)


def squash(x: int) -> int:
    """Return the probability of a logistic value."""
    return int(_SQUASH[limit(x) + _LIMIT])


def stretch(p: int) -> int:
    """Return the logistic value of a 16-bit probability."""
    return int(_STRETCH[p >> 4])


class Adaptive:
    """A probability of 22 bits that moves by 1 / (n + 1.5) of its error after n observations; packed: p << 10 | n."""

    def __init__(self, packed: int) -> None:
        self.p, self.count = packed >> 10, packed % 1024

    def update(self, bit: int, most: int, rates: Sequence[int] = _RATE) -> None:
        """Move towards `bit`; n grows up to `most`."""
        self.p += (bit * (2**22 - 1) - self.p) * rates[self.count] >> 16
        self.count += self.count < most


class BitHistories:
    """A hash table of bit histories, and the StateMaps of all contexts."""

    def __init__(self, contexts: int, buckets: int) -> None:
        self.buckets = [bytearray(16) for _ in range(buckets)]
        self.state_maps = [[Adaptive(p << 16) for p in _FIRST] for _ in range(contexts)]
        self.found = [self.buckets[0]] * contexts
        self.states = [0] * contexts
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
        for state_map, state in zip(self.state_maps, self.states, strict=True):
            p = state_map[state].p >> 6
            result += [stretch(p), (p - 32768) >> 5]
        return result

    def update(self, bit: int) -> None:
        """Teach all contexts the decision."""
        for state_map, state, bucket in zip(self.state_maps, self.states, self.found, strict=True):
            if state:
                state_map[state].update(bit, COUNT_LIMIT)
            bucket[self.slot] = _NEXT[2 * state + bit]


class WeightSet:
    """A weight for each input, and how many decisions it has learned."""

    def __init__(self, first: Sequence[int]) -> None:
        self.weights, self.uses = list(first), 0

    def dot(self, inputs: list[int]) -> int:
        """Return the weighted sum, in the logistic domain."""
        return limit(sum([w * x >> 9 for w, x in zip(self.weights, inputs, strict=True)]) >> 7)

    def learn(self, inputs: list[int], error: int, rates: tuple[int, int, int]) -> None:
        """Move along the inputs, less with each use."""
        least, extra, shift = rates
        step = error * (least + extra // (64 + (self.uses >> shift))) >> 10
        self.uses = min(self.uses + 1, 65535)
        moved = [w + (x * step + 32768 >> 16) for w, x in zip(self.weights, inputs, strict=True)]
        if min(moved) < -WEIGHT_LIMIT or max(moved) > WEIGHT_LIMIT:
            moved = [min(max(w, -WEIGHT_LIMIT), WEIGHT_LIMIT) for w in moved]
        self.weights = moved


class Selector:
    """Weight sets by number; each begins as one of the first sets when it is first picked. A final mixer is one, too."""

    def __init__(self, first: Sequence[Sequence[int]], rates: tuple[int, int, int]) -> None:
        self.first, self.rates, self.sets = first, rates, dict[int, WeightSet]()

    def pick(self, number: int, begins_as: int) -> WeightSet:
        """Return the weight set of this number."""
        if number not in self.sets:
            self.sets[number] = WeightSet(self.first[begins_as])
        return self.sets[number]


def _from_first_point(x: int) -> int:
    """Return how far a logistic value, limited to the points of an APM, is from the first one."""
    return min(max(x, -1920), 1919) + 1920


class Apm:
    """Per context a curve over the logistic domain, given at 16 points 256 apart, which are adaptive probabilities."""

    def __init__(self, given: Sequence[int] = ()) -> None:
        self.curves = {i: [Adaptive(v) for v in given[16 * i : 16 * i + 16]] for i in range(len(given) // 16)}

    def curve(self, context: int) -> list[Adaptive]:
        """Return the points of a context; when it is first used, and not given, they change nothing."""
        if context not in self.curves:
            self.curves[context] = [Adaptive(squash(256 * j - 1920) << 16) for j in range(16)]
        return self.curves[context]

    def refine(self, context: int, x: int) -> int:
        """Return the probability between the two nearest points."""
        curve, (at, weight) = self.curve(context), divmod(_from_first_point(x), 256)
        return (curve[at].p * (256 - weight) + curve[at + 1].p * weight) >> 14

    def update(self, context: int, x: int, bit: int) -> None:
        """Move the nearer point towards the decision."""
        self.curve(context)[(_from_first_point(x) + 128) // 256].update(bit, 255, _POINT_RATE)


class Mixer:
    """Weights, those of one or two final mixers, and APMs: from inputs to p1, and what they learn from the decision."""

    def __init__(self, selectors: list[Selector], finals: list[Selector], apms: list[Apm], shares: tuple[int, ...]) -> None:
        self.selectors, self.finals, self.apms, self.shares = selectors, finals, apms, shares
        self.inputs, self.outputs, self.results, self.mixed = list[int](), list[int](), list[int](), 0
        self.chosen, self.final, self.apm_contexts = list[WeightSet](), list[WeightSet](), list[int]()

    def predict(self, inputs: list[int], chosen: list[tuple[int, int]], final: list[int], apm_contexts: list[int]) -> int:
        """Return p1.

        `chosen` has the number of the weight set that each selector picks and what this one begins as, `final` the number
        for each final mixer, which is also what it begins as, and `apm_contexts` the context of each APM.
        """
        self.inputs, self.apm_contexts = inputs, apm_contexts
        self.chosen = [selector.pick(*one) for selector, one in zip(self.selectors, chosen, strict=True)]
        self.final = [mixer.pick(number, number) for mixer, number in zip(self.finals, final, strict=True)]
        self.outputs = [one.dot(inputs) for one in self.chosen]
        self.results = [one.dot(self.outputs) for one in self.final]
        self.mixed = sum(self.results) // len(self.results)
        refined = [apm.refine(context, self.mixed) for apm, context in zip(self.apms, apm_contexts, strict=True)]
        parts = zip(self.shares, [squash(self.mixed), *refined], strict=True)
        return min(max(sum(share * p for share, p in parts) + 4 >> 3, 1), 65535)

    def update(self, bit: int) -> None:
        """Teach all parts the decision that was predicted last."""
        target = bit << 16
        for mixer, one, result in zip(self.finals, self.final, self.results, strict=True):
            one.learn(self.outputs, target - squash(result), mixer.rates)
        for selector, one, output in zip(self.selectors, self.chosen, self.outputs, strict=True):
            one.learn(self.inputs, target - squash(output), selector.rates)
        for apm, context in zip(self.apms, self.apm_contexts, strict=True):
            apm.update(context, self.mixed, bit)


class Match:
    """A match model: follows the last place where the last `least` bytes were seen."""

    def __init__(self, least: int, heads: int) -> None:
        self.least, self.heads = least, heads
        self.places = dict[int, int]()  # by hash: the place after the last bytes that had it
        self.place = self.length = self.misses = 0
        self.expected: int | None = None  # a byte, or a token
        self.strength = [Adaptive(65536 - 65536 // (3 + 4 * (c // 4)) << 16) for c in range(64)]

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


Vote = tuple[Adaptive, int]  # a match's strength, and the bit that it expects


def predict_matches(matches: Sequence[Match], bits: int, depth: int, node: int) -> tuple[list[int], int, list[Vote]]:
    """Return two inputs for each match; what the first match that expects a bit expects, and how surely (0, or 2..49); votes."""
    inputs, sure, votes = list[int](), 0, list[Vote]()
    for m, match in enumerate(matches):
        pair = [0, 0]
        if match.expected is not None and (1 << bits | match.expected) >> (bits - depth) == node:
            bit = match.expected >> (bits - 1 - depth) & 1
            strength = match.strength[match.class_now()]
            votes.append((strength, bit))
            p, sign = strength.p >> 6, 1 if bit else -1
            pair = [sign * stretch(p), sign * (p - 32768 >> 5)]
            sure = sure or (1 + match.length_class() // 2) * 2 + bit + 32 * m
        inputs += pair
    return inputs, sure, votes


def probabilities(data: bytes, table_bits: int) -> list[int]:
    """Return p1 of each decision of `data`, as `byte_predictor.probabilities` must."""
    buckets, apm_contexts, heads = byte_predictor.sizes(len(data), table_bits)
    histories, text = BitHistories(CONTEXTS, buckets), Text()
    matches = [Match(least, heads) for least in byte_predictor.MATCH_LEAST]
    first = [*byte_predictor.FIRST_WEIGHTS * CONTEXTS, *byte_predictor.FIRST_MATCH_WEIGHTS * len(matches), 0]
    selectors = [Selector([first], (800, 256000, 1)) for _ in range(6)]
    mixer = Mixer(selectors, [Selector([[65536 // 6] * 6] * 256, (300, 128000, 1))], [Apm() for _ in range(3)], (1, 1, 3, 3))
    result = []
    for t, symbol in enumerate(data):
        before = data[:t]
        if t:
            text.follow(before)
            for match in matches:
                match.follow(before)
        expected = matches[0].expected
        contexts = text.contexts(before, (0 if expected is None else expected + 1) << 5 | min(matches[0].length, 31))
        b1, b2 = last_bytes(before, 2)
        for depth in range(8):
            node, bit = (256 | symbol) >> (8 - depth), symbol >> (7 - depth) & 1
            if depth % 4 == 0:
                for i, context in enumerate(contexts):
                    histories.find(i, combine(context, node))
            inputs = histories.inputs(node if depth < 4 else node % 2 ** (depth - 4) + 2 ** (depth - 4))
            more, sure, votes = predict_matches(matches, 8, depth, node)
            known = sum(state != 0 for state in histories.states[:8])
            chosen = [
                sure * 8 + depth,
                node,
                b1,
                combine(text.format % 2**32, 0) % 2**14,
                known * 8 + depth + (128 if sure else 0),
                min(text.field, 15) * 8 + depth + 128 * text.mode,
            ]
            contexts_of_apms = [
                node + 256 * min(sure, 7),
                chain(node, b1) % apm_contexts,
                chain(node, b1, b2 + 256) % apm_contexts,
            ]
            result.append(mixer.predict([*inputs, *more, 256], [(number, 0) for number in chosen], [node], contexts_of_apms))
            histories.update(bit)
            mixer.update(bit)
            for strength, expected_bit in votes:
                strength.update(int(expected_bit == bit), 255)
    return result
