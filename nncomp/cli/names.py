"""File names, and how they are shown: a name that would not be what it looks like is quoted, as `ls` quotes it for a shell."""

from __future__ import annotations

import unicodedata

SUFFIX = ".nnc"
STANDARD = "-"  # stands for stdin or stdout
_ESCAPES = {7: "a", 8: "b", 9: "t", 10: "n", 11: "v", 12: "f", 13: "r", 27: "e"}
_JOINERS = "\u200c\u200d"  # of letters of some scripts, and of parts of an emoji
_LONGEST = 4096  # bytes of a path, on Linux
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # categories of letters that are not seen, or that move others


def shown(name: str) -> str:
    """Return a name to be printed: the name itself, or $'...' if it has letters that cannot be seen or bytes that are no text.
    Of a name that no system would take only the beginning is shown.

    >>> shown("notes of today.txt"), shown("two\\nlines"), shown("l\\udce9"), shown("\\x1b[31m"), shown("")
    ('notes of today.txt', "$'two\\\\nlines'", "$'l\\\\xe9'", "$'\\\\e[31m'", "''")
    """
    if len(name) > _LONGEST:
        return f"{shown(name[:_LONGEST])}... ({len(name):,} letters)"
    if not any(map(_is_hidden, name)):
        return name or "''"
    return "$'" + "".join(_quoted(letter) for letter in name) + "'"


def seen(text: str) -> str:
    """Return text for a terminal: letters that it would obey, and bytes that are no text, as escapes; lines stay lines.

    >>> seen("l\\udce9 and a bell: \\a")
    'l\\\\xe9 and a bell: \\\\a'
    """
    return "".join(_quoted(letter) if letter != "\n" and _is_hidden(letter) else letter for letter in text)


def _is_hidden(letter: str) -> bool:
    return unicodedata.category(letter) in _HIDDEN and letter not in _JOINERS


def _quoted(letter: str) -> str:
    if letter in "'\\":
        return f"\\{letter}"
    if not _is_hidden(letter):
        return letter
    try:
        data = letter.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # no byte of a name, but half of a pair
        return f"\\u{ord(letter):04x}"
    if len(data) == 1 and data[0] in _ESCAPES:
        return f"\\{_ESCAPES[data[0]]}"
    return "".join(f"\\x{byte:02x}" for byte in data)
