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

from nncomp.machine.kernels import inlined, intrinsic

_LOOKS = 100  # before the core is given away: some 3 microseconds
FOREVER = 1 << 62  # no thread waits for a later turn


_INTRINSICS = "nncomp.machine.intrinsics"


@intrinsic(_INTRINSICS)
def _load(array: Any) -> Any:
    """Return the first element of an int64 array; nothing that follows is done earlier (acquire)."""
    return array[0]


@intrinsic(_INTRINSICS)
def _store(array: Any, value: Any) -> None:
    """Raise the first element of an int64 array to `value`, after all that stands before (release).

    It never falls: a thread that fails sets FOREVER, and another thread that passes its turn on must not undo that.
    """
    array.fill(max(value, array[0]))


@intrinsic(_INTRINSICS)
def _call(address: Any) -> None:
    """Call the C function without arguments at `address`."""
    time.sleep(0)


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
