"""*The byte model*: the contexts, matches and weights of kind 2."""

from __future__ import annotations

import numpy as np

from checks.independent.mixing import BIAS, Apm, Corrections, Match, MatchVoices, Mixer, Selector, Slots
from checks.independent.range_decoder import RangeDecoder
from checks.independent.refused import demand
from checks.independent.tables import FIRST, Adaptive, Ints, combine
from checks.independent.text import Text

_LEAST = (8, 4)
_CONTEXTS = 26


def _p(*parts: int) -> int:
    """Return a + 256 b + 65536 c and so on."""
    return sum(part << 8 * i for i, part in enumerate(parts))


def decode_bytes(payload: bytes, raw_bytes: int, primer: bytes = b"") -> bytes:
    """Return the bytes of a payload of kind 2, after a primer or none."""
    demand(len(payload) >= 1 and 16 <= payload[0] % 32 <= 26, "tables of another size than 2**16 to 2**26")
    decoder = RangeDecoder(payload[1:])
    model = ByteModel(payload[0] % 32, len(primer) + raw_bytes)
    for i in range(len(primer) + raw_bytes):
        model.begin_byte()
        node = 1
        for depth in range(8):
            p1 = model.predict(node, depth)
            bit = primer[i] >> 7 - depth & 1 if i < len(primer) else decoder.decide(p1)
            model.learn(bit)
            node = 2 * node + bit
        model.text.note(node - 256)
    decoder.finish()
    return bytes(model.text.bytes[len(primer) :])


def _plain_adaptive(contexts: int) -> Adaptive:
    q = np.zeros((contexts, 256), np.int64)
    q[:, :255] = FIRST << 6
    return Adaptive(q, np.zeros_like(q), 1023)


class ByteModel:
    """Predicts the decisions of one byte after another."""

    def __init__(self, table_bits: int, raw_bytes: int) -> None:
        b = min(table_bits, max(16, (512 * raw_bytes).bit_length()))
        self.text = Text()
        self.slots = Slots(11 * 2 ** (b - 8), _plain_adaptive(_CONTEXTS))
        self.map_rows = 2 ** min(16, b - 8)
        self.matches = [Match(), Match()]
        self.match_tables = [np.zeros(2 ** min(20, b - 6), np.int64) for _ in _LEAST]
        classes = np.arange(64)
        q = (65536 - 65536 // (3 + 4 * (classes // 4))) << 6
        self.voices = MatchVoices([Adaptive(q.copy(), np.zeros(64, np.int64), 255) for _ in _LEAST], 8)
        row = [4500, 500] * _CONTEXTS + [12000, 2000] * 2 + [0]
        selectors = [Selector(np.array([row]), (800, 256000, 1)) for _ in range(6)]
        self.mixer = Mixer(selectors, [Selector(np.full((256, 6), 10922), (300, 128000, 1))])
        maps = [Apm.plain(count) for count in (256 * 8, self.map_rows, self.map_rows)]
        self.corrections = Corrections(maps, (1, 1, 3, 3))

    def begin_byte(self) -> None:
        """Let the matches follow the last byte, and set the contexts."""
        if self.text.bytes:
            for k in (0, 1):
                self._follow(k)
        self.hashes = self._contexts()

    def _follow(self, k: int) -> None:
        match, table, least, text = self.matches[k], self.match_tables[k], _LEAST[k], self.text.bytes
        t = len(text)
        if match.place > 0:
            match.score(text[match.place] == text[t - 1])
            match.place += 1
        if t >= least:
            head = combine(0, *(self.text.last(i) for i in range(1, least + 1))) * len(table) >> 32
            candidate = int(table[head])
            if match.length < least and candidate > 0 and candidate != match.place:
                count = 0
                while count < min(32, candidate) and text[candidate - 1 - count] == text[t - 1 - count]:
                    count += 1
                if count >= least:
                    match.restart(candidate, count)
            table[head] = t
        if match.misses == 255:
            match.place = 0
        match.expected = text[match.place] if match.place > 0 else None

    def _contexts(self) -> Ints:
        text = self.text
        b1, b2, b3, b4, b5, b6, b7, b8 = (text.last(i) for i in range(1, 9))
        f = min(text.field, 255)
        w = _p(b1, b2, b3, b4)
        expected = self.matches[0].expected
        x = 32 * (0 if expected is None else expected + 1) + min(self.matches[0].length, 31)
        hashes = [
            0,
            b1,
            _p(b1, b2),
            _p(b1, b2, b3),
            w,
            combine(w, b5),
            combine(w, _p(b5, b6)),
            combine(w, _p(b5, b6, b7, b8)),
            combine(text.word, b1),
            combine(text.word, text.previous_word, b1),
            combine(text.word, text.older_word, b1),
            combine(text.word, text.previous_word, text.older_word),
            _p(b2, b3),
            _p(b1, b3),
            combine(_p(b2, b3, b4), 14),
            combine(_p(text.above(), min(text.column, 255)), 15),
            combine(_p(text.above(), text.above(1), b1), 16),
            combine(text.hash_above[f], text.field_hash, f),
            combine(f, b1, text.word),
            combine(_p(text.field_above(), b1, f), 19),
            text.format % 2**32,
            combine(text.format % 2**24, text.word),
            combine(text.tag[text.depth], combine(text.mode, text.word)),
            combine(x, b1),
            combine(text.key, text.word, b1),
            combine(text.first + 256 * text.indent, text.word, b1),
        ]
        return combine(np.array(hashes), np.arange(1, _CONTEXTS + 1))  # type: ignore[no-any-return]

    def predict(self, node: int, depth: int) -> int:
        """Return the probability of the decision 1 at a node."""
        text = self.text
        if depth in (0, 4):
            self.slots.begin_part(self.hashes, node)
        k = depth % 4
        inputs = self.slots.predict(2**k + node % 2**k)
        from_matches, sure = self.voices.predict(self.matches, node, depth)
        seen = int((self.slots.histories[:8] != 0).sum())
        b1, b2 = text.last(1), text.last(2)
        rows = [
            8 * sure + depth,
            node,
            b1,
            combine(text.format % 2**32, 0) % 2**14,
            8 * seen + depth + (128 if sure > 0 else 0),
            8 * min(text.field, 15) + depth + 128 * text.mode,
        ]
        mixed = self.mixer.mix(np.concatenate([inputs, from_matches, [BIAS]]), [(row, 0) for row in rows], [node])
        map_rows = [
            node + 256 * min(sure, 7),
            combine(node, b1) % self.map_rows,
            combine(node, b1, b2 + 256) % self.map_rows,
        ]
        return self.corrections.p1(mixed, map_rows)

    def learn(self, bit: int) -> None:
        self.mixer.learn(bit)
        self.corrections.learn(bit)
        self.slots.learn(bit)
        self.voices.learn(bit)
