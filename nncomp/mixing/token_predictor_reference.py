"""The definition of mixing on tokens: the same predictions as `token_predictor.py` in plain Python integers, slow and readable.

Shares with the fast kernels only the tables, named constants and start values. The tests compare every probability with `==`.
Knows nothing of the network's inside or of the coder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from nncomp.mixing.byte_contexts_reference import Text, chain, combine, last_bytes, pack
from nncomp.mixing.byte_predictor_reference import (
    Adaptive,
    Apm,
    Match,
    Mixer,
    Selector,
    Vote,
    limit,
    predict_matches,
    stretch,
)
from nncomp.mixing.ngram_table_reference import NgramReference
from nncomp.mixing.start_values import FINAL_WEIGHT_SETS, FIRST_SETS, NODE_APM_CONTEXTS, OTHER_INPUTS
from nncomp.mixing.token_histories_reference import TokenHistories
from nncomp.mixing.token_predictor import MATCH_LEAST


class History:
    """The tokens of all lanes in one list: lane l's from `starts[l]` + 1 on, 0 where there is none yet."""

    def __init__(self, starts: Sequence[int]) -> None:
        self.tokens, self.starts = [0] * (starts[-1] + 1), starts
        self.counts = [0] * (len(starts) - 1)

    def append(self, lane: int, token: int) -> None:
        """Add a token to a lane."""
        self.counts[lane] += 1
        self.tokens[self.last_place(lane)] = token

    def last_place(self, lane: int) -> int:
        """Return the place of the lane's last token; before the first, the place before it."""
        return self.starts[lane] + self.counts[lane]

    def last_tokens(self, lane: int, count: int) -> list[int]:
        """Return the lane's last tokens, the last one first; 0 before the beginning."""
        place = self.last_place(lane)
        return [self.tokens[place - i] if i < self.counts[lane] else 0 for i in range(count)]

    def is_known(self, place: int) -> bool:
        """Whether a token of any lane stands there already."""
        return any(start < place <= start + count for start, count in zip(self.starts, self.counts, strict=False))


class TokenMatch(Match):
    """Follows, for one lane, the last place in any lane where the last `least` tokens were seen."""

    def __init__(self, heads: int, least: int, places: dict[int, int], strength: list[Adaptive]) -> None:
        super().__init__(least, heads)
        self.places, self.strength = places, strength  # shared by all lanes

    def follow_token(self, history: History, lane: int) -> None:
        """Take note of the lane's last token."""
        place, count, tokens = history.last_place(lane), history.counts[lane], history.tokens
        if self.expected is not None:
            hit = self.expected == tokens[place]
            self.length = min(self.length + 1, 65535) if hit else 0
            self.misses = (2 * self.misses + (not hit)) % 256
            self.place += 1
        if count >= self.least:
            head = chain(0, *history.last_tokens(lane, self.least)) * self.heads >> 32
            candidate = self.places.get(head, 0)
            if self.length < self.least and candidate:
                length = 0
                most = min(32, count, candidate - 1)
                while length < most and tokens[candidate - 1 - length] == tokens[place - length]:
                    length += 1
                if length >= self.least:
                    self.place, self.length, self.misses = candidate, length, 0
            self.places[head] = place + 1
        if self.misses % 16 == 15:
            self.place = 0
        self.expected = tokens[self.place] if history.is_known(self.place) else None


