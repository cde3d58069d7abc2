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
_PRODUCT, _PACK = range(2)  # of NumKong's addresses


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

    `numkong` holds the addresses of NumKong's product and packing, or zeros for the plain loop; `packed` is the weight
    as NumKong packed it.
    """
    rows, n, k = np.uint64(a_LK.shape[0]), np.uint64(weight_NK.shape[0]), np.uint64(weight_NK.shape[1])
    if numkong[_PRODUCT] != np.uint64(0):
        a, out = np.uint64(a_LK.ctypes.data), np.uint64(out_LN.ctypes.data)
        _call_c(numkong[_PRODUCT], (a, np.uint64(packed), out, rows, n, k, k, n * np.uint64(4)))
    else:
        for i in range(a_LK.shape[0]):
            for j in range(weight_NK.shape[0]):
                total = np.int32(0)
                for x in range(weight_NK.shape[1]):
                    total += np.int32(a_LK[i, x]) * np.int32(weight_NK[j, x])
                out_LN[i, j] = total


@compiled
def multiply_transposed(numkong: Any, weight_NK: Any, a_LK: Any, room: Any, out_NL: Any) -> None:
    """The same sums, lanes last: the activations are packed (into `room`) and the weight's rows are run over them.

    For long sums and eight lanes or more this is half as fast again as `multiply`. Not for the plain loop.
    """
    lanes, n, k = np.uint64(a_LK.shape[0]), np.uint64(weight_NK.shape[0]), np.uint64(weight_NK.shape[1])
    packed = np.uint64(room.ctypes.data + (-room.ctypes.data) % _ALIGNMENT)
    _call_c(numkong[_PACK], (np.uint64(a_LK.ctypes.data), lanes, k, k, packed))
    weight, out = np.uint64(weight_NK.ctypes.data), np.uint64(out_NL.ctypes.data)
    _call_c(numkong[_PRODUCT], (weight, packed, out, n, lanes, k, k, lanes * np.uint64(4)))


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


def packing_room(rows: int, k: int) -> NDArray[np.uint8]:
    """Return memory for the packed form of activations of that shape."""
    library = _numkong()
    return np.zeros((library.nk_dots_packed_size_i8(rows, k) if library else 0) + _ALIGNMENT, np.uint8)


def _is_exact(numkong: NDArray[np.uint64]) -> bool:
    """Compare with the exact sums for extremes that saturate 16-bit intermediates, and for random values."""
    random = np.random.default_rng(0)
    for rows, k, n in ((1, 256, 64), (3, 1024, 48), (16, 256, 100), (8, 1024, 64), (5, 37, 9)):
        signs = random.choice(np.array([-127, 127], np.int8), size=(n, k))
        room = packing_room(rows, k)
        for weight in (np.full((n, k), 127, np.int8), np.full((n, k), -127, np.int8), signs):
            packed, _buffer = pack(weight)
            for a in (np.full((rows, k), 127, np.int8), np.full((rows, k), -127, np.int8), signs[:rows].copy()):
                out, turned = np.zeros((rows, n), np.int32), np.zeros((n, rows), np.int32)
                multiply(numkong, np.uint64(packed), weight, a, out)
                multiply_transposed(numkong, weight, a, room, turned)
                exact = a.astype(np.int64) @ weight.T.astype(np.int64)
                if not (np.array_equal(out, exact) and np.array_equal(turned.T, exact)):
                    return False
    return True


@functools.cache
def product_addresses() -> tuple[int, int]:
    """Return the addresses of NumKong's product and packing if they are exact on this machine, else zeros.

    NNCOMP_PRODUCT=loop asks for the plain loop.
    """
    library = _numkong()
    if library is None or os.environ.get("NNCOMP_PRODUCT") == "loop":
        return 0, 0
    functions = library.nk_dots_packed_i8, library.nk_dots_pack_i8
    product, packing = (ctypes.cast(function, ctypes.c_void_p).value or 0 for function in functions)
    return (product, packing) if _is_exact(np.array([product, packing], np.uint64)) else (0, 0)
