"""*The token tree*: the contexts, matches and weights of kind 3, shared by the lanes of a block."""

from __future__ import annotations

import numpy as np

from checks.independent.mixing import BIAS, Apm, Corrections, Match, MatchVoices, Mixer, Selector
from checks.independent.model_file import Model
from checks.independent.ngrams import Ngrams
from checks.independent.records import Records
from checks.independent.tables import STRETCH, X_LIMIT, Adaptive, Ints, combine
from checks.independent.text import Text

_LEAST = (5, 2)
_FIRST_ROWS = (64, 272, 512, 128, 1024)


class LaneText:
    """A lane's bytes, tokens and matches; `number` is the lane's, `first_byte` where it begins in the block."""

    def __init__(self, number: int, first_byte: int) -> None:
        self.number, self.first_byte = number, first_byte
        self.text = Text()
        self.tokens: list[int] = []
        self.matches = [Match(), Match()]
        self.next_hashes: Ints | None = None  # of the contexts of the next token

    def last_token(self, i: int) -> int:
        return self.tokens[-i] if i <= len(self.tokens) else 0

    def contexts(self, used: Ints, followers: Ints, pair_followers: Ints) -> Ints:
        """Return the hash of each context that is used, for the next token."""
        text = self.text
        t1, t2, t3, t4, t5 = (self.last_token(i) for i in range(1, 6))
        b1, b2, b3, b4 = (text.last(i) for i in range(1, 5))
        f = min(text.field, 255)
        pair = t1 + 65536 * t2
        one, two = int(followers[t1]), int(pair_followers[combine(t1, t2) % 2**18])
        longer, shorter = self.matches
        if longer.expected is not None:
            x = combine(32 * longer.expected + min(longer.length, 31), b1)
        else:
            x = combine(0 if shorter.expected is None else shorter.expected + 1, b1 + 256)
        hashes = [
            0,
            t1,
            pair,
            combine(pair, t3),
            combine(text.key, text.word),
            combine(pair, t3, t4, t5),
            b1,
            b1 + 256 * b2,
            b1 + 256 * b2 + 65536 * b3,
            b1 + 256 * b2 + 65536 * b3 + 2**24 * b4,
            combine(text.first + 256 * text.indent, text.word, b1),
            combine(text.word, b1),
            combine(text.word, text.previous_word, b1),
            text.field_above() + 256 * b1 + 65536 * f,
            x,
            text.above() + 256 * min(text.column, 255),
            combine(text.hash_above[f], text.field_hash, f),
            text.format % 2**32,
            combine(text.format % 2**24, text.word),
            combine(text.tag[text.depth], combine(text.mode, text.word)),
            combine(one, t1),
            combine(two, t1),
            combine(one % 65536, two),
            combine(text.word, text.previous_word, text.older_word),
            combine(text.word, text.older_word, b1),
        ]
        reach = used // 32
        where = np.where(reach == 0, 0, 1 + self.number + np.where(reach > 1, 16 * (1 + (len(text.bytes) >> (8 + reach))), 0))
        return combine(np.array(hashes)[used % 32], used + 1 + 256 * where)  # type: ignore[no-any-return]


