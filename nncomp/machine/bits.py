"""Bits of a word, by one instruction."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nncomp.machine.kernels import with_twin


@with_twin(lambda word: (int(word) & -int(word)).bit_length() - 1)
@intrinsic  # type: ignore[untyped-decorator]
def lowest_bit(typingctx: Any, word: Any) -> Any:
    """Return the number of the lowest 1 of an int64 that is not 0, int64."""
    signature = types.int64(types.int64)

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(ir.IntType(64), [ir.IntType(64), ir.IntType(1)])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.cttz.i64")
        return builder.call(function, [arguments[0], ir.IntType(1)(1)])

    return signature, generate
