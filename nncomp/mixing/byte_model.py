"""Mixing alone, on bytes: 8 decisions a byte, most significant first, one lane, no network.

The contexts are those of text and of text made by machines: the last bytes, words, columns and fields with what
stood above them, formats with letters and digits folded, open tags, two matches. Both directions run one predictor.
Knows nothing of files or of the container. `reference.py` is the definition.
"""

# N contexts, I inputs

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from nncomp import coding
from nncomp.mixing import core, tables
from nncomp.mixing.core import combine

CONTEXTS = 26
MATCHES = 2
INPUTS = 64  # two a context, two a match, the bias; the rest stays 0
_MATCH_INPUT = 2 * CONTEXTS
_BIAS_INPUT = _MATCH_INPUT + 2 * MATCHES
ROW_SETS = (2048, 256, 256, 2048, 2048, 1024)
ROWS = len(ROW_SETS)
MATCH_CLASSES = 64
_LENGTH_LIMIT = 65535

# state of the text so far: int64[STATE]
(
    WORD, PREVIOUS_WORD, OLDER_WORD, COLUMN, LINE, LINE_ABOVE, FIELD, FORMAT, INDENT, TAG_DEPTH, IN_TAG, TAG_NAME,
    FIELD_START, NUMBER, FIRST, QUOTE, LAST_WORD_GAP, FIELD_HASH, KEY, CLASSES,
) = range(20)  # fmt: skip
STATE = 20


class Text(NamedTuple):
    """What is known of the bytes so far."""

    state: Any  # (STATE,) int64
    tags: Any  # (64,) int64: hashes of the open tags
    fields: Any  # (2, 256) int64: where each field started, on this line and the line above
    field_hashes: Any  # (2, 256) int64: hash of each field, on this line and the line above
    hashes: Any  # (CONTEXTS,) int64


class Matches(NamedTuple):
    """Where the last bytes were seen before, and how well that has predicted."""

    heads: Any  # (MATCHES, 2**bits) int32: position after the last occurrence of a hash
    state: Any  # (MATCHES, 4) int64: pointer, length, misses, expected byte + 1
    strength: Any  # (MATCHES * MATCH_CLASSES,) uint32


@njit(forceinline=True)  # type: ignore[untyped-decorator]
def byte_class(c: int) -> int:
    """Return c with its kind folded: digits to '0', small letters to 'a', capitals to 'A', bytes over 127 to 128."""
    if 48 <= c <= 57:
        return 48
    if 97 <= c <= 122:
        return 97
    if 65 <= c <= 90:
        return 65
    return min(c, 128)


@njit(forceinline=True)  # type: ignore[untyped-decorator]
def kind(c: int) -> int:
    """Return one of 8 kinds of byte."""
    if 97 <= c <= 122:
        return 0
    if 65 <= c <= 90:
        return 1
    if 48 <= c <= 57:
        return 2
    if c == 32 or c == 9:
        return 3
    if c == 10 or c == 13 or c == 0:
        return 4
    if c >= 128:
        return 5
    if c == 46 or c == 44 or c == 59 or c == 58 or c == 33 or c == 63:
        return 6
    return 7


@njit(forceinline=True)  # type: ignore[untyped-decorator]
def is_separator(c: int) -> bool:
    """Whether the byte ends a field."""
    return c == 32 or c == 44 or c == 9 or c == 10 or c == 58 or c == 59 or c == 61 or c == 91 or c == 93 or c == 124 or c == 34


