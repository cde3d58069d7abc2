"""Exact int8 products by one AVX-512 instruction, vpdpbusd: four products of bytes added to a 32-bit sum, 16 sums at a time.

One operand of the instruction is unsigned. So the weight is packed as w + 128, and every sum starts at -128 times the sum of its
activations. Nothing saturates: |sum| <= 4096 * 127 * 255 < 2**31. The registers hold a tile of lanes by outputs, so that the
instruction runs in every cycle. NumKong's kernels reach half of that rate (docs/log/network.md). Knows nothing of layers.
"""

# L rows (lanes), N outputs, K inputs

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nncomp.machine import processor
from nncomp.machine.kernels import compiled, intrinsic

OUTPUTS = 64  # of a tile; N must be a multiple
STEP = 4  # inputs that one instruction takes; K must be a multiple
_OFFSET = 128
_VECTOR_BYTES = 64
_INTRINSICS = "nncomp.network.vnni_intrinsics"


def available() -> bool:
    """Return whether kernels are compiled for a processor with the instruction."""
    return "+avx512vnni" in processor.features()


@intrinsic(_INTRINSICS)
def _four(words: Any) -> None:
    """Set 4 x OUTPUTS sums. `words` are seven uint64: the addresses of the weight, of the activations a and of the output, each
    of the latter two with the bytes from row to row; of the first sums; and the steps."""
    raise NotImplementedError  # where nothing is compiled, products.LOOP is the product


@intrinsic(_INTRINSICS)
def _two(words: Any) -> None:
    """Set 2 x OUTPUTS sums."""
    raise NotImplementedError


@intrinsic(_INTRINSICS)
def _one(words: Any) -> None:
    """Set OUTPUTS sums."""
    raise NotImplementedError


@compiled
def multiply(packed: Any, n: int, a_LK: Any, sums: Any, out_LN: Any) -> None:
    """Set out (int32) to a (int8) times the transposed weight at `packed`; `sums` is scratch, int32, one a row."""
    rows, k = a_LK.shape
    for i in range(rows):
        total = np.int32(0)
        for j in range(k):
            total += a_LK[i, j]
        sums[i] = -_OFFSET * total
    a, out, start = np.uint64(a_LK.ctypes.data), np.uint64(out_LN.ctypes.data), np.uint64(sums.ctypes.data)
    width, steps, out_distance = np.uint64(k), np.uint64(k // STEP), np.uint64(n * 4)
    for j in range(0, n, OUTPUTS):
        weight = np.uint64(packed) + np.uint64(j) * width
        i = 0
        while i < rows:
            a_row, out_row = a + np.uint64(i) * width, out + np.uint64(i) * out_distance + np.uint64(4 * j)
            first = start + np.uint64(4 * i)
            if i + 4 <= rows:
                _four((weight, a_row, width, out_row, out_distance, first, steps))
                i += 4
            elif i + 2 <= rows:
                _two((weight, a_row, width, out_row, out_distance, first, steps))
                i += 2
            else:
                _one((weight, a_row, width, out_row, out_distance, first, steps))
                i += 1


def fits(n: int, k: int) -> bool:
    """Return whether a weight of N x K can be packed."""
    return n % OUTPUTS == 0 and k % STEP == 0


def pack(weight_NK: NDArray[np.int8]) -> tuple[int, NDArray[np.uint8]]:
    """Return the address of the packed weight, 64-byte aligned, and the buffer that must outlive it.

    Vector [n // 64][k // 4][n % 64 // 16] holds the bytes w[n, k] + 128 with n % 16 the word and k % 4 the byte in it. So the
    weight is read from one place after another: 5 % faster with few lanes than from four places at a time.
    """
    n, k = weight_NK.shape
    shifted = (weight_NK.astype(np.int16) + _OFFSET).astype(np.uint8)
    vectors = shifted.reshape(n // OUTPUTS, OUTPUTS, k // STEP, STEP).transpose(0, 2, 1, 3).ravel()
    buffer = np.zeros(vectors.size + _VECTOR_BYTES, np.uint8)
    start = -buffer.ctypes.data % _VECTOR_BYTES
    buffer[start : start + vectors.size] = vectors
    return buffer.ctypes.data + start, buffer
