"""Exact int8 products in tiles: the sums of a few rows by a few vectors of outputs stay in registers while all inputs go by.

A *dot* adds four products of bytes to each 32-bit sum of a vector. Which one there is depends on the processor. Either wants one
of its operands unsigned, so the weight is packed as w + 128, and every sum starts at -128 times the sum of its activations.
|sum| <= 4096 * 127 * 255 < 2**31.

- AVX-512 VNNI and AVX-VNNI: one instruction, vpdpbusd, of 16 or 8 sums.
- AVX2: vpmaddubsw adds pairs of products to 16 bits. Two of them are added there, then vpmaddwd adds the pairs of the sums, and
  vpaddd adds those to 8 sums: five instructions for two dots. 16 bits hold four products if the sizes of their activations are at
  most 128 together, for 128 * 255 < 2**15. Where they are more, which next to no group of eight activations is, each activation
  is cut into two halves, and all is done one by one.

So nothing saturates. NumKong's kernels reach half of the rate of either (docs/log/network.md). Knows nothing of layers.
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

from nncomp.machine.kernels import compiled, inlined

_OFFSET = 128  # is added to each weight
_FOUR = 4  # inputs that a dot takes


class Dot(NamedTuple):
    """A kind of dot, and the tile made of it: 16 or 32 registers hold its sums, weights and activations."""

    feature: str  # of the processor, in LLVM's names
    words: int  # sums of a vector
    rows: int  # of a tile, at most
    inputs: int  # of a step of a tile; K must be a multiple
    vpdpbusd: str = ""  # the name of the instruction's function; empty for AVX2


DOTS = (
    Dot("avx512vnni", 16, 4, 4, "llvm.x86.avx512.vpdpbusd.512"),
    Dot("avxvnni", 8, 2, 4, "llvm.x86.avx512.vpdpbusd.256"),
    Dot("avx2", 8, 2, 8),
)
_VECTORS = 4  # of a tile


@functools.cache
def features() -> frozenset[str]:
    """Return the features of the processor that Numba compiles for, in LLVM's names: "+avx512vnni" and so on."""
    return frozenset(cpu_target.target_context.codegen().magic_tuple()[2].split(","))


DOT = next((dot for dot in DOTS if f"+{dot.feature}" in features()), None)
_HERE = DOT or DOTS[0]  # numbers for the compiled function, which is not called where there is no dot
OUTPUTS = _VECTORS * _HERE.words  # of a tile; N must be a multiple
_INPUTS, _MOST_ROWS, _IN_PAIRS = _HERE.inputs, _HERE.rows, not _HERE.vpdpbusd
_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))


def _splat(builder: Any, value: Any, words: int) -> Any:
    undefined = ir.Constant(ir.VectorType(value.type, words), ir.Undefined)
    first = builder.insert_element(undefined, value, _I32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_I32, words), [0] * words))


def _pointer(builder: Any, start: Any, offset: Any, kind: Any) -> Any:
    return builder.inttoptr(builder.add(start, offset), kind.as_pointer())


def _function(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)


class _Pairs:
    """The dots of AVX2: of a vector of weights and a vector of activations, 4 bytes a word."""

    def __init__(self, dot: Dot, builder: Any) -> None:
        self.builder, words = builder, dot.words
        self.bytes, self.shorts = ir.VectorType(_I8, 4 * words), ir.VectorType(_I16, 2 * words)
        self._pairs = _function(builder, "llvm.x86.avx2.pmadd.ub.sw", self.shorts, [self.bytes] * 2)
        self._fours = _function(builder, "llvm.x86.avx2.pmadd.wd", ir.VectorType(_I32, words), [self.shorts] * 2)

    def pairs(self, weight: Any, inputs: Any) -> Any:
        """Return the sums of pairs, 16 bits each."""
        return self.builder.call(self._pairs, [self.builder.bitcast(each, self.bytes) for each in (weight, inputs)])

    def fours(self, pairs: Any) -> Any:
        """Return the sums of two neighbours, 32 bits each."""
        return self.builder.call(self._fours, [pairs, ir.Constant(self.shorts, [1] * self.shorts.count)])

    def halves(self, inputs: Any) -> list[Any]:
        """Return two vectors that add up to the activations, -64 to 64 each."""
        whole = self.builder.bitcast(inputs, self.bytes)
        half = self.builder.ashr(whole, ir.Constant(self.bytes, [1] * self.bytes.count))
        return [half, self.builder.sub(whole, half)]