@njit  # type: ignore[untyped-decorator]
def follow_text(text: Text, data: Any, t: int) -> None:
    """Bring the state up to date with the byte before position t (t >= 1)."""
    s = text.state
    c = np.int64(data[t - 1])
    before = np.int64(data[t - 2]) if t > 1 else np.int64(10)
    s[COLUMN] += 1
    folded = byte_class(c)
    if not (folded == s[FORMAT] & 0xFF and (folded == 48 or folded == 97 or folded == 65 or folded == 128)):
        s[FORMAT] = (s[FORMAT] << 8 | folded) & 0xFFFFFFFFFFFF
    s[CLASSES] = (s[CLASSES] << 3 | kind(c)) & 0xFFFFFFF
    # words
    letter = 97 <= c <= 122 or 65 <= c <= 90 or c >= 128 or 48 <= c <= 57 or c == 95
    if letter:
        low = c + 32 if 65 <= c <= 90 else c
        s[WORD] = combine(s[WORD], low)
    elif s[WORD]:
        s[OLDER_WORD] = s[PREVIOUS_WORD]
        s[PREVIOUS_WORD] = s[WORD]
        s[LAST_WORD_GAP] = c
        s[WORD] = 0
        if c == 58 or c == 61 or c == 34:
            s[KEY] = s[PREVIOUS_WORD]
    elif c > 32:
        s[LAST_WORD_GAP] = combine(s[LAST_WORD_GAP], c) & 0xFFFF
    # fields and lines
    if c != 10 and s[COLUMN] == 1:
        s[FIRST] = c
        s[INDENT] = 0
    if c == 32 or c == 9:
        if s[INDENT] == s[COLUMN] - 1:
            s[INDENT] = s[COLUMN]
    if is_separator(c):
        f = min(s[FIELD], 255)
        text.field_hashes[0, f] = s[FIELD_HASH]
        s[FIELD] += 1
        s[FIELD_HASH] = 0
        text.fields[0, min(s[FIELD], 255)] = t
    else:
        s[FIELD_HASH] = combine(s[FIELD_HASH], c + 1)
    if c == 10:
        s[LINE_ABOVE] = s[LINE]
        s[LINE] = t
        for i in range(min(s[FIELD], 255) + 1):
            text.field_hashes[1, i] = text.field_hashes[0, i]
            text.fields[1, i] = text.fields[0, i]
        for i in range(min(s[FIELD], 255) + 1, 256):
            text.fields[1, i] = 0
            text.field_hashes[1, i] = 0
        s[COLUMN] = 0
        s[FIELD] = 0
        s[FIELD_HASH] = 0
        text.fields[0, 0] = t
    # open tags: IN_TAG 0 outside, 1 in the name of an opening tag, 2 in its attributes, 3 in a closing tag, 4 in <! or <?
    mode = s[IN_TAG]
    if c == 60:
        s[IN_TAG] = 1
        s[TAG_NAME] = 0
    elif mode == 1 and before == 60 and c == 47:
        s[IN_TAG] = 3
    elif mode == 1 and before == 60 and not letter:
        s[IN_TAG] = 4 if c == 33 or c == 63 else 0
    elif mode and c == 62:
        s[IN_TAG] = 0
        if mode == 3:
            s[TAG_DEPTH] = max(s[TAG_DEPTH] - 1, 0)
        elif mode < 3 and before != 47:
            s[TAG_DEPTH] = min(s[TAG_DEPTH] + 1, 63)
            text.tags[s[TAG_DEPTH]] = s[TAG_NAME]
    elif mode == 1:
        if c <= 32 or c == 47:
            s[IN_TAG] = 2
        else:
            s[TAG_NAME] = combine(s[TAG_NAME], c)


