"""Picks a reference from samples: the parts of them that say most of what they have in common, the best parts last.

The worth of a string of eight bytes is how many other samples have it, and nothing once it was picked. The samples are divided
into as many stretches as parts fit into the reference; from each the part of the greatest worth is taken (as the fast cover
method of zstd does), again and again until the reference is full. Parts are extended to whole lines, and the result is plain
text. Knows bytes only.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from nncomp.errors import DataError

STRING_BYTES = 8
PART_BYTES = 512  # before it is extended to whole lines
_LEAST_WORTH = PART_BYTES // 16  # of a part: some strings are equal by chance, or their hashes are
_LINE_BYTES = 128  # by how many bytes it is extended at either end, at most
MOST_BYTES = 16 << 20  # of samples that are looked at
_TABLE_LOG2 = 22
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_MOST_ROUNDS = 16


def choose_reference(samples: Iterable[bytes], size: int) -> bytes:
    """Return a reference of at most `size` bytes: all samples, if that is enough for them.

    What samples have after the first 16 MiB of all is not looked at. Raises DataError if the samples have no text or nothing in
    common, or if nothing of that fits.
    """
    worth = np.full(1 << _TABLE_LOG2, -1, np.int64)  # by the hash of a string: how many samples have it, less one
    text = bytearray()
    for sample in samples:
        if len(text) >= MOST_BYTES:
            break
        text += sample[: MOST_BYTES - len(text)]
        worth[np.unique(_hashes(sample))] += 1
    if not text:
        raise DataError("There is no text in the samples. Give files with text, or folders of them.")
    if len(text) <= size:
        return bytes(text)
    found = _best_parts(bytes(text), np.maximum(worth, 0), size)
    if not found:
        if _best_parts(bytes(text), np.maximum(worth, 0), len(text)):
            raise DataError(f"{size:,} bytes are too few for any part of what the samples have in common. Give a larger size.")
        raise DataError("The samples have nothing in common that a reference could hold. Give more samples of one kind.")
    return b"".join(part for _, part in sorted(found, key=lambda each: each[0]))


def _best_parts(text: bytes, worth: NDArray[np.int64], size: int) -> list[tuple[int, bytes]]:
    """Return parts of at most `size` bytes together, each with its worth; `worth` of the strings that they have becomes 0."""
    found: list[tuple[int, bytes]] = []
    step = max(2 * PART_BYTES, len(text) // max(1, size // PART_BYTES))
    left = size
    for _ in range(_MOST_ROUNDS):
        before = left
        for start in range(0, len(text), step):
            stretch = text[start : start + step + PART_BYTES]
            value, first, last = _best_part(_hashes(stretch), worth)
            part = _whole_lines(stretch, first, last)
            if value >= _LEAST_WORTH and len(part) <= left:
                worth[_hashes(part)] = 0
                found.append((value, part))
                left -= len(part)
        if left == before:
            break
    return found


def _best_part(hashes: NDArray[np.uint64], worth: NDArray[np.int64]) -> tuple[int, int, int]:
    """Return the worth of the best part of a stretch of text with these hashes, and from where up to where it is.

    A string that comes twice in a part counts once. What is worth nothing at either end is left out.
    """
    if not len(hashes):
        return 0, 0, 0
    values = worth[hashes]
    order = np.argsort(hashes, kind="stable")
    is_again = (hashes[order[1:]] == hashes[order[:-1]]) & (order[1:] - order[:-1] < PART_BYTES)
    values[order[1:][is_again]] = 0
    sums = np.concatenate([np.zeros(1, np.int64), np.cumsum(values)])
    width = min(len(values), PART_BYTES)
    start = int(np.argmax(sums[width:] - sums[:-width]))
    of_use = np.flatnonzero(values[start : start + width])
    if not len(of_use):
        return 0, 0, 0
    value = int(sums[start + width] - sums[start])
    return value, start + int(of_use[0]), start + int(of_use[-1]) + STRING_BYTES


def _whole_lines(text: bytes, first: int, last: int) -> bytes:
    """Return a part of a text, extended to whole lines if they are not long.

    >>> _whole_lines(b"one two three. ", 4, 9), _whole_lines(b"one two".replace(b" ", bytes([10])), 5, 7)
    (b'one two three. ', b'two')
    """
    begin = max(0, first - _LINE_BYTES)
    line = text.rfind(b"\n", begin, first) + 1
    first = line or (0 if begin == 0 else first)
    end = text.find(b"\n", last - 1, last + _LINE_BYTES) + 1
    return text[first : end or (len(text) if len(text) <= last + _LINE_BYTES else last)]


def _hashes(text: bytes) -> NDArray[np.uint64]:
    """Return the hash of each string of eight bytes of a text, (n - 7,), below 2**22; none for a shorter text."""
    if len(text) < STRING_BYTES:
        return np.zeros(0, np.uint64)
    data = np.frombuffer(text, np.uint8)
    strings = np.zeros(len(data) - STRING_BYTES + 1, np.uint64)
    for i in range(STRING_BYTES):
        strings |= data[i : len(strings) + i].astype(np.uint64) << np.uint64(8 * i)
    return strings * _SPREAD >> np.uint64(64 - _TABLE_LOG2)
