"""Taking turns inside compiled loops: threads share memory, and one at a time may touch it.

An int64 says whose turn it is. It is read and written atomically: a thread sees all that was written before the turn came to it
(release and acquire). A waiting thread spins, and after a while sleeps a little after each look: its core may be what the other
thread waits for. Knows nothing of what is done in a turn.
"""

from __future__ import annotations

import ctypes
import functools
import time
from typing import Any

import numpy as np

from nncomp.machine.kernels import inlined, intrinsic

_LOOKS = 200_000  # before a thread sleeps: some 50 microseconds, more than it waits where both threads have a core
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
    """Call the C function at `address` with the argument 1."""
    time.sleep(1e-6)


@functools.cache
def sleep_address() -> np.uint64:
    """Return the address of the C function that sleeps for some microseconds (usleep), or 0 where there is none (Windows).

    A thread that only gave its core away (sched_yield) would have to wait until all others have had their turn: milliseconds.
    """
    try:
        return np.uint64(ctypes.cast(ctypes.CDLL(None).usleep, ctypes.c_void_p).value or 0)
    except (OSError, AttributeError, TypeError):
        return np.uint64(0)


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