@njit  # type: ignore[untyped-decorator]
def set_contexts(text: Text, matches: Matches, data: Any, t: int) -> None:
    """Set the contexts' hashes for the byte at position t."""
    s = text.state
    b1 = np.int64(data[t - 1]) if t > 0 else np.int64(0)
    b2 = np.int64(data[t - 2]) if t > 1 else np.int64(0)
    b3 = np.int64(data[t - 3]) if t > 2 else np.int64(0)
    b4 = np.int64(data[t - 4]) if t > 3 else np.int64(0)
    b5 = np.int64(data[t - 5]) if t > 4 else np.int64(0)
    b6 = np.int64(data[t - 6]) if t > 5 else np.int64(0)
    b7 = np.int64(data[t - 7]) if t > 6 else np.int64(0)
    b8 = np.int64(data[t - 8]) if t > 7 else np.int64(0)
    last3 = b1 | b2 << 8 | b3 << 16
    last4 = last3 | b4 << 24
    word = s[WORD]
    # what stands above: by column, and by position in the field
    above = 0
    above_next = 0
    if s[LINE_ABOVE] + s[COLUMN] < s[LINE]:
        above = np.int64(data[s[LINE_ABOVE] + s[COLUMN]])
        if s[LINE_ABOVE] + s[COLUMN] + 1 < s[LINE]:
            above_next = np.int64(data[s[LINE_ABOVE] + s[COLUMN] + 1])
    f = min(s[FIELD], 255)
    at = text.fields[1, f] + (t - text.fields[0, f])
    field_above = 0
    if (text.fields[1, f] or f == 0) and at < s[LINE]:
        field_above = np.int64(data[at])
    tag = text.tags[s[TAG_DEPTH]]
    expected = matches.state[0, 3] << 5 | min(matches.state[0, 1], 31)
    h = text.hashes
    h[0] = 0
    h[1] = b1
    h[2] = b1 | b2 << 8
    h[3] = last3
    h[4] = last4
    h[5] = combine(last4, b5)
    h[6] = combine(last4, b5 | b6 << 8)
    h[7] = combine(last4, b5 | b6 << 8 | b7 << 16 | b8 << 24)
    h[8] = combine(word, b1)
    h[9] = combine(combine(word, s[PREVIOUS_WORD]), b1)
    h[10] = combine(combine(word, s[OLDER_WORD]), b1)
    h[11] = combine(combine(word, s[PREVIOUS_WORD]), s[OLDER_WORD])
    h[12] = b2 | b3 << 8
    h[13] = b1 | b3 << 8
    h[14] = combine(b2 | b3 << 8 | b4 << 16, 14)
    h[15] = combine(min(s[COLUMN], 255) << 8 | above, 15)
    h[16] = combine(above | above_next << 8 | b1 << 16, 16)
    h[17] = combine(combine(text.field_hashes[1, f], s[FIELD_HASH]), f)
    h[18] = combine(combine(f, b1), word)
    h[19] = combine(field_above | b1 << 8 | f << 16, 19)
    h[20] = s[FORMAT] & 0xFFFFFFFF
    h[21] = combine(s[FORMAT] & 0xFFFFFF, word)
    h[22] = combine(tag, combine(s[IN_TAG], word))
    h[23] = combine(expected, b1)
    h[24] = combine(combine(s[KEY], word), b1)
    h[25] = combine(combine(s[INDENT] << 8 | s[FIRST], word), b1)
    for i in range(CONTEXTS):
        h[i] = combine(h[i], i + 1)


@njit(forceinline=True)  # type: ignore[untyped-decorator]
def length_class(length: int) -> int:
    """Return the class 0..15 of a match's length."""
    if length < 8:
        return length
    if length < 16:
        return 8 + (length - 8 >> 2)
    if length < 32:
        return 10 + (length - 16 >> 3)
    if length < 64:
        return 12
    if length < 256:
        return 13
    return 14 if length < 1024 else 15


@njit  # type: ignore[untyped-decorator]
def follow_matches(matches: Matches, data: Any, t: int) -> None:
    """Bring both matches up to date with the byte before position t, and set the bytes they expect."""
    for m in range(MATCHES):
        least = 8 if m == 0 else 4
        s = matches.state[m]
        if s[0] > 0:
            if data[s[0]] == data[t - 1]:
                s[1] = min(s[1] + 1, _LENGTH_LIMIT)
                s[2] = s[2] << 1 & 0xFF
            else:
                s[1] = 0
                s[2] = (s[2] << 1 | 1) & 0xFF
            s[0] += 1
        if t >= least:
            h = 0
            for i in range(least):
                h = combine(h, np.int64(data[t - 1 - i]))
            heads = matches.heads[m]
            h = (h * heads.size) >> 32
            if s[1] < least:
                candidate = np.int64(heads[h])
                if candidate > 0 and candidate != s[0]:
                    length = 0
                    while length < 32 and length < candidate and data[candidate - 1 - length] == data[t - 1 - length]:
                        length += 1
                    if length >= least:
                        s[0] = candidate
                        s[1] = length
                        s[2] = 0
            heads[h] = t
        if s[2] == 0xFF:
            s[0] = 0
        s[3] = np.int64(data[s[0]]) + 1 if s[0] > 0 else 0


