"""A hint to the processor that an array element is needed soon. The hint changes time, never a value."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nncomp.machine.kernels import with_twin

LINE_BYTES = 64  # of a cache


@with_twin(lambda array, index: None)
@intrinsic  # type: ignore[untyped-decorator]
def prefetch(typingctx: Any, array: Any, index: Any) -> Any:
    """Fetch the cache line of element `index` of an array of bytes, counted through all its dimensions."""
    signature = types.void(array, types.int64)

    def generate(context: Any, builder: Any, signature_: Any, arguments: Any) -> Any:
        kind = signature_.args[0]
        view = context.make_array(kind)(context, builder, arguments[0])
        pointer = cgutils.pointer_add(builder, view.data, arguments[1])
        byte_pointer = ir.IntType(8).as_pointer()
        number = ir.IntType(32)
        function_type = ir.FunctionType(ir.VoidType(), [byte_pointer, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.prefetch.p0")
        builder.call(function, [builder.bitcast(pointer, byte_pointer), number(0), number(3), number(1)])
        return context.get_dummy_value()

    return signature, generate