def _add_step(dot: Dot, builder: Any, totals: list[list[Any]], inputs: list[list[Any]], load_weight: Any, is_large: Any) -> None:
    """Add the dots of a step to the sums `totals`, rows by vectors. `inputs` are rows by dots; `load_weight` takes the numbers of
    the dot and of the vector; `is_large` says whether activations of the step do not suit 16 bits."""
    if dot.vpdpbusd:
        add = _function(builder, dot.vpdpbusd, ir.VectorType(_I32, dot.words), [ir.VectorType(_I32, dot.words)] * 3)
        for c in range(_VECTORS):
            weight = load_weight(0, c)
            for row, (each,) in zip(totals, inputs, strict=True):
                builder.store(builder.call(add, [builder.load(row[c]), weight, each]), row[c])
        return
    made = _Pairs(dot, builder)
    with builder.if_else(is_large, likely=False) as (then, otherwise):
        with then:
            for d, c, r in np.ndindex(2, _VECTORS, len(totals)):
                for half in made.halves(inputs[r][d]):
                    fours = made.fours(made.pairs(load_weight(d, c), half))
                    builder.store(builder.add(builder.load(totals[r][c]), fours), totals[r][c])
        with otherwise:
            for c in range(_VECTORS):
                weights = [load_weight(d, c) for d in range(2)]
                for row, each in zip(totals, inputs, strict=True):
                    pairs = builder.add(made.pairs(weights[0], each[0]), made.pairs(weights[1], each[1]))
                    builder.store(builder.add(builder.load(row[c]), made.fours(pairs)), row[c])