@njit(forceinline=True)  # type: ignore[untyped-decorator]
def match_class(state: Any) -> int:
    """Return the class 0..63 of a match: its length and its late misses."""
    misses = state[2]
    late = 0 if misses == 0 else (1 if misses & 3 == 0 else (2 if misses & 1 == 0 else 3))
    return length_class(state[1]) << 2 | late


@njit  # type: ignore[untyped-decorator]
def run_model(
    data: Any, probabilities: Any, words: Any, decoder: Any, decoding: bool, slots: Any, mixer: Any, text: Any, matches: Any, maps: Any
) -> None:
    """Predict and learn each decision of `data`: given (fill `probabilities`) or decoded from `words` (fill `data`)."""
    expected_node = np.zeros(MATCHES, np.int64)
    classes = np.zeros(MATCHES, np.int64)
    if decoding:
        coding.start_decoder(decoder, words)
    for t in range(data.size):
        if t > 0:
            follow_text(text, data, t)
            follow_matches(matches, data, t)
        set_contexts(text, matches, data, t)
        rate = 1000 + 4000 * 64 // (64 + (t >> 2))
        rate = min(rate, 8000)
        final_rate = 600 + 2000 * 64 // (64 + (t >> 3))
        for m in range(MATCHES):
            expected_node[m] = matches.state[m, 3] + 255
            classes[m] = match_class(matches.state[m])
        b1 = np.int64(data[t - 1]) if t > 0 else np.int64(0)
        b2 = np.int64(data[t - 2]) if t > 1 else np.int64(0)
        symbol = np.int64(data[t])
        node = 1  # a 1 and the decisions of this byte so far
        for depth in range(8):
            if depth == 0 or depth == 4:
                for i in range(CONTEXTS):
                    slots.base[i] = core.find_bucket(slots.table, combine(text.hashes[i], node))
            slot = node if depth < 4 else (node & ((1 << (depth - 4)) - 1)) | 1 << (depth - 4)
            core.predict_slots(slots, mixer.inputs, slot)
            seen = core.count_seen(slots, 0, 8)
            sure = 0
            for m in range(MATCHES):
                x = 0
                flat = 0
                if matches.state[m, 3] > 0 and expected_node[m] >> (8 - depth) == node:
                    bit = (expected_node[m] >> (7 - depth)) & 1
                    q = np.int64(matches.strength[m * MATCH_CLASSES + classes[m]]) >> 16
                    x = np.int64(core.stretch(q))
                    flat = (q - 32768) >> 5
                    if bit == 0:
                        x = -x
                        flat = -flat
                    if m == 0 or sure == 0:
                        sure = (1 + (length_class(matches.state[m, 1]) >> 1)) * 2 + bit
                        if m == 1:
                            sure += 32
                mixer.inputs[_MATCH_INPUT + 2 * m] = x
                mixer.inputs[_MATCH_INPUT + 2 * m + 1] = flat
            mixer.inputs[_BIAS_INPUT] = 256
            mixer.row[0] = sure * 8 + depth
            mixer.row[1] = 2048 + node
            mixer.row[2] = 2304 + b1
            mixer.row[3] = 2560 + ((text.state[CLASSES] & 0x3F) * 8 + depth)
            mixer.row[4] = 4608 + min(seen, 8) * 8 + depth + (0 if sure == 0 else 128)
            mixer.row[5] = 6656 + min(text.state[FIELD], 15) * 8 + depth + 128 * text.state[IN_TAG]
            mixed = core.mix(mixer, node)
            p0 = core.squash(mixed)
            order1 = combine(node, b1) & 0xFFFF
            order2 = combine(combine(node, b1), b2 + 256) & 0xFFFF
            a0 = core.correct(maps[0], node + 256 * min(sure, 7), mixed)
            a1 = core.correct(maps[1], order1, mixed)
            a2 = core.correct(maps[2], order2, mixed)
            p = (p0 + a0 + 3 * a1 + 3 * a2 + 4) >> 3
            p = min(max(p, 1), 65535)
            if decoding:
                bit = coding.decode_decision(decoder, words, p)
            else:
                bit = (symbol >> (7 - depth)) & 1
                probabilities[8 * t + depth] = p
            core.update_slots(slots, bit)
            core.update_mixer(mixer, node, mixed, bit, rate, final_rate)
            core.update_map(maps[0], node + 256 * min(sure, 7), mixed, bit, 6)
            core.update_map(maps[1], order1, mixed, bit, 6)
            core.update_map(maps[2], order2, mixed, bit, 6)
            for m in range(MATCHES):
                if matches.state[m, 3] > 0 and expected_node[m] >> (8 - depth) == node:
                    hit = np.int64((expected_node[m] >> (7 - depth)) & 1 == bit)
                    core.adapt(matches.strength, m * MATCH_CLASSES + classes[m], hit, 255)
            node = node << 1 | bit
        symbol = node & 0xFF
        data[t] = symbol


