"""Exact int8 products in tiles: the sums of a few rows by a few vectors of outputs stay in registers while all inputs go by.

A *dot* adds four products of bytes to each 32-bit sum of a vector. Which one there is depends on the processor:

- AVX-512 VNNI and AVX-VNNI: one instruction, vpdpbusd, of 16 or 8 sums. One of its operands is unsigned. So the weight is packed
  as w + 128, and every sum starts at -128 times the sum of its activations. |sum| <= 4096 * 127 * 255 < 2**31.
- AVX2: four instructions for 8 sums. vpsignb gives the weight the sign of its activation, vpmaddubsw multiplies by the size of
  the activation and adds pairs, |pair| <= 2 * 127 * 127 < 2**15, vpmaddwd adds the pairs, vpaddd the rest.

So nothing saturates. NumKong's kernels reach half of the rate of VNNI and a third of that of AVX2 (docs/log/network.md). Knows
nothing of layers.
"""

# L rows (lanes), N outputs, K inputs

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic
from numpy.typing import NDArray

from nncomp.machine.kernels import compiled

STEP = 4  # inputs that one dot takes; K must be a multiple
_VECTORS = 4  # of a tile


class Dot(NamedTuple):
    """A kind of dot."""

    feature: str  # of the processor, in LLVM's names
    words: int  # sums of a vector
    rows: int  # of a tile, at most: 16 or 32 registers hold sums, weights and activations
    offset: int  # is added to each weight
    vpdpbusd: str = ""  # the name of the instruction's function; empty for AVX2


DOTS = (
    Dot("avx512vnni", 16, 4, 128, "llvm.x86.avx512.vpdpbusd.512"),
    Dot("avxvnni", 8, 2, 128, "llvm.x86.avx512.vpdpbusd.256"),
    Dot("avx2", 8, 2, 0),
)


@functools.cache
def features() -> frozenset[str]:
    """Return the features of the processor that Numba compiles for, in LLVM's names: "+avx512vnni" and so on."""
    return frozenset(cpu_target.target_context.codegen().magic_tuple()[2].split(","))


DOT = next((dot for dot in DOTS if f"+{dot.feature}" in features()), None)
OUTPUTS = _VECTORS * (DOT or DOTS[0]).words  # of a tile; N must be a multiple
_OFFSET = DOT.offset if DOT else 0
_MOST_ROWS = DOT.rows if DOT else 0
_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))


def _splat(builder: Any, value: Any, words: int) -> Any:
    undefined = ir.Constant(ir.VectorType(value.type, words), ir.Undefined)
    first = builder.insert_element(undefined, value, _I32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_I32, words), [0] * words))


def _pointer(builder: Any, start: Any, offset: Any, kind: Any) -> Any:
    return builder.inttoptr(builder.add(start, offset), kind.as_pointer())


def _function(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)


def _inputs(dot: Dot, builder: Any, four_bytes: Any) -> tuple[Any, ...]:
    """Return what `_add_dot` wants of four activations: them in each word of a vector, and for AVX2 their sizes too."""
    inputs = _splat(builder, four_bytes, dot.words)
    if dot.vpdpbusd:
        return (inputs,)
    kind = ir.VectorType(_I8, 4 * dot.words)
    signed = builder.bitcast(inputs, kind)
    size = builder.call(
        _function(builder, f"llvm.abs.v{4 * dot.words}i8", kind, [kind, ir.IntType(1)]), [signed, ir.IntType(1)(0)]
    )
    return signed, size


def _add_dot(dot: Dot, builder: Any, total: Any, weight: Any, inputs: tuple[Any, ...]) -> Any:
    """Return the sums `total` with the dot of a vector of weights and the activations added."""
    if dot.vpdpbusd:
        return builder.call(_function(builder, dot.vpdpbusd, total.type, [total.type] * 3), [total, weight, *inputs])
    bytes_, shorts = ir.VectorType(_I8, 4 * dot.words), ir.VectorType(_I16, 2 * dot.words)
    signed, size = inputs
    with_sign = builder.call(
        _function(builder, "llvm.x86.avx2.psign.b", bytes_, [bytes_] * 2), [builder.bitcast(weight, bytes_), signed]
    )
    pairs = builder.call(_function(builder, "llvm.x86.avx2.pmadd.ub.sw", shorts, [bytes_] * 2), [size, with_sign])
    ones = ir.Constant(shorts, [1] * 2 * dot.words)
    fours = builder.call(_function(builder, "llvm.x86.avx2.pmadd.wd", total.type, [shorts] * 2), [pairs, ones])
    return builder.add(total, fours)


