"""The list of a block's copies: what of its raw bytes is text from before, and where the literals go.

Knows how a list is written; nothing of where the text is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from nncomp.errors import FormatError
from nncomp.format.numbers import MAX_COPIES, MAX_RAW_BYTES, MIN_COPY_BYTES
from nncomp.format.varints import signed, take_varint, unsigned, varint


class Copy(NamedTuple):
    """So many literals of the block, then so many bytes from `distance` literals back.

    A copy that is longer than its distance has the bytes up to the last literal again and again.
    """

    run: int
    length: int
    distance: int


def pack_copies(copies: Sequence[Copy]) -> bytes:
    """Return a list: the number of copies, then all runs, all lengths, all sources.

    A source is written as the step from where the one before would go on.

    >>> parse_copies(pack_copies([Copy(100, 40, 90), Copy(7, 50, 57)]), 107, 90)
    [Copy(run=100, length=40, distance=90), Copy(run=7, length=50, distance=57)]
    """
    steps, literals, expected = bytearray(), 0, 0
    for copy in copies:
        literals += copy.run
        source = literals - copy.distance
        steps += varint(unsigned(source - (expected + copy.run)))
        expected = source + copy.length
    lengths = b"".join(varint(copy.length - MIN_COPY_BYTES) for copy in copies)
    return varint(len(copies)) + b"".join(varint(copy.run) for copy in copies) + lengths + bytes(steps)


def parse_copies(data: bytes, literal_bytes: int, copied_bytes: int | None) -> list[Copy]:
    """Return the copies of a list, of a block with so many literals and so many bytes of copies (None: as many as there are).

    Raises FormatError when the list is not as a writer makes it. Whether there is so much text before a copy is not known here.
    """
    count, at = take_varint(data, 0)
    if not 1 <= count <= MAX_COPIES:
        raise _wrong(f"claims {count:,} copies, and there are 1 to {MAX_COPIES:,}")
    values: list[int] = []
    for _ in range(3 * count):
        value, at = take_varint(data, at)
        values.append(value)
    if at != len(data):
        raise _wrong("goes on after its end")
    copies: list[Copy] = []
    literals = expected = copied = 0
    for run, length, step in zip(values[:count], values[count : 2 * count], values[2 * count :], strict=True):
        literals += run
        source = expected + run + signed(step)
        length += MIN_COPY_BYTES
        if source >= literals:
            raise _wrong("has a copy of text that comes after it")
        copies.append(Copy(run, length, literals - source))
        copied += length
        expected = source + length
    if copied_bytes is None:
        copied_bytes = min(copied, MAX_RAW_BYTES - literal_bytes)
    if literals > literal_bytes or copied != copied_bytes:
        raise _wrong("does not add up to the block")
    return copies


def _wrong(what: str) -> FormatError:
    return FormatError(f"The list of a block's copies {what}; the file is altered.")
