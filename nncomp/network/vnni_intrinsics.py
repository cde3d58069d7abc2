"""The machine code of the tiles of `nncomp.network.vnni`. Needs Numba: only compiling imports it."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nncomp.network.vnni import OUTPUTS, STEP, available

_VECTOR_BYTES = 64
_VECTORS = OUTPUTS * 4 // _VECTOR_BYTES

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_VECTOR = ir.VectorType(_I32, 16)


def _splat(builder: Any, value: Any) -> Any:
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, value, _I32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(_VECTOR, [0] * 16))


def _pointer(builder: Any, start: Any, offset: Any, kind: Any) -> Any:
    return builder.inttoptr(builder.add(start, offset), kind.as_pointer())


def _tile(lanes: int) -> Any:
    """Return an intrinsic that sets `lanes` x OUTPUTS sums, as `vnni._four` says."""

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


four, two, one = _tile(4), _tile(2), _tile(1)
