"""Taking turns inside compiled loops: threads share memory, and one at a time may touch it.

An int64 says whose turn it is. It is read and written atomically: a thread sees all that was written before the turn came to it
(release and acquire). A waiting thread spins, and after a while gives its core away at each look. Knows nothing of what is done
in a turn.
"""

from __future__ import annotations

import ctypes
import functools
import time
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from nncomp.machine.kernels import inlined, with_twin

_LOOKS = 100  # before the core is given away: some 3 microseconds
FOREVER = 1 << 62  # no thread waits for a later turn


def _first(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    return context.make_array(signature.args[0])(context, builder, arguments[0]).data


@with_twin(lambda array: array[0])
@intrinsic  # type: ignore[untyped-decorator]
def _load(typingctx: Any, array: Any) -> Any:
    """Return the first element of an int64 array; nothing that follows is done earlier (acquire)."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(_first(context, builder, signature, arguments), "acquire", 8)

    return types.int64(array), generate


@with_twin(lambda array, value: array.fill(max(value, array[0])))
@intrinsic  # type: ignore[untyped-decorator]
def _store(typingctx: Any, array: Any, value: Any) -> Any:
    """Raise the first element of an int64 array to `value`, after all that stands before (release).

    It never falls: a thread that fails sets FOREVER, and another thread that passes its turn on must not undo that.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.atomic_rmw("max", _first(context, builder, signature, arguments), arguments[1], "release")
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


@with_twin(lambda address: time.sleep(0))
@intrinsic  # type: ignore[untyped-decorator]
def _call(typingctx: Any, address: Any) -> Any:
    """Call the C function without arguments at `address`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [])
        builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), [])
        return context.get_dummy_value()

    return types.void(types.uint64), generate


@functools.cache
def yield_address() -> int:
    """Return the address of the C function that gives the core to another thread, or 0 where there is none (Windows)."""
    try:
        return ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p).value or 0
    except (OSError, AttributeError, TypeError):
        return 0


@inlined
def wait_for(turn: Any, number: int, give_core_away: int) -> None:
    """Wait until turn[0] (int64) is `number` or more."""
    looks = 0
    while _load(turn) < number:
        looks += 1
        if looks > _LOOKS and give_core_away != 0:
            _call(give_core_away)


@inlined
def pass_on(turn: Any, number: int) -> None:
    """Give the turn to `number`."""
    _store(turn, number)
