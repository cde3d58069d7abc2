"""What is known of the bytes of a text so far, and the contexts that are made of it for mixing on bytes.

Known are words, columns and fields with what stands above them, formats (letters and digits folded) and open tags. Mixing on
tokens uses the same `Text`. All hashes have 32 bits; bounds are those of `arithmetic.combine`. Knows nothing of probabilities.
The definition is `byte_contexts_reference.py`.
"""

# N contexts

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nncomp.machine.kernels import compiled, inlined
from nncomp.mixing.arithmetic import combine

# What each context looks at: name i belongs to h[i] in `set_contexts`. "Above" is on the line above.
CONTEXT_NAMES = (
    "order 0", "1 byte", "2 bytes", "3 bytes", "4 bytes", "5 bytes", "6 bytes", "8 bytes", "word", "2 words",
    "word, older word", "3 words", "bytes 2-3", "bytes 1, 3", "bytes 2-4", "column, byte above", "2 bytes above",
    "field above (hash)", "field, word", "field above (byte)", "format", "format, word", "tag, word", "expected byte",
    "key, word", "indent, first byte, word",
)  # fmt: skip
CONTEXTS = len(CONTEXT_NAMES)

# fields of `Text.state`
(
    WORD, PREVIOUS_WORD, OLDER_WORD, COLUMN, LINE, LINE_ABOVE, FIELD, FORMAT, INDENT, TAG_DEPTH, IN_TAG, TAG_NAME,
    FIRST, FIELD_HASH, KEY,
) = range(15)  # fmt: skip
STATE = 15
MAX_TAGS = 64
MAX_COLUMN = 255  # all after it count as this one
MAX_FIELDS = 256  # of a line; all after them count as the last one
_LAST_TAG, _LAST_FIELD = MAX_TAGS - 1, MAX_FIELDS - 1


class Text(NamedTuple):
    """What is known of the bytes so far. With a first dimension of L lanes: of each lane's."""

    state: Any  # (STATE,) int64
    tags: Any  # (MAX_TAGS,) int64: hashes of the open tags
    fields: Any  # (2, MAX_FIELDS) int64: where each field starts, on this line and the line above
    field_hashes: Any  # (2, MAX_FIELDS) int64: hash of each field, on this line and the line above


def new_text(*lanes: int) -> Text:
    """Return what is known before the first byte: of one text, or of each lane."""
    shapes = (STATE,), (MAX_TAGS,), (2, MAX_FIELDS), (2, MAX_FIELDS)
    return Text(*(np.zeros((*lanes, *shape), np.int64) for shape in shapes))


@inlined
def text_of(texts: Text, lane: int) -> Text:
    """Return the lane's text, a view."""
    return Text(texts.state[lane], texts.tags[lane], texts.fields[lane], texts.field_hashes[lane])


@inlined
def byte_class(c: int) -> int:
    """Return c with its kind folded: digits to '0', small letters to 'a', capitals to 'A', bytes over 127 to 128."""
    if 48 <= c <= 57:
        return 48
    if 97 <= c <= 122:
        return 97
    if 65 <= c <= 90:
        return 65
    return min(c, 128)


@inlined
def is_separator(c: int) -> bool:
    """Whether the byte ends a field."""
    return c == 32 or c == 44 or c == 9 or c == 10 or c == 58 or c == 59 or c == 61 or c == 91 or c == 93 or c == 124 or c == 34


@inlined
def format_hash(state: Any) -> int:
    """Return a hash of the last four byte classes, each run of digits, letters or other text as one, of a text's `state`."""
    return combine(state[FORMAT] & 0xFFFFFFFF, 0)