class TokenReference:
    """Mixing for tokens of `bits` decisions in lanes that begin at `starts`, with a hash table of `lines` lines.

    The tables of matches have as many entries.

    `given` are the start values of a model (`start_values.shapes`) of one or two networks, `ngrams` the entries of its n-gram
    table.
    """

    def __init__(
        self,
        bits: int,
        starts: Sequence[int],
        lines: int,
        given: Mapping[str, Any],
        networks: int = 1,
        ngrams: Sequence[int] = (0,) * 16,
    ) -> None:
        lanes, matches = len(starts) - 1, len(MATCH_LEAST)
        self.bits, self.history = bits, History(starts)
        self.by_node = min(lines, NODE_APM_CONTEXTS)  # contexts of the APMs by node
        start = {name: array.tolist() for name, array in given.items()}
        self.chosen, self.selectors = start["contexts"], start["row_sets"]
        count = len(self.chosen)
        self.histories = TokenHistories(bits, lines, start)
        given_sets = [weights[: 2 * count + OTHER_INPUTS + networks - 1] for weights in start["weights"]]
        ends = list(accumulate(FIRST_SETS, initial=0))
        selectors = [Selector(given_sets[ends[k] : ends[k + 1]], (800 if k else 2400, 160000, 5)) for k in self.selectors]
        finals, first = start["final_weights"], FINAL_WEIGHT_SETS[0]
        final_mixers = [Selector(sets, (100, 20000, 5)) for sets in (finals[:first], finals[first:])]
        self.mixer = Mixer(selectors, final_mixers, [Apm(), Apm(start["map_1"])], (4, 2, 2))
        self.network_map, self.network = Apm(), (0, 0)  # and its context and value of the last decision
        packed = start["strength"]
        strength = [[Adaptive(v) for v in packed[64 * k : 64 * k + 64]] for k in range(matches)]
        places = [dict[int, int]() for _ in range(matches)]
        self.matches = [
            [TokenMatch(lines, *part) for part in zip(MATCH_LEAST, places, strength, strict=True)] for _ in range(lanes)
        ]
        self.ngrams = NgramReference(bits, ngrams, start["ngram_strength"])
        self.texts = [Text() for _ in range(lanes)]
        self.data = [bytearray() for _ in range(lanes)]
        self.contexts: list[list[int]] = [[] for _ in range(lanes)]  # of each lane's next token
        self.votes = list[Vote]()
        self.followers = dict[int, int]()  # by token: the last one that followed, and the one before it times 65536
        self.pair_followers = dict[int, int]()  # likewise, by the hash of two tokens

    def sources(self, lane: int) -> list[int]:
        """Return what each source has for the next token of the lane, in the order of `token_contexts.SOURCE_NAMES`."""
        text, data = self.texts[lane], self.data[lane]
        b1, b2, b3, b4 = last_bytes(data, 4)
        t1, t2, t3, t4, t5 = self.history.last_tokens(lane, 5)
        two, f, word = t1 + 65536 * t2, min(text.field, 255), text.word
        after, after_two = self.followers.get(t1, 0), self.pair_followers.get(combine(t1, t2) % 2**18, 0)
        long, short = self.matches[lane]
        if long.expected is not None:
            expected = combine(long.expected << 5 | min(long.length, 31), b1)
        else:
            expected = combine(0 if short.expected is None else short.expected + 1, b1 + 256)
        return [
            0,
            t1,
            two,
            combine(two, t3),
            combine(text.key, word),
            chain(two, t3, t4, t5),
            b1,
            pack(b1, b2),
            pack(b1, b2, b3),
            pack(b1, b2, b3, b4),
            chain(pack(text.first, text.indent), word, b1),
            combine(word, b1),
            chain(word, text.previous_word, b1),
            pack(text.field_above(data), b1, f),
            expected,
            pack(text.above(data), min(text.column, 255)),
            chain(text.hashes_above[f], text.field_hash, f),
            text.format % 2**32,
            combine(text.format % 2**24, word),
            combine(text.tags[text.depth], combine(text.mode, word)),
            combine(after, t1),
            combine(after_two, t1),
            combine(after % 65536, after_two),
            chain(word, text.previous_word, text.older_word),
            chain(word, text.older_word, b1),
        ]

    def set_contexts(self, lane: int) -> None:
        """Set all contexts for the next token of the lane: when the token before it has ended, or when the first one begins."""
        self.contexts[lane], sources, data = [], self.sources(lane), self.data[lane]
        for number in self.chosen:
            reach, source = divmod(number, 32)
            where = 0 if reach == 0 else 1 + lane if reach == 1 else 1 + lane + 16 * (1 + len(data) // 2 ** (8 + reach))
            self.contexts[lane].append(combine(sources[source], number + 1 + 256 * where))

    def begin_token(self, lane: int) -> None:
        """Begin the next token of the lane."""
        if not self.data[lane]:
            self.set_contexts(lane)
        self.histories.begin(self.contexts[lane])
        self.ngrams.begin(self.history.last_tokens(lane, 5))

    def predict(self, lane: int, depth: int, node: int, network: int, second: int | None = None) -> int:
        """Return p1 (1..65535) of the decision at `node` (a 1 and the token's `depth` decisions so far).

        `network` is the network's p1 of it, `second` that of the second network if there is one.
        """
        more, sure, votes = predict_matches(self.matches[lane], self.bits, depth, node)
        from_ngrams, sure_of_ngrams, more_votes = self.ngrams.predict(depth, node)
        sure, self.votes = sure or sure_of_ngrams, votes + more_votes
        net, late = stretch(network), int(2 * depth >= self.bits)
        inputs = self.histories.inputs(node, depth, net)
        (b1,), (t1,) = last_bytes(self.data[lane], 1), self.history.last_tokens(lane, 1)
        by_node = node if node < 2**14 else 2**14 + depth
        form = combine(self.texts[lane].format % 2**32, 0) % 2**14
        by = [
            (sure, sure),
            (by_node, node if node < 256 else 256 + depth),
            (2 * b1 + late, 2 * b1 + late),
            (form, form % 128),
            (t1 >> max(self.bits - 14, 0), t1 >> max(self.bits - 10, 0)),
        ]
        level = min(max((net + 2048) // 256, 0), 15)
        self.network = combine(node, t1) % self.by_node, net
        from_network = [net, (network - 32768) >> 5, limit(stretch(self.network_map.refine(*self.network)) - net)]
        from_second, context = [] if second is None else [stretch(second)], 16 * sure + level
        for x in from_second:
            context = 4 * context + sum(x - net >= bound for bound in (-128, 0, 128))
        return self.mixer.predict(
            [*inputs, *more, *from_ngrams, *from_network, 256, *from_second],
            [by[k] for k in self.selectors],
            [16 * sure + depth, by_node],
            [combine(node, b1) % self.by_node, context],
        )

    def update(self, bit: int) -> None:
        """Teach everything the decision that was predicted last."""
        self.histories.update(bit)
        self.mixer.update(bit)
        self.network_map.update(*self.network, bit)
        for strength, expected_bit in self.votes:
            strength.update(int(expected_bit == bit), 255)

    def end_token(self, lane: int, token: int, token_bytes: bytes) -> None:
        """Take note of the lane's token and its bytes."""
        self.histories.end(token)
        for byte in token_bytes:
            self.data[lane].append(byte)
            self.texts[lane].follow(self.data[lane])
        t1, t2 = self.history.last_tokens(lane, 2)
        for found, key in ((self.followers, t1), (self.pair_followers, combine(t1, t2) % 2**18)):
            found[key] = (found.get(key, 0) * 65536 + token) % 2**32
        self.history.append(lane, token)
        for match in self.matches[lane]:
            match.follow_token(self.history, lane)
        self.set_contexts(lane)
