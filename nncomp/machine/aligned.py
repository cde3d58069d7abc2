"""Arrays that begin where a line of the cache begins, and large ones where a large page of memory does.

A processor looks up the page of each address. Of 4 KiB pages its table holds too few for an array of some megabytes that is read
here and there. NumPy asks Linux for pages of 2 MiB for what has 4 MiB and more; only whole pages at multiples of 2 MiB can be.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

LINE_BYTES = 64  # of a cache
_PAGE_BYTES = 1 << 21  # a large one
_LARGE = 1 << 20  # bytes of an array that gets large pages: at least one half of the first is used
_ASKED_FOR = 1 << 22  # bytes for which NumPy asks for large pages


def _aligned(new: Callable[[int, DTypeLike], NDArray[Any]], count: int, dtype: DTypeLike) -> NDArray[Any]:
    size = np.dtype(dtype).itemsize * count
    step = _PAGE_BYTES if size >= _LARGE else LINE_BYTES
    room = new(max(size + step, _ASKED_FOR if size >= _LARGE else 0), np.uint8)  # what is never touched takes no memory
    start = -room.ctypes.data % step
    return room[start : start + size].view(dtype)


def aligned_zeros(count: int, dtype: DTypeLike) -> NDArray[Any]:
    """Return so many zeros, shape (count,)."""
    return _aligned(np.zeros, count, dtype)


def aligned_empty(count: int, dtype: DTypeLike) -> NDArray[Any]:
    """Return so many numbers that are to be written before they are read, shape (count,)."""
    return _aligned(np.empty, count, dtype)
