"""The arrays of a safetensors file as views of its bytes: nothing is copied, so of a mapped file only what is used is read.
And such a file's bytes from arrays.

The layout: the size of the head (8 bytes), the head (JSON), the arrays one after another. A file comes from outside, and all of
it is checked. Knows nothing of what the arrays mean.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nncomp.format.numbers import MAX_HEAD_BYTES

Tensors = dict[str, NDArray[Any]]
_DTYPES = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4", "U64": "<u8", "I64": "<i8",
    "F16": "<f2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip


def read_tensors(data: Any) -> tuple[Tensors, dict[str, str]]:
    """Return the arrays (read-only, C-contiguous) in the bytes of a safetensors file, and its metadata.

    `data` is anything with a buffer. Raises ValueError for any other bytes.
    """
    view = memoryview(data)
    head_bytes = int.from_bytes(view[:8], "little")
    if len(view) < 8 or head_bytes > len(view) - 8:
        raise ValueError("its head is larger than the file")
    if head_bytes > MAX_HEAD_BYTES:
        raise ValueError(f"its head has {head_bytes:,} bytes, and may have {MAX_HEAD_BYTES:,}")
    head = json.loads(bytes(view[8 : 8 + head_bytes]).decode())
    if not isinstance(head, dict):
        raise ValueError("its head is no object")
    metadata = head.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata are no strings")
    first, end = 8 + head_bytes, 0
    tensors: Tensors = {}
    for name, entry in sorted(head.items(), key=lambda item: _place(item[1])):
        dtype, shape, (start, stop) = _description(entry)
        if start != end or stop - start != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"its array {name!r:.80} is not where or not as large as it should be")
        end = stop
        if first + end > len(view):
            raise ValueError("it is shorter than its head says")
        array = np.frombuffer(view, np.uint8, stop - start, first + start).view(dtype).reshape(shape)
        array.flags.writeable = False
        if (first + start) % dtype.itemsize:
            raise ValueError(f"its array {name!r:.80} does not begin at a multiple of the bytes of an element")
        tensors[name] = array if array.flags.aligned else array.copy()
    if first + end != len(view):
        raise ValueError("it is longer than its head says")
    return tensors, metadata


def written(tensors: Tensors, metadata: dict[str, str], alignment: int = 8) -> bytes:
    """Return the bytes of a safetensors file, the same ones each time: `safetensors` writes the metadata in any order.

    The arrays begin at a multiple of `alignment`; the layout allows spaces after the head. Raises ValueError if it is too long.
    """
    from safetensors.numpy import save

    data = save(tensors, metadata=metadata)
    first = 8 + int.from_bytes(data[:8], "little")
    head = json.dumps(json.loads(data[8:first]) | {"__metadata__": metadata}, separators=(",", ":")).encode()
    head += b" " * (-(8 + len(head)) % alignment)
    if len(head) > MAX_HEAD_BYTES:
        raise ValueError(f"The head of a model has {len(head):,} bytes, and may have {MAX_HEAD_BYTES:,}: its record is too long.")
    return len(head).to_bytes(8, "little") + head + data[first:]


def _place(entry: object) -> list[int]:
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not (isinstance(offsets, list) and len(offsets) == 2 and all(type(offset) is int for offset in offsets)):
        raise ValueError("an array of its head has no place")
    return offsets


def _description(entry: Any) -> tuple[np.dtype[Any], tuple[int, ...], list[int]]:
    kind, shape = entry.get("dtype"), entry.get("shape")
    if not isinstance(kind, str) or kind not in _DTYPES:
        raise ValueError(f"it has an array of the type {kind!r:.80}")
    if not isinstance(shape, list) or len(shape) > 8 or not all(type(size) is int and 0 <= size < 1 << 40 for size in shape):
        raise ValueError("an array of its head has no shape")
    return np.dtype(_DTYPES[kind]), tuple(shape), _place(entry)
