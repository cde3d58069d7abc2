"""The machine code of `nncomp.mixing.vectors`. Needs Numba: only compiling imports it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nncomp.machine.intrinsics import splat
from nncomp.mixing.vectors import DOT_SHIFT, VECTOR

_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_WIDE = 2 * VECTOR


def _all(count: int, value: int) -> Any:
    return ir.Constant(ir.VectorType(_I32, count), [value] * count)


def _vector_at(builder: Any, start: Any, index: Any, count: int) -> Any:
    """Return the address of `count` numbers from an index on."""
    return builder.bitcast(builder.gep(start, [index]), ir.VectorType(_I32, count).as_pointer())


def _row_and_inputs(context: Any, builder: Any, signature: Any, arguments: Any) -> tuple[Any, Any, Any]:
    """Return the addresses of the row's numbers and of the inputs, and how many these are."""
    rows = context.make_array(signature.args[0])(context, builder, arguments[0])
    inputs = context.make_array(signature.args[2])(context, builder, arguments[2])
    width = cgutils.unpack_tuple(builder, rows.shape)[1]
    return builder.gep(rows.data, [builder.mul(arguments[1], width)]), inputs.data, inputs.nitems


def _by_vectors(builder: Any, size: Any, work: Callable[[Any, int], None]) -> None:
    """Let `work` do with each vector of the numbers: wide ones, then one more if there are an odd number of VECTOR."""
    with cgutils.for_range(builder, builder.lshr(size, _I64(_WIDE.bit_length() - 1))) as loop:
        work(builder.mul(loop.index, _I64(_WIDE)), _WIDE)
    rest = builder.and_(size, _I64(VECTOR))
    with builder.if_then(builder.icmp_unsigned("!=", rest, _I64(0))):
        work(builder.sub(size, _I64(VECTOR)), VECTOR)


@intrinsic  # type: ignore[untyped-decorator]
def dot(typingctx: Any, rows: Any, row: Any, inputs: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        weights, numbers, size = _row_and_inputs(context, builder, signature, arguments)
        totals = {count: cgutils.alloca_once_value(builder, _all(count, 0)) for count in (_WIDE, VECTOR)}

        def add(at: Any, count: int) -> None:
            factors = (builder.load(_vector_at(builder, start, at, count), align=4) for start in (weights, numbers))
            product = builder.ashr(builder.mul(*factors), _all(count, DOT_SHIFT))
            builder.store(builder.add(builder.load(totals[count]), product), totals[count])

        _by_vectors(builder, size, add)
        wide, total = builder.load(totals[_WIDE]), builder.load(totals[VECTOR])
        for first in (0, VECTOR):
            half = ir.Constant(ir.VectorType(_I32, VECTOR), list(range(first, first + VECTOR)))
            total = builder.add(total, builder.shuffle_vector(wide, wide, half))
        kind = ir.FunctionType(_I32, [total.type])
        add_up = cgutils.get_or_insert_function(builder.module, kind, f"llvm.vector.reduce.add.v{VECTOR}i32")
        return builder.sext(builder.call(add_up, [total]), _I64)

    return types.int64(rows, types.int64, inputs), generate


@intrinsic  # type: ignore[untyped-decorator]
def move_along(typingctx: Any, rows: Any, row: Any, inputs: Any, step: Any, limit: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        weights, numbers, size = _row_and_inputs(context, builder, signature, arguments)
        step, most = (builder.trunc(value, _I32) for value in arguments[3:])
        least = builder.neg(most)

        def move(at: Any, count: int) -> None:
            place = _vector_at(builder, weights, at, count)
            x = builder.load(_vector_at(builder, numbers, at, count), align=4)
            change = builder.add(builder.mul(x, splat(builder, step, count)), _all(count, 1 << 15))
            moved = builder.add(builder.load(place, align=4), builder.ashr(change, _all(count, 16)))
            for sign, bound in ((">", least), ("<", most)):
                end = splat(builder, bound, count)
                moved = builder.select(builder.icmp_signed(sign, moved, end), moved, end)
            builder.store(moved, place, align=4)

        _by_vectors(builder, size, move)
        return context.get_dummy_value()

    return types.void(rows, types.int64, inputs, types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def find_eight(typingctx: Any, words: Any, first: Any, mask: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, arguments[0])
        eight = builder.load(_vector_at(builder, view.data, arguments[1], 8), align=4)
        mask, value = (splat(builder, builder.trunc(each, _I32), 8) for each in arguments[2:])
        equal = builder.bitcast(builder.icmp_unsigned("==", builder.and_(eight, mask), value), _I8)
        kind = ir.FunctionType(_I32, [_I32, ir.IntType(1)])
        leading = cgutils.get_or_insert_function(builder.module, kind, "llvm.ctlz.i32")
        zeros = builder.call(leading, [builder.zext(equal, _I32), ir.IntType(1)(0)])  # 32 if there are only zeros
        return builder.sub(_I64(31), builder.zext(zeros, _I64))

    return types.int64(words, types.int64, types.int64, types.int64), generate