@compiled
def follow_text(text: Text, data: Any, t: int) -> None:
    """Bring the state up to date with the byte before position t (t >= 1)."""
    s = text.state
    c = np.int64(data[t - 1])
    before = np.int64(data[t - 2]) if t > 1 else np.int64(10)
    s[COLUMN] += 1
    folded = byte_class(c)
    if not (folded == s[FORMAT] & 0xFF and (folded == 48 or folded == 97 or folded == 65 or folded == 128)):
        s[FORMAT] = (s[FORMAT] << 8 | folded) & 0xFFFFFFFFFFFF
    # words
    letter = 97 <= c <= 122 or 65 <= c <= 90 or c >= 128 or 48 <= c <= 57 or c == 95
    if letter:
        low = c + 32 if 65 <= c <= 90 else c
        s[WORD] = combine(s[WORD], low)
    elif s[WORD]:
        s[OLDER_WORD] = s[PREVIOUS_WORD]
        s[PREVIOUS_WORD] = s[WORD]
        s[WORD] = 0
        if c == 58 or c == 61 or c == 34:
            s[KEY] = s[PREVIOUS_WORD]
    # fields and lines
    if c != 10 and s[COLUMN] == 1:
        s[FIRST] = c
        s[INDENT] = 0
    if (c == 32 or c == 9) and s[INDENT] == s[COLUMN] - 1:
        s[INDENT] = s[COLUMN]
    if is_separator(c):
        f = min(s[FIELD], _LAST_FIELD)
        text.field_hashes[0, f] = s[FIELD_HASH]
        s[FIELD] += 1
        s[FIELD_HASH] = 0
        text.fields[0, min(s[FIELD], _LAST_FIELD)] = t
    else:
        s[FIELD_HASH] = combine(s[FIELD_HASH], c + 1)
    if c == 10:
        s[LINE_ABOVE] = s[LINE]
        s[LINE] = t
        for i in range(min(s[FIELD], _LAST_FIELD) + 1):
            text.field_hashes[1, i] = text.field_hashes[0, i]
            text.fields[1, i] = text.fields[0, i]
        for i in range(min(s[FIELD], _LAST_FIELD) + 1, MAX_FIELDS):
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
            s[TAG_DEPTH] = min(s[TAG_DEPTH] + 1, _LAST_TAG)
            text.tags[s[TAG_DEPTH]] = s[TAG_NAME]
    elif mode == 1:
        if c <= 32 or c == 47:
            s[IN_TAG] = 2
        else:
            s[TAG_NAME] = combine(s[TAG_NAME], c)


@inlined
def byte_at(data: Any, at: int) -> int:
    """Return a byte of the text, or 0 before the beginning."""
    return np.int64(data[at]) if at >= 0 else np.int64(0)


@inlined
def byte_above(text: Text, data: Any, right: int) -> int:
    """Return the byte above the next one, `right` columns to the right; 0 beyond the end of the line above."""
    s = text.state
    at = s[LINE_ABOVE] + s[COLUMN] + right
    return np.int64(data[at]) if at < s[LINE] else np.int64(0)


@inlined
def field_byte_above(text: Text, data: Any, t: int) -> int:
    """Return the byte at the same place of the same field on the line above; 0 where there is none. The next byte is data[t]."""
    f = min(text.state[FIELD], _LAST_FIELD)
    at = text.fields[1, f] + t - text.fields[0, f]
    return np.int64(data[at]) if (text.fields[1, f] > 0 or f == 0) and at < text.state[LINE] else np.int64(0)


@compiled
def set_contexts(h: Any, text: Text, expected: int, data: Any, t: int) -> None:
    """Set the hash of each context, h (CONTEXTS,), for the byte at position t.

    `expected` is a number of what the long match expects and of its length.
    """
    s = text.state
    b1, b2, b3, b4 = byte_at(data, t - 1), byte_at(data, t - 2), byte_at(data, t - 3), byte_at(data, t - 4)
    b5, b6, b7, b8 = byte_at(data, t - 5), byte_at(data, t - 6), byte_at(data, t - 7), byte_at(data, t - 8)
    last3 = b1 | b2 << 8 | b3 << 16
    last4 = last3 | b4 << 24
    word, f, tag = s[WORD], min(s[FIELD], _LAST_FIELD), text.tags[s[TAG_DEPTH]]
    above, above_next = byte_above(text, data, np.int64(0)), byte_above(text, data, np.int64(1))
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
    h[15] = combine(min(s[COLUMN], MAX_COLUMN) << 8 | above, 15)
    h[16] = combine(above | above_next << 8 | b1 << 16, 16)
    h[17] = combine(combine(text.field_hashes[1, f], s[FIELD_HASH]), f)
    h[18] = combine(combine(f, b1), word)
    h[19] = combine(field_byte_above(text, data, t) | b1 << 8 | f << 16, 19)
    h[20] = s[FORMAT] & 0xFFFFFFFF
    h[21] = combine(s[FORMAT] & 0xFFFFFF, word)
    h[22] = combine(tag, combine(s[IN_TAG], word))
    h[23] = combine(expected, b1)
    h[24] = combine(combine(s[KEY], word), b1)
    h[25] = combine(combine(s[INDENT] << 8 | s[FIRST], word), b1)
    for i in range(CONTEXTS):
        h[i] = combine(h[i], i + 1)
