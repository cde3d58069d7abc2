"""Bits of a word, by one instruction."""

from __future__ import annotations

from nncomp.machine.kernels import intrinsic


@intrinsic("nncomp.machine.intrinsics")
def lowest_bit(word: int) -> int:
    """Return the number of the lowest 1 of an int64 that is not 0."""
    return (int(word) & -int(word)).bit_length() - 1
