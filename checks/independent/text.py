"""*What is known of the text*."""

from __future__ import annotations

from checks.independent.tables import combine

_SEPARATORS = b' \t\n,:;=[]|"'
_OUTSIDE, _NAME, _ATTRIBUTES, _CLOSING, _OTHER = range(5)  # modes


def is_letter(c: int) -> bool:
    return chr(c) in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_" or c > 127


def _folded(c: int) -> int:
    if 48 <= c <= 57:
        return 48
    if 97 <= c <= 122:
        return 97
    return 65 if 65 <= c <= 90 else min(c, 128)


class Text:
    """The bytes so far, of a block or of a lane, and all that the contexts ask of them."""

    def __init__(self) -> None:
        self.bytes = bytearray()
        self.column = self.format = self.first = self.indent = 0
        self.word = self.previous_word = self.older_word = self.key = 0
        self.field = self.field_hash = self.line = self.line_above = 0
        self.hash, self.start = [0] * 256, [0] * 256
        self.hash_above, self.start_above = [0] * 256, [0] * 256
        self.mode = self.tag_name = self.depth = 0
        self.tag = [0] * 64

    def note(self, c: int) -> None:
        """Take note of the next byte."""
        before = self.bytes[-1] if self.bytes else 10
        self.bytes.append(c)
        self.column += 1
        folded = _folded(c)
        if not (folded == self.format % 256 and folded in (48, 97, 65, 128)):
            self.format = (self.format << 8 | folded) % 2**48
        self._note_word(c)
        if self.column == 1 and c != 10:
            self.first, self.indent = c, 0
        if c in b" \t" and self.indent == self.column - 1:
            self.indent = self.column
        self._note_field(c)
        self._note_tag(c, before)

    def _note_word(self, c: int) -> None:
        if is_letter(c):
            self.word = combine(self.word, c + 32 if 65 <= c <= 90 else c)
        elif self.word != 0:
            self.older_word, self.previous_word, self.word = self.previous_word, self.word, 0
            if c in b':="':
                self.key = self.previous_word

    def _note_field(self, c: int) -> None:
        t = len(self.bytes)
        if c in _SEPARATORS:
            self.hash[min(self.field, 255)] = self.field_hash
            self.field += 1
            self.field_hash = 0
            self.start[min(self.field, 255)] = t
        else:
            self.field_hash = combine(self.field_hash, c + 1)
        if c == 10:
            self.line_above, self.line = self.line, t
            known = min(self.field, 255) + 1
            self.hash_above = self.hash[:known] + [0] * (256 - known)
            self.start_above = self.start[:known] + [0] * (256 - known)
            self.column = self.field = self.field_hash = 0
            self.start[0] = t

    def _note_tag(self, c: int, before: int) -> None:
        mode = self.mode
        if c == ord("<"):
            self.mode, self.tag_name = _NAME, 0
        elif mode == _NAME and before == ord("<") and c == ord("/"):
            self.mode = _CLOSING
        elif mode == _NAME and before == ord("<") and not is_letter(c):
            self.mode = _OTHER if c in b"!?" else _OUTSIDE
        elif mode != _OUTSIDE and c == ord(">"):
            self.mode = _OUTSIDE
            if mode == _CLOSING:
                self.depth = max(self.depth - 1, 0)
            if mode in (_NAME, _ATTRIBUTES) and before != ord("/"):
                self.depth = min(self.depth + 1, 63)
                self.tag[self.depth] = self.tag_name
        elif mode == _NAME and (c <= 32 or c == ord("/")):
            self.mode = _ATTRIBUTES
        elif mode == _NAME:
            self.tag_name = combine(self.tag_name, c)

    def last(self, i: int) -> int:
        """Return b1, b2 and so on: the i-th byte from the end, 0 before the beginning."""
        return self.bytes[-i] if i <= len(self.bytes) else 0

    def above(self, further: int = 0) -> int:
        place = self.line_above + self.column + further
        return self.bytes[place] if place < self.line else 0

    def field_above(self) -> int:
        f = min(self.field, 255)
        place = self.start_above[f] + len(self.bytes) - self.start[f]
        return self.bytes[place] if place < self.line and (f == 0 or self.start_above[f] > 0) else 0