def new_model(count: int, table_bits: int) -> tuple[Any, ...]:
    """Return the memory for `count` bytes."""
    bits = min(table_bits, max(10, (max(count, 1) * 8).bit_length() + 2))
    slots = core.new_slots(CONTEXTS, 15 << (bits - 2))
    rows = sum(ROW_SETS)
    initial = np.zeros(INPUTS, np.int32)
    for i in range(CONTEXTS):
        initial[2 * i : 2 * i + 2] = [4500, 500]
    for m in range(MATCHES):
        initial[_MATCH_INPUT + 2 * m : _MATCH_INPUT + 2 * m + 2] = [12000, 2000]
    mixer = core.Mixer(
        inputs=np.zeros(INPUTS, np.int32),
        weights=np.tile(initial, (rows, 1)),
        row=np.zeros(ROWS, np.int64),
        outputs=np.zeros(ROWS, np.int32),
        final_weights=np.full((256, ROWS), core.WEIGHT_ONE // ROWS, np.int32),
    )
    text = Text(
        state=np.zeros(STATE, np.int64),
        tags=np.zeros(64, np.int64),
        fields=np.zeros((2, 256), np.int64),
        field_hashes=np.zeros((2, 256), np.int64),
        hashes=np.zeros(CONTEXTS, np.int64),
    )
    strength = [(65536 - 65536 // (3 + (c >> 2) * 4)) << 16 for c in range(MATCH_CLASSES)] * MATCHES
    matches = Matches(
        heads=np.zeros((MATCHES, 1 << min(bits, 18)), np.int32),
        state=np.zeros((MATCHES, 4), np.int64),
        strength=np.array(strength, np.uint32),
    )
    maps = (core.new_map(2048), core.new_map(65536), core.new_map(65536))
    return slots, mixer, text, matches, maps


def encode_bytes(data: NDArray[np.uint8], table_bits: int) -> NDArray[np.uint16]:
    """Return p1 (uint16, 1..65535) of each decision of `data`, 8 a byte, most significant first."""
    probabilities = np.zeros(8 * len(data), np.uint16)
    run_model(
        np.array(data, np.uint8), probabilities, np.zeros(0, np.uint32), np.zeros(5, np.uint64), False, *new_model(len(data), table_bits)
    )
    return probabilities


def decode_bytes(words: NDArray[np.uint32], count: int, table_bits: int) -> NDArray[np.uint8]:
    """Return the `count` bytes coded in `words`; raises FormatError when the words do not end where the data ends."""
    data = np.zeros(count, np.uint8)
    decoder = np.zeros(5, np.uint64)
    words = np.ascontiguousarray(words, np.uint32)
    run_model(data, np.zeros(0, np.uint16), words, decoder, True, *new_model(count, table_bits))
    coding.check_finished(decoder, words)
    return data
