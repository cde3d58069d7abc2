"""Exact int8 x int8 -> int32 products inside compiled code: our tiles, NumKong's kernels, or a plain loop.

The tiles are the quickest with few rows on every processor tried, where the sizes suit them; with many rows NumKong is, where it
has a matrix unit (AMX). NumKong picks its instructions at run time and is there on processors that have no tiles. So each process
tests the products with extreme values, and times those that are exact. Knows nothing of layers.
"""

# L rows (lanes), N outputs, K inputs

from __future__ import annotations

import ctypes
import functools
import os
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nncomp.machine import processor
from nncomp.machine.kernels import IS_COMPILED, compiled, intrinsic
from nncomp.machine.llvm import library_folder
from nncomp.network import tiles

LOOP, TILES = 0, 1  # products; any other number is the address of NumKong's function
_ALIGNMENT = 64
_SIZES = (127, -127, 32, -32, 33)  # of inputs that products are tested with, beside mixed signs
_TIMED = 9  # calls of a product that are timed


@intrinsic("nncomp.machine.intrinsics")
def _call_c(address: Any, arguments: Any) -> None:
    """Call the C function at `address` with a tuple of uint64, pointers and sizes: both are passed in the same way."""
    raise NotImplementedError  # where nothing is compiled, LOOP is the product


@compiled
def multiply(product: Any, packed: Any, weight_NK: Any, a_LK: Any, room: Any, out_LN: Any) -> None:
    """Set out (int32) to a (int8) times the transposed weight (int8); exact. |sum| <= 4096 * 127 * 127 < 2**27.

    `packed` is the address of the weight as `pack` packed it for this product, `room` scratch, int32, `tiles.room_words` of them.
    """
    rows, n, k = np.uint64(a_LK.shape[0]), np.uint64(weight_NK.shape[0]), np.uint64(weight_NK.shape[1])
    if product == np.uint64(TILES):
        tiles.multiply(packed, weight_NK.shape[0], a_LK, room, out_LN)
    elif product != np.uint64(LOOP):
        a, out = np.uint64(a_LK.ctypes.data), np.uint64(out_LN.ctypes.data)
        _call_c(product, (a, np.uint64(packed), out, rows, n, k, k, n * np.uint64(4)))
    else:
        for i in range(a_LK.shape[0]):
            for j in range(weight_NK.shape[0]):
                total = np.int32(0)
                for x in range(weight_NK.shape[1]):
                    total += np.int32(a_LK[i, x]) * np.int32(weight_NK[j, x])
                out_LN[i, j] = total


@functools.cache
def _numkong() -> ctypes.CDLL | None:
    """Return NumKong's library, loaded as what it is: importing the module would take twenty times as long.

    The module lets the process use the matrix unit, so where there is one it is imported.
    """
    try:
        if processor.has_matrix_unit():
            import numkong._numkong  # noqa: F401
        (path,) = (path for path in library_folder("numkong").glob("_numkong*") if path.suffix in (".so", ".pyd"))
        library = ctypes.CDLL(str(path))
        library.nk_dots_packed_size_i8.restype = ctypes.c_size_t
        library.nk_dots_packed_size_i8.argtypes = [ctypes.c_size_t] * 2
        library.nk_dots_pack_i8.restype = None
        library.nk_dots_pack_i8.argtypes = [ctypes.c_void_p, *[ctypes.c_size_t] * 3, ctypes.c_void_p]
        assert library.nk_dots_packed_i8
    except (ImportError, OSError, AttributeError, ValueError):  # ValueError: not one such file
        return None
    return library


def numkong_address() -> int:
    """Return the address of NumKong's product, or LOOP where there is none."""
    library = _numkong()
    return (ctypes.cast(library.nk_dots_packed_i8, ctypes.c_void_p).value or LOOP) if library else LOOP


def pack(product: int, weight_NK: NDArray[np.int8]) -> tuple[int, NDArray[np.uint8]]:
    """Return a weight packed for a product: its address and the buffer that must outlive it."""
    library = _numkong()
    if product == TILES:
        return tiles.pack(weight_NK)
    if product == LOOP or library is None:
        return 0, np.zeros(0, np.uint8)
    n, k = weight_NK.shape
    weight = np.ascontiguousarray(weight_NK)
    buffer = np.zeros(library.nk_dots_packed_size_i8(n, k) + _ALIGNMENT, np.uint8)
    address = buffer.ctypes.data + -buffer.ctypes.data % _ALIGNMENT
    library.nk_dots_pack_i8(weight.ctypes.data, n, k, k, address)
    return address, buffer


@functools.cache
def _is_exact(product: int) -> bool:
    """Return whether the product gives exact sums for extremes that saturate 16 bits, and for mixed signs."""
    for rows, k, n in ((1, 256, 64), (3, 1024, 128), (16, 256, 64), (5, 40, 64)):
        mixed = np.arange(n * k, dtype=np.uint32) * np.uint32(2654435761)  # not numpy.random, which takes long to load
        signs = np.where(mixed >> 31, 127, -127).astype(np.int8).reshape(n, k)
        weight = np.concatenate([np.full((n, k), 127, np.int8), np.full((n, k), -127, np.int8), signs])
        inputs = np.concatenate([np.full((rows, k), size, np.int8) for size in _SIZES] + [signs[:rows]])
        totals = weight.sum(axis=1, dtype=np.int32)  # a row of one size has that size times these sums
        mixed_sums = signs[:rows].astype(np.int32) @ weight.T.astype(np.int32)
        sums = np.concatenate([np.outer(np.repeat(_SIZES, rows), totals), mixed_sums])
        packed, _buffer = pack(product, weight)
        room = np.zeros(tiles.room_words(rows, k), np.int32)
        for i in range(0, len(inputs), rows):
            out = np.zeros((rows, 3 * n), np.int32)
            multiply(np.uint64(product), np.uint64(packed), weight, inputs[i : i + rows], room, out)
            if not np.array_equal(out, sums[i : i + rows]):
                return False
    return True


@functools.cache
def _seconds(product: int, rows: int) -> float:
    """Return the least time of a few calls of the product, with as many rows and a weight like a layer's."""
    weight, a = np.ones((768, 256), np.int8), np.ones((rows, 256), np.int8)
    packed, _buffer = pack(product, weight)
    out, room = np.zeros((rows, len(weight)), np.int32), np.zeros(tiles.room_words(rows, 256), np.int32)
    times = []
    for _ in range(_TIMED):
        start = time.perf_counter()
        multiply(np.uint64(product), np.uint64(packed), weight, a, room, out)
        times.append(time.perf_counter() - start)
    return min(times)


def choose_product(shapes: list[tuple[int, int]], rows: int) -> int:
    """Return the quickest product that is exact on this machine for weights of these shapes (N, K) and for so many rows.

    The environment variable NNCOMP_PRODUCT=tiles, numkong or loop asks for one of them; a machine without it takes the next.
    """
    asked = os.environ.get("NNCOMP_PRODUCT", "") if IS_COMPILED else "loop"  # the others are compiled or C
    candidates: list[int] = []
    if asked in ("", "tiles") and tiles.available() and all(tiles.fits(n, k) for n, k in shapes):
        candidates.append(TILES)
    if asked in ("", "tiles", "numkong"):
        candidates.append(numkong_address())
    exact = [product for product in candidates if product != LOOP and _is_exact(product)]
    if asked or len(exact) < 2:
        return exact[0] if exact else LOOP
    return min(exact, key=lambda product: _seconds(product, rows))