class TokenTree:
    """Predicts and learns the decisions of a block's tokens."""

    def __init__(self, model: Model, lines_log2: int, raw_bytes: int) -> None:
        self.bits = model.sizes["vocab_size"].bit_length() - 1
        start = model.mixing
        self.used, self.row_sets = start["contexts"].astype(np.int64), start["row_sets"].astype(np.int64)
        self.records = Records(2**lines_log2, self.bits, start, len(self.used))
        self.followers, self.pair_followers = np.zeros(65536, np.int64), np.zeros(2**18, np.int64)
        strength = start["strength"].reshape(2, 64)
        self.voices = MatchVoices([Adaptive.unpacked(row, 255) for row in strength], self.bits)
        self.ngrams = Ngrams(model.ngrams, Adaptive.unpacked(start["ngram_strength"], 255), self.bits)
        ends = np.cumsum(_FIRST_ROWS)[:-1]
        inputs = 2 * len(self.used) + (10 if model.second is None else 11)
        weights = [rows[:, :inputs].astype(np.int64) for rows in np.split(start["weights"], ends)]
        selectors = [Selector(weights[r], (800 if r else 2400, 160000, 5)) for r in self.row_sets]
        finals = np.split(start["final_weights"].astype(np.int64), [1024])
        self.mixer = Mixer(selectors, [Selector(rows, (100, 20000, 5)) for rows in finals])
        self.apm_size = 2 ** min(16, lines_log2)
        by_match = Apm.unpacked(start["map_1"])
        self.corrections = Corrections([Apm.plain(self.apm_size), by_match], (4, 2, 2))
        self.network_map = Apm.plain(self.apm_size)
        self.places = [0] * (raw_bytes + 1)  # the tokens of all lanes
        self.known = [False] * (raw_bytes + 1)
        self.match_tables = [np.zeros(2**lines_log2, np.int64) for _ in _LEAST]

    def begin_token(self, lane: LaneText) -> None:
        self.lane = lane
        if lane.next_hashes is None:
            lane.next_hashes = lane.contexts(self.used, self.followers, self.pair_followers)
        self.records.begin_token(lane.next_hashes)
        self.ngrams.begin_token([lane.last_token(i) for i in range(1, 6)])

    def predict(self, node: int, n: int, of_second: int | None = None) -> int:
        """Return the probability of the decision 1 at a node for which the network has `n`, and the second one `of_second`."""
        text = self.lane.text
        depth = node.bit_length() - 1
        from_matches, sure = self.voices.predict(self.lane.matches, node, depth)
        from_ngrams, sure = self.ngrams.predict(node, depth, sure)
        b1, t1 = text.last(1), self.lane.last_token(1)
        stretched = int(STRETCH[n >> 4])
        by_byte = 2 * b1 + int(2 * depth >= self.bits)
        by_node = node if node < 2**14 else 2**14 + depth
        form = combine(text.format % 2**32, 0) % 2**14
        rows = [
            (sure, sure),
            (by_node, node if node < 256 else 256 + depth),
            (by_byte, by_byte),
            (form, form % 128),
            (t1 >> max(self.bits - 14, 0), t1 >> max(self.bits - 10, 0)),
        ]
        by_token, by_last_byte = (combine(node, last) % self.apm_size for last in (t1, b1))
        told = int(STRETCH[self.network_map.correct(by_token, stretched) >> 4]) - stretched
        from_network = [stretched, (n - 32768) >> 5, min(max(told, -X_LIMIT), X_LIMIT)]
        from_second = STRETCH[[] if of_second is None else [of_second >> 4]].astype(np.int64)
        from_contexts = self.records.predict(node, stretched)
        x = np.concatenate([from_contexts, from_matches, from_ngrams, from_network, [BIAS], from_second])
        level = min(max((stretched + 2048) >> 8, 0), 15)
        finals = [16 * sure + depth, by_node]
        mixed = self.mixer.mix(x, [rows[r] for r in self.row_sets], finals)
        context = 16 * sure + level
        for y in from_second:
            context = 4 * context + int(y - stretched >= -128) + int(y - stretched >= 0) + int(y - stretched >= 128)
        return self.corrections.p1(mixed, [by_last_byte, context])

    def learn(self, bit: int) -> None:
        self.mixer.learn(bit)
        self.corrections.learn(bit)
        self.network_map.learn(bit)
        self.records.learn(bit)
        self.voices.learn(bit)
        self.ngrams.learn(bit)

    def end_token(self, token: int, its_bytes: bytes) -> None:
        lane = self.lane
        self.records.end_token(token)
        for c in its_bytes:
            lane.text.note(c)
        t1, t2 = lane.last_token(1), lane.last_token(2)
        for table, i in ((self.followers, t1), (self.pair_followers, combine(t1, t2) % 2**18)):
            table[i] = (table[i] << 16 | token) % 2**32
        lane.tokens.append(token)
        place = lane.first_byte + len(lane.tokens)
        self.places[place] = token
        self.known[place] = True
        for k in (0, 1):
            self._follow(k, token, place)
        lane.next_hashes = lane.contexts(self.used, self.followers, self.pair_followers)

    def _follow(self, k: int, token: int, place: int) -> None:
        match, table, least = self.lane.matches[k], self.match_tables[k], _LEAST[k]
        if match.expected is not None:
            match.score(match.expected == token)
            match.place += 1
        count = len(self.lane.tokens)
        if count >= least:
            head = combine(0, *(self.lane.last_token(i) for i in range(1, least + 1))) * len(table) >> 32
            candidate = int(table[head])
            if match.length < least and candidate > 0:
                equal, most = 0, min(32, count, candidate - 1)
                while equal < most and self.places[candidate - 1 - equal] == self.places[place - equal]:
                    equal += 1
                if equal >= least:
                    match.restart(candidate, equal)
            table[head] = place + 1
        if match.misses % 16 == 15:
            match.place = 0
        match.expected = self.places[match.place] if match.place < len(self.known) and self.known[match.place] else None