def generate_tile(dot: Dot, rows: int, builder: Any, arguments: list[Any]) -> None:
    """Write the code of a tile of `rows` rows. It takes eight uint64: the addresses of the weight, of the activations and of the
    output, each of the latter two with the bytes from row to row; of the first sums; the steps; and for AVX2 the address of a
    byte a step, 0 or 1, which says whether activations are large."""
    weight, a, a_distance, out, out_distance, sums, steps, large = arguments
    vector, vector_bytes = ir.VectorType(_I32, dot.words), 4 * dot.words
    totals = [[cgutils.alloca_once(builder, vector) for _ in range(_VECTORS)] for _ in range(rows)]
    for r, row in enumerate(totals):
        first = _splat(builder, builder.load(_pointer(builder, sums, _I64(4 * r), _I32)), dot.words)
        for total in row:
            builder.store(first, total)
    with cgutils.for_range(builder, steps) as loop:
        here = builder.add(weight, builder.mul(loop.index, _I64(dot.inputs // _FOUR * _VECTORS * vector_bytes)))
        inputs: list[list[Any]] = []
        for r in range(rows):
            at = builder.add(builder.mul(a_distance, _I64(r)), builder.mul(loop.index, _I64(dot.inputs)))
            places = [builder.add(at, _I64(k)) for k in range(0, dot.inputs, _FOUR)]
            fours = [builder.load(_pointer(builder, a, place, _I32), align=1) for place in places]
            inputs.append([_splat(builder, each, dot.words) for each in fours])

        def load_weight(d: int, c: int, here: Any = here) -> Any:
            place = _pointer(builder, here, _I64((d * _VECTORS + c) * vector_bytes), vector)
            return builder.load(place, align=vector_bytes)

        is_large = None
        if not dot.vpdpbusd:
            is_large = builder.icmp_unsigned("!=", builder.load(_pointer(builder, large, loop.index, _I8)), _I8(0))
        _add_step(dot, builder, totals, inputs, load_weight, is_large)
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


@inlined
def _is_large(word: Any) -> Any:
    """Return 0 if four activations in the same 16 bits, bytes 0, 1, 4, 5 or 2, 3, 6, 7 of a word, are 128 or less together.

    A negative byte is turned into its size less one, so 124 is asked of the sums.
    """
    one, low = np.uint64(0x0101010101010101), np.uint64(0x00FF00FF00FF00FF)
    signs = (word >> np.uint64(7)) & one
    sizes = word ^ ((signs << np.uint64(8)) - signs)
    twos = (sizes & low) + ((sizes >> np.uint64(8)) & low)
    return ((twos + (twos >> np.uint64(32)) & np.uint64(0xFFFFFFFF)) + np.uint64(0x7F837F83)) & np.uint64(0x80008000)


@compiled
def multiply(packed: Any, n: int, a_LK: Any, room: Any, out_LN: Any) -> None:
    """Set out (int32) to a (int8) times the transposed weight at `packed`; `room` is scratch, see `room_words`."""
    rows, k = a_LK.shape
    steps = k // _INPUTS
    large = room[rows:].view(np.uint8)
    for i in range(rows):
        total = np.int32(0)
        for j in range(k):
            total += a_LK[i, j]
        room[i] = -_OFFSET * total
        if _IN_PAIRS:
            words = a_LK[i].view(np.uint64)
            flags = large[(i >> 1) * steps : ((i >> 1) + 1) * steps]  # of a tile, two rows
            for j in range(steps):
                flag = np.uint8(_is_large(words[j]) != 0)
                flags[j] = flag if i & 1 == 0 else flags[j] | flag
    a, out, start = np.uint64(a_LK.ctypes.data), np.uint64(out_LN.ctypes.data), np.uint64(room.ctypes.data)
    width, count, out_distance = np.uint64(k), np.uint64(steps), np.uint64(n * 4)
    for j in range(0, n, OUTPUTS):
        weight = np.uint64(packed) + np.uint64(j) * width
        i = 0
        while i < rows:
            a_row, out_row = a + np.uint64(i) * width, out + np.uint64(i) * out_distance + np.uint64(4 * j)
            first, flags_at = start + np.uint64(4 * i), np.uint64(large.ctypes.data) + np.uint64((i >> 1) * steps)
            if _MOST_ROWS >= 4 and i + 4 <= rows:
                _four((weight, a_row, width, out_row, out_distance, first, count, flags_at))
                i += 4
            elif i + 2 <= rows:
                _two((weight, a_row, width, out_row, out_distance, first, count, flags_at))
                i += 2
            else:
                _one((weight, a_row, width, out_row, out_distance, first, count, flags_at))
                i += 1


def available() -> bool:
    """Return whether Numba compiles for a processor with a dot."""
    return DOT is not None


def fits(n: int, k: int) -> bool:
    """Return whether a weight of N x K can be packed."""
    return n % OUTPUTS == 0 and k % _INPUTS == 0


def pack(weight_NK: NDArray[np.int8]) -> tuple[int, NDArray[np.uint8]]:
    """Return the address of the packed weight, 64-byte aligned, and the buffer that must outlive it.

    A vector has four inputs of each of its outputs; a step of a tile has its vectors one after another. So the weight is read
    from one place after another: 5 % faster with few lanes than from four places at a time.
    """
    n, k = weight_NK.shape
    shifted = (weight_NK.astype(np.int16) + _OFFSET).astype(np.uint8)
    vectors = shifted.reshape(n // OUTPUTS, OUTPUTS, k // _FOUR, _FOUR).transpose(0, 2, 1, 3).ravel()
    buffer = np.zeros(vectors.size + 64, np.uint8)
    start = -buffer.ctypes.data % 64
    buffer[start : start + vectors.size] = vectors
    return buffer.ctypes.data + start, buffer


def room_words(rows: int, k: int) -> int:
    """Return how many int32 of scratch a product of so many rows and inputs needs: a sum a row, a flag a tile and step."""
    return rows + -(-((rows + 1) // 2 * (k // _INPUTS)) // 4)
