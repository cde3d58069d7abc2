"""Exact int8 products by one AVX-512 instruction, vpdpbusd: four products of bytes added to a 32-bit sum, 16 sums at a time.

One operand of the instruction is unsigned. So the weight is packed as w + 128, and every sum starts at -128 times the sum of its
activations. Nothing saturates: |sum| <= 4096 * 127 * 255 < 2**31. The registers hold a tile of lanes by outputs, so that the
instruction runs in every cycle. NumKong's kernels reach half of that rate (docs/log/network.md). Knows nothing of layers.
"""

# L rows (lanes), N outputs, K inputs

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic
from numpy.typing import NDArray

from nncomp.machine.kernels import compiled

OUTPUTS = 64  # of a tile; N must be a multiple
STEP = 4  # inputs that one instruction takes; K must be a multiple
_OFFSET = 128
_VECTOR_BYTES = 64
_VECTORS = OUTPUTS * 4 // _VECTOR_BYTES

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_VECTOR = ir.VectorType(_I32, 16)


@functools.cache
def features() -> frozenset[str]:
    """Return the features of the processor that Numba compiles for, in LLVM's names: "+avx512vnni" and so on."""
    return frozenset(cpu_target.target_context.codegen().magic_tuple()[2].split(","))


def available() -> bool:
    """Return whether Numba compiles for a processor with the instruction."""
    return "+avx512vnni" in features()


def _splat(builder: Any, value: Any) -> Any:
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, value, _I32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(_VECTOR, [0] * 16))


def _pointer(builder: Any, start: Any, offset: Any, kind: Any) -> Any:
    return builder.inttoptr(builder.add(start, offset), kind.as_pointer())


def _tile(lanes: int) -> Any:
    """Return an intrinsic that sets `lanes` x OUTPUTS sums. It takes a tuple of seven uint64: the addresses of the weight, of the
    activations a and of the output, each of the latter two with the bytes from row to row; of the first sums; and the steps."""

    @intrinsic  # type: ignore[untyped-decorator]
    def tile(typingctx: Any, words: Any) -> Any:
        signature = types.void(words)

        def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
            if not available():
                return context.get_dummy_value()
            weight, a, a_distance, out, out_distance, sums, steps = cgutils.unpack_tuple(builder, values[0])
            kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
            dot = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.vpdpbusd.512")
            totals = [[cgutils.alloca_once(builder, _VECTOR) for _ in range(_VECTORS)] for _ in range(lanes)]
            for r, row in enumerate(totals):
                first = _splat(builder, builder.load(_pointer(builder, sums, _I64(4 * r), _I32)))
                for total in row:
                    builder.store(first, total)
            with cgutils.for_range(builder, steps) as loop:
                here = builder.add(weight, builder.mul(loop.index, _I64(_VECTORS * _VECTOR_BYTES)))
                vectors = [
                    builder.load(_pointer(builder, here, _I64(c * _VECTOR_BYTES), _VECTOR), align=_VECTOR_BYTES)
                    for c in range(_VECTORS)
                ]
                for r, row in enumerate(totals):
                    offset = builder.add(builder.mul(a_distance, _I64(r)), builder.mul(loop.index, _I64(STEP)))
                    inputs = _splat(builder, builder.load(_pointer(builder, a, offset, _I32), align=1))
                    for total, vector in zip(row, vectors, strict=True):
                        builder.store(builder.call(dot, [builder.load(total), vector, inputs]), total)
            for r, row in enumerate(totals):
                for c, total in enumerate(row):
                    offset = builder.add(builder.mul(out_distance, _I64(r)), _I64(c * _VECTOR_BYTES))
                    builder.store(builder.load(total), _pointer(builder, out, offset, _VECTOR), align=4)
            return context.get_dummy_value()

        return signature, generate

    return tile


_four, _two, _one = _tile(4), _tile(2), _tile(1)


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