def generate_tile(dot: Dot, rows: int, builder: Any, words: list[Any]) -> None:
    """Write the code of a tile of `rows` rows. `words` are seven uint64: the addresses of the weight, of the activations and of
    the output, each of the latter two with the bytes from row to row; of the first sums; and the steps."""
    weight, a, a_distance, out, out_distance, sums, steps = words
    vector, vector_bytes = ir.VectorType(_I32, dot.words), 4 * dot.words
    totals = [[cgutils.alloca_once(builder, vector) for _ in range(_VECTORS)] for _ in range(rows)]
    for r, row in enumerate(totals):
        first = _splat(builder, builder.load(_pointer(builder, sums, _I64(4 * r), _I32)), dot.words)
        for total in row:
            builder.store(first, total)
    with cgutils.for_range(builder, steps) as loop:
        here = builder.add(weight, builder.mul(loop.index, _I64(_VECTORS * vector_bytes)))
        all_inputs = []
        for r in range(rows):
            offset = builder.add(builder.mul(a_distance, _I64(r)), builder.mul(loop.index, _I64(STEP)))
            all_inputs.append(_inputs(dot, builder, builder.load(_pointer(builder, a, offset, _I32), align=1)))
        for c in range(_VECTORS):
            weights = builder.load(_pointer(builder, here, _I64(c * vector_bytes), vector), align=vector_bytes)
            for inputs, row in zip(all_inputs, totals, strict=True):
                builder.store(_add_dot(dot, builder, builder.load(row[c]), weights, inputs), row[c])
    for r, row in enumerate(totals):
        for c, total in enumerate(row):
            offset = builder.add(builder.mul(out_distance, _I64(r)), _I64(c * vector_bytes))
            builder.store(builder.load(total), _pointer(builder, out, offset, vector), align=4)


def _tile(rows: int) -> Any:
    @intrinsic  # type: ignore[untyped-decorator]
    def tile(typingctx: Any, words: Any) -> Any:
        signature = types.void(words)

        def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
            if DOT is not None:
                generate_tile(DOT, rows, builder, cgutils.unpack_tuple(builder, values[0]))
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
        if _OFFSET:
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
            if _MOST_ROWS >= 4 and i + 4 <= rows:
                _four((weight, a_row, width, out_row, out_distance, first, steps))
                i += 4
            elif i + 2 <= rows:
                _two((weight, a_row, width, out_row, out_distance, first, steps))
                i += 2
            else:
                _one((weight, a_row, width, out_row, out_distance, first, steps))
                i += 1


def available() -> bool:
    """Return whether Numba compiles for a processor with a dot."""
    return DOT is not None


def fits(n: int, k: int) -> bool:
    """Return whether a weight of N x K can be packed."""
    return n % OUTPUTS == 0 and k % STEP == 0


def pack(weight_NK: NDArray[np.int8]) -> tuple[int, NDArray[np.uint8]]:
    """Return the address of the packed weight, 64-byte aligned, and the buffer that must outlive it.

    A vector has four inputs of each of its outputs, word after word; a step of a tile has four vectors, one after another. So
    the weight is read from one place after another: 5 % faster with few lanes than from four places at a time.
    """
    n, k = weight_NK.shape
    shifted = (weight_NK.astype(np.int16) + _OFFSET).astype(np.uint8)
    vectors = shifted.reshape(n // OUTPUTS, OUTPUTS, k // STEP, STEP).transpose(0, 2, 1, 3).ravel()
    buffer = np.zeros(vectors.size + 64, np.uint8)
    start = -buffer.ctypes.data % 64
    buffer[start : start + vectors.size] = vectors
    return buffer.ctypes.data + start, buffer
