"""Exact int8 x int8 -> int32 products inside compiled code: NumKong's kernels, or a plain loop.

NumKong picks its instructions at run time, so each process probes it with saturating extremes before it is used; one
wrong sum and the plain loop takes over. Knows nothing of layers.
"""

# L rows (lanes), N outputs, K inputs

from __future__ import annotations

import ctypes
import functools
import os
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from nncomp.kernels import compiled

_ALIGNMENT = 64


@intrinsic  # type: ignore[untyped-decorator]
def _call_c(typingctx: Any, address: Any, arguments: Any) -> Any:
    """Call the C function at `address` with a tuple of uint64: pointers and sizes, which pass alike."""
    signature = types.void(types.uint64, arguments)

    def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        words = cgutils.unpack_tuple(builder, values[1])
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * len(words))
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), words)
        return context.get_dummy_value()

    return signature, generate


@compiled
def multiply(numkong: Any, packed: Any, weight_NK: Any, a_LK: Any, out_LN: Any) -> None:
    """Set out (int32) to a (int8) times the transposed weight (int8); exact. |sum| <= 4096 * 127 * 127 < 2**27.

    `numkong` is the address of NumKong's product and `packed` the weight as it packed it, or `numkong` is 0 for the plain
    loop.
    """
    rows, n, k = np.uint64(a_LK.shape[0]), np.uint64(weight_NK.shape[0]), np.uint64(weight_NK.shape[1])
    if numkong != np.uint64(0):
        a, out = np.uint64(a_LK.ctypes.data), np.uint64(out_LN.ctypes.data)
        _call_c(numkong, (a, np.uint64(packed), out, rows, n, k, k, n * np.uint64(4)))
    else:
        for i in range(a_LK.shape[0]):
            for j in range(weight_NK.shape[0]):
                total = np.int32(0)
                for x in range(weight_NK.shape[1]):
                    total += np.int32(a_LK[i, x]) * np.int32(weight_NK[j, x])
                out_LN[i, j] = total


@functools.cache
def _numkong() -> ctypes.CDLL | None:
    try:
        from numkong import _numkong as module  # type: ignore[attr-defined]

        library = ctypes.CDLL(module.__file__)
        library.nk_dots_packed_size_i8.restype = ctypes.c_size_t
        library.nk_dots_packed_size_i8.argtypes = [ctypes.c_size_t] * 2
        library.nk_dots_pack_i8.restype = None
        library.nk_dots_pack_i8.argtypes = [ctypes.c_void_p, *[ctypes.c_size_t] * 3, ctypes.c_void_p]
        assert library.nk_dots_packed_i8
    except (ImportError, OSError, AttributeError):
        return None
    return library


def pack(weight_NK: NDArray[np.int8]) -> tuple[int, NDArray[np.uint8]]:
    """Return NumKong's packed form of a weight: its address and the buffer that must outlive it."""
    library = _numkong()
    if library is None:
        return 0, np.zeros(0, np.uint8)
    n, k = weight_NK.shape
    weight = np.ascontiguousarray(weight_NK)
    buffer = np.zeros(library.nk_dots_packed_size_i8(n, k) + _ALIGNMENT, np.uint8)
    address = buffer.ctypes.data + -buffer.ctypes.data % _ALIGNMENT
    library.nk_dots_pack_i8(weight.ctypes.data, n, k, k, address)
    return address, buffer


def _is_exact(address: int) -> bool:
    """Compare with the exact sums for extremes that saturate 16-bit intermediates, and for random signs."""
    random = np.random.default_rng(0)
    for rows, k, n in ((1, 256, 64), (3, 1024, 48), (16, 256, 100), (5, 37, 9)):
        signs = random.choice(np.array([-127, 127], np.int8), size=(n, k))
        for weight in (np.full((n, k), 127, np.int8), np.full((n, k), -127, np.int8), signs):
            packed, _buffer = pack(weight)
            for a in (np.full((rows, k), 127, np.int8), np.full((rows, k), -127, np.int8), signs[:rows].copy()):
                out = np.zeros((rows, n), np.int32)
                multiply(np.uint64(address), np.uint64(packed), weight, a, out)
                if not np.array_equal(out, a.astype(np.int64) @ weight.T.astype(np.int64)):
                    return False
    return True


@functools.cache
def product_address() -> int:
    """Return the address of NumKong's product if it is exact on this machine, else 0 (the plain loop).

    NNCOMP_PRODUCT=loop asks for the plain loop.
    """
    library = _numkong()
    if library is None or os.environ.get("NNCOMP_PRODUCT") == "loop":
        return 0
    address = ctypes.cast(library.nk_dots_packed_i8, ctypes.c_void_p).value or 0
    return address if _is_exact(address) else 0
