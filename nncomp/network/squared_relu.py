"""The squared ReLU, and the second product of an MLP, whose inputs are outputs of the squared ReLU and next to all of them 0.

Compiled functions of `nncomp.network.engine`. The definition is `nncomp.network.engine_reference`.
"""

# D width, F mlp width

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nncomp.machine.aligned import LINE_BYTES
from nncomp.machine.bits import lowest_bit
from nncomp.machine.kernels import compiled, inlined
from nncomp.machine.prefetch import prefetch
from nncomp.network.model import SCALE_HALF, SCALE_SHIFT
from nncomp.network.products import multiply

_FIRST_ROOT = 182  # the least t whose square in int8, (t * t + 2**15) >> 16, is not 0
_NEVER = (1 << 31) - 1  # every sum is less
_TOP_BIT = -(1 << 63)


@inlined
def _square(acc: Any, scale: Any) -> Any:
    t = min((max(np.int64(acc), 0) * scale + SCALE_HALF) >> SCALE_SHIFT, 4095)
    return np.int8(min((t * t + (1 << 15)) >> 16, 127))


@compiled
def squared_relu(acc: Any, scale: Any, z: Any) -> None:
    lanes, width = acc.shape
    for i in range(lanes):
        for j in range(width):
            z[i, j] = _square(acc[i, j], scale[j])


def first_sums(scale: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the least sum of each output whose squared ReLU is not zero: acc * scale + half >= 182 * 2**20."""
    least = (_FIRST_ROOT << SCALE_SHIFT) - SCALE_HALF
    return np.where(scale > 0, -(-least // np.maximum(scale.astype(np.int64), 1)), _NEVER).astype(np.int32)


@inlined
def _find_active(acc: Any, threshold: Any, flags: Any, places: Any) -> int:
    """Write the places where the sums reach their thresholds into `places`; return how many they are, perhaps more than fit.

    64 flags, bytes of 0 or 1, become the bits of a word: bit 8 * b + k is byte b of eight bytes k. One or two of them is 1 as a
    rule, so two are taken without a branch.
    """
    for j in range(acc.size):
        flags[j] = acc[j] >= threshold[j]
    count, last, eights = 0, places.size - 1, flags.view(np.int64)
    for x in range(0, eights.size, 8):
        word = np.int64(0)
        for k in range(8):
            word |= eights[x + k] << k
        for _ in range(2):
            places[min(count, last)] = _flag_place(x, word | _TOP_BIT)
            count += word != 0
            word &= word - 1
        while word != 0:
            places[min(count, last)] = _flag_place(x, word)
            count += 1
            word &= word - 1
    return count


@inlined
def _flag_place(x: int, word: int) -> Any:
    bit = lowest_bit(word)
    return 8 * (x + (bit & 7)) + (bit >> 3)


@inlined
def _add_columns(values: Any, a: Any, b: Any, c: Any, d: Any, out: Any) -> None:
    """Add four columns, each times its value, to a row of sums. Bound: two products of 0..127 by -128..127 fit 16 bits."""
    va, vb, vc, vd = values[0], values[1], values[2], values[3]
    for j in range(out.size):
        ab = np.int16(np.int16(a[j]) * va + np.int16(b[j]) * vb)
        cd = np.int16(np.int16(c[j]) * vc + np.int16(d[j]) * vd)
        out[j] += np.int32(ab) + np.int32(cd)


@inlined
def _add_active(wide: Any, scale: Any, threshold: Any, turned: Any, mlp: Any, out: Any) -> bool:
    """Set `out` to the product of the squared ReLU of `wide`, input by input, and return True; False if too many are not 0."""
    for i in range(wide.shape[0]):
        mlp.counts[i] = _find_active(wide[i], threshold, mlp.flags, mlp.places[i])
        if mlp.counts[i] >= mlp.places.shape[1]:
            return False
        for x in range(mlp.counts[i]):
            first = mlp.places[i, x] * turned.shape[1]
            for byte in range(first, first + turned.shape[1], LINE_BYTES):
                prefetch(turned, byte)
    for i in range(wide.shape[0]):
        row, places, count = out[i], mlp.places[i], mlp.counts[i]
        for j in range(row.size):
            row[j] = 0
        for x in range(0, count, 4):
            for k in range(4):  # a missing column is the first one, times 0
                at = places[x + k if x + k < count else x]
                mlp.values[k] = np.int16(_square(wide[i, at], scale[at])) if x + k < count else np.int16(0)
                mlp.columns[k] = at
            columns = mlp.columns
            _add_columns(mlp.values, turned[columns[0]], turned[columns[1]], turned[columns[2]], turned[columns[3]], row)
    return True


@compiled
def mlp_out(
    product: Any, packed: Any, weight: Any, turned: Any, scale: Any, threshold: Any, wide: Any, mlp: Any, room: Any, out: Any
) -> None:
    """Set `out` to the product of the squared ReLU of `wide` (up to 4 rows) with the second weight of an MLP.

    In int8 one or two outputs of the squared ReLU in a hundred are not zero (docs/log/network.md). The weights of these outputs
    are added: the same sums in another order. A row with more than an eighth of them is multiplied as a whole.
    """
    if not _add_active(wide, scale, threshold, turned, mlp, out):
        z = mlp.z[: wide.shape[0]]
        squared_relu(wide, scale, z)
        multiply(product, packed, weight, z, room, out)
