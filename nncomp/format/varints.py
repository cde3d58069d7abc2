"""Numbers in groups of seven bits."""

from __future__ import annotations

from nncomp.errors import FormatError
from nncomp.format.numbers import MAX_VARINT_BYTES


def varint(value: int) -> bytes:
    """Return `value` in groups of seven bits, low groups first, bit 7 set on all bytes but the last.

    >>> varint(300).hex()
    'ac02'
    """
    assert value >= 0
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def take_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the varint at a place, and the place after it; raises FormatError when there is none in its shortest form."""
    value = shift = 0
    while True:
        if at == len(data) or shift == 7 * MAX_VARINT_BYTES:
            raise FormatError("A list ends within a number, or holds one that is too large; the file is altered.")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            break
    if not byte and shift > 7:
        raise FormatError("A list holds a number that is not written in its shortest form; the file is altered.")
    return value, at


def unsigned(value: int) -> int:
    """Return a number without sign for one with: 0, -1, 1, -2, 2 ... are 0, 1, 2, 3, 4 ..."""
    return 2 * value if value >= 0 else -2 * value - 1


def signed(value: int) -> int:
    """Return the number that `unsigned` gave this one for.

    >>> [signed(unsigned(value)) for value in (-2, 0, 3)]
    [-2, 0, 3]
    """
    return value >> 1 if not value & 1 else -(value >> 1) - 1
