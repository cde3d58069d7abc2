"""Loops over vectors of 32-bit integers. Their machine code is made by hand, in `vectors_intrinsics`; here are their twins.

LLVM's own loops would take 8 numbers at once where 16 go, and one by one where there are 8. Knows nothing of mixing.
"""

from __future__ import annotations

from typing import Any

from nncomp.machine.kernels import intrinsic

VECTOR = 8  # arrays have a multiple of so many numbers
DOT_SHIFT = 9  # of each product, so that 512 of them add up in 32 bits


def padded(size: int) -> int:
    """Return the least multiple of VECTOR that is not less.

    >>> padded(57)
    64
    """
    return -(-size // VECTOR) * VECTOR


@intrinsic("nncomp.mixing.vectors_intrinsics")
def dot(rows: Any, row: int, inputs: Any) -> int:
    """Return the sum of (rows[row, i] * inputs[i]) >> DOT_SHIFT; int32, shapes (rows, W) and (W,).

    Products and sum have 32 bits.
    """
    return sum(int(a) * int(x) >> DOT_SHIFT for a, x in zip(rows[row], inputs, strict=True))


@intrinsic("nncomp.mixing.vectors_intrinsics")
def move_along(rows: Any, row: int, inputs: Any, step: int, limit: int) -> None:
    """Add (inputs[i] * step + 32768) >> 16 to rows[row, i], within +-limit; int32, shapes (rows, W) and (W,).

    Products and sums have 32 bits.
    """
    for i, x in enumerate(inputs.tolist()):
        rows[row, i] = min(max(int(rows[row, i]) + ((x * int(step) + 32768) >> 16), -limit), limit)


@intrinsic("nncomp.mixing.vectors_intrinsics")
def find_eight(words: Any, first: int, mask: int, value: int) -> int:
    """Return the greatest i < 8 with words[first + i] & mask == value: uint32, shape (n,). -1 if there is none."""
    return max((i for i in range(8) if int(words[first + i]) & mask == value), default=-1)
