"""What the byte model knows of the text so far, and the contexts it makes of it.

The last bytes, words, columns and fields with what stood above them, formats with letters and digits folded, open
tags. Knows nothing of probabilities. All hashes have 32 bits; bounds are those of `core.combine`.
"""

# N contexts

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nncomp.machine.kernels import compiled, inlined
from nncomp.mixing.components import combine

# What each context looks at, in the order of `set_contexts`.
CONTEXT_NAMES = (
    "order 0", "1 byte", "2 bytes", "3 bytes", "4 bytes", "5 bytes", "6 bytes", "8 bytes", "word", "2 words",
    "word, older word", "3 words", "bytes 2-3", "bytes 1, 3", "bytes 2-4", "column, byte above", "2 bytes above",
    "field above (hash)", "field, word", "field above (byte)", "format", "format, word", "tag, word", "expected byte",
    "key, word", "indent, first byte, word",
)  # fmt: skip
CONTEXTS = len(CONTEXT_NAMES)

# state of the text so far: int64[STATE]
(
    WORD, PREVIOUS_WORD, OLDER_WORD, COLUMN, LINE, LINE_ABOVE, FIELD, FORMAT, INDENT, TAG_DEPTH, IN_TAG, TAG_NAME,
    FIRST, FIELD_HASH, KEY, KINDS,
) = range(16)  # fmt: skip
STATE = 16


class Text(NamedTuple):
    """What is known of the bytes so far."""

    state: Any  # (STATE,) int64
    tags: Any  # (64,) int64: hashes of the open tags
    fields: Any  # (2, 256) int64: where each field started, on this line and the line above
    field_hashes: Any  # (2, 256) int64: hash of each field, on this line and the line above
    hashes: Any  # (CONTEXTS,) int64


def new_text() -> Text:
    """Return the state before the first byte."""
    return Text(
        state=np.zeros(STATE, np.int64),
        tags=np.zeros(64, np.int64),
        fields=np.zeros((2, 256), np.int64),
        field_hashes=np.zeros((2, 256), np.int64),
        hashes=np.zeros(CONTEXTS, np.int64),
    )


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


@inlined
def is_separator(c: int) -> bool:
    """Whether the byte ends a field."""
    return c == 32 or c == 44 or c == 9 or c == 10 or c == 58 or c == 59 or c == 61 or c == 91 or c == 93 or c == 124 or c == 34


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
    s[KINDS] = (s[KINDS] << 3 | kind(c)) & 0xFFFFFFF
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


@compiled
def set_contexts(text: Text, expected: int, data: Any, t: int) -> None:
    """Set the contexts' hashes for the byte at position t; `expected` tells what the long match expects and how surely."""
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
