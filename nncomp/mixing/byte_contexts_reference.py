"""The definition of `byte_contexts.py` in plain Python integers: words, fields, lines, formats, open tags, hashes of contexts.

Knows nothing of probabilities.
"""

from __future__ import annotations

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


def pack(*values: int) -> int:
    """Return values[0] + 256 * values[1] + 65536 * values[2] and so on."""
    return sum(value << 8 * i for i, value in enumerate(values))


def last_bytes(data: bytes | bytearray, count: int) -> list[int]:
    """Return the last `count` bytes, the last one first; 0 before the beginning."""
    return [data[-1 - i] if i < len(data) else 0 for i in range(count)]


class Text:
    """Words, fields, lines, formats and open tags of the bytes so far."""

    def __init__(self) -> None:
        self.word = self.previous_word = self.older_word = self.key = 0
        self.column = self.indent = self.first = self.field = self.field_hash = 0
        self.line = self.line_above = 0
        self.format = 0
        self.mode, self.tag_name, self.depth, self.tags = 0, 0, 0, [0] * 64
        self.starts, self.starts_above = [0] * 256, [0] * 256
        self.hashes, self.hashes_above = [0] * 256, [0] * 256

    def follow(self, data: bytes | bytearray) -> None:
        """Take note of the last byte of `data`."""
        t, c, before = len(data), data[-1], data[-2] if len(data) > 1 else 10
        self.column += 1
        folded = next((group[0] for group in (b"0123456789", range(97, 123), range(65, 91)) if c in group), min(c, 128))
        if folded != self.format % 256 or folded not in (48, 97, 65, 128):
            self.format = (self.format * 256 + folded) % 2**48
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

    def above(self, data: bytes | bytearray, right: int = 0) -> int:
        """Return the byte of the line above in the next byte's column, or `right` columns further; 0 beyond its end."""
        at = self.line_above + self.column + right
        return data[at] if at < self.line else 0

    def field_above(self, data: bytes | bytearray) -> int:
        """Return the byte of the line above at the next byte's place in its field; 0 where there is none."""
        f = min(self.field, 255)
        at = self.starts_above[f] + len(data) - self.starts[f]
        return data[at] if (self.starts_above[f] or f == 0) and at < self.line else 0

    def contexts(self, data: bytes, expected: int) -> list[int]:
        """Return the hashes of all contexts of mixing on bytes; `expected` tells what the long match expects."""
        b1, b2, b3, b4, b5, b6, b7, b8 = last_bytes(data, 8)
        f, above = min(self.field, 255), self.above(data)
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
            chain(pack(above, self.above(data, 1), b1), 16),
            chain(self.hashes_above[f], self.field_hash, f),
            chain(f, b1, self.word),
            chain(pack(self.field_above(data), b1, f), 19),
            self.format % 2**32,
            chain(self.format % 2**24, self.word),
            combine(self.tags[self.depth], combine(self.mode, self.word)),
            chain(expected, b1),
            chain(self.key, self.word, b1),
            chain(pack(self.first, self.indent), self.word, b1),
        ]
        return [combine(h, i + 1) for i, h in enumerate(hashes)]
