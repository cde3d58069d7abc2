"""The machine code of the tiles of `nncomp.network.tiles`. Needs Numba: only compiling imports it."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nncomp.machine.intrinsics import splat
from nncomp.network.tiles import DOT, FOUR, VECTORS, Dot

_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))


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
    if dot.instruction:
        sums = ir.VectorType(_I32, dot.words)
        operand = sums if dot.offset else ir.VectorType(_I8, 4 * dot.words)  # as LLVM's function takes them
        add = _function(builder, dot.instruction, sums, [sums, operand, operand])
        for c in range(VECTORS):
            weight = builder.bitcast(load_weight(0, c), operand)
            for row, (each,) in zip(totals, inputs, strict=True):
                builder.store(builder.call(add, [builder.load(row[c]), weight, builder.bitcast(each, operand)]), row[c])
        return
    made = _Pairs(dot, builder)
    with builder.if_else(is_large, likely=False) as (then, otherwise):
        with then:
            for d, c, r in np.ndindex(2, VECTORS, len(totals)):
                for half in made.halves(inputs[r][d]):
                    fours = made.fours(made.pairs(load_weight(d, c), half))
                    builder.store(builder.add(builder.load(totals[r][c]), fours), totals[r][c])
        with otherwise:
            for c in range(VECTORS):
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
    totals = [[cgutils.alloca_once(builder, vector) for _ in range(VECTORS)] for _ in range(rows)]
    for r, row in enumerate(totals):
        first = splat(builder, builder.load(_pointer(builder, sums, _I64(4 * r), _I32)), dot.words)
        for total in row:
            builder.store(first, total)
    with cgutils.for_range(builder, steps) as loop:
        here = builder.add(weight, builder.mul(loop.index, _I64(dot.inputs // FOUR * VECTORS * vector_bytes)))
        inputs: list[list[Any]] = []
        for r in range(rows):
            at = builder.add(builder.mul(a_distance, _I64(r)), builder.mul(loop.index, _I64(dot.inputs)))
            places = [builder.add(at, _I64(k)) for k in range(0, dot.inputs, FOUR)]
            fours = [builder.load(_pointer(builder, a, place, _I32), align=1) for place in places]
            inputs.append([splat(builder, each, dot.words) for each in fours])

        def load_weight(d: int, c: int, here: Any = here) -> Any:
            place = _pointer(builder, here, _I64((d * VECTORS + c) * vector_bytes), vector)
            return builder.load(place, align=vector_bytes)

        is_large = None
        if not dot.instruction:
            is_large = builder.icmp_unsigned("!=", builder.load(_pointer(builder, large, loop.index, _I8)), _I8(0))
        _add_step(dot, builder, totals, inputs, load_weight, is_large)
    for r, row in enumerate(totals):
        for c, total in enumerate(row):
            offset = builder.add(builder.mul(out_distance, _I64(r)), _I64(c * vector_bytes))
            builder.store(builder.load(total), _pointer(builder, out, offset, vector), align=4)


def _tile(rows: int) -> Any:
    """Return an intrinsic that sets `rows` x OUTPUTS sums, as `tiles._four` says."""

    @intrinsic  # type: ignore[untyped-decorator]
    def tile(typingctx: Any, words: Any) -> Any:
        signature = types.void(words)

        def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
            if DOT is not None:
                generate_tile(DOT, rows, builder, cgutils.unpack_tuple(builder, values[0]))
            return context.get_dummy_value()

        return signature, generate

    return tile


four, two, one = _tile(4), _tile(2), _tile(1)
