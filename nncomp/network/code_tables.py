"""A model's tables for a code z, in integers: what the network starts from and is fed besides tokens, and z's price.

A code is a level for each of some dimensions. Only models that were trained with an encoder have these arrays; for them and
their bounds see docs/FORMAT.md, "Code". Knows nothing of where a code comes from.
"""

# C dimensions of the code, K levels, D width, N layers, E state width

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nncomp.errors import ModelError

MAX_DIMENSIONS, MAX_LEVELS = 64, 16
_TABLE_MAX = (1 << 15) - 1
_STATE_MAX = 1 << 26  # of h
_STATE_STEPS_SHIFT = 8  # the tables have 12 fraction bits, h has 20


class CodeArrays(NamedTuple):
    """The arrays of a code, C-contiguous; a tensor's name has `code_` before the field's."""

    input: NDArray[np.int16]  # C K D
    state: NDArray[np.int16]  # C K N E
    p1: NDArray[np.uint16]  # C K-1: that the level is greater than k, if it is not less


def code_sizes(sizes: dict[str, int]) -> tuple[int, int]:
    """Return dimensions and levels that a model's sizes claim; (0, 0) for a model without a code. Raises ModelError."""
    dimensions, levels = sizes.get("code_dimensions", 0), sizes.get("code_levels", 0)
    if dimensions and not (1 <= dimensions <= MAX_DIMENSIONS and 2 <= levels <= MAX_LEVELS):
        raise ModelError(
            f"The model claims a code of {dimensions} dimensions with {levels} levels; at most {MAX_DIMENSIONS} with 2 to "
            f"{MAX_LEVELS} are allowed. The model file is damaged."
        )
    return (dimensions, levels) if dimensions else (0, 0)


def check_code(code: CodeArrays | None, sizes: dict[str, int]) -> None:
    """Raise ModelError unless the arrays are there exactly when the sizes say so, with their types, shapes and bounds."""
    dimensions, levels = code_sizes(sizes)
    if (code is None) != (dimensions == 0):
        raise ModelError("The model's sizes and its tables do not agree on whether it has a code; the model file is damaged.")
    if code is None:
        return
    expected: dict[str, tuple[Any, tuple[int, ...], int, int]] = {
        "input": (np.int16, (dimensions, levels, sizes["width"]), -_TABLE_MAX, _TABLE_MAX),
        "state": (np.int16, (dimensions, levels, sizes["layer_count"], sizes["state_width"]), -_TABLE_MAX, _TABLE_MAX),
        "p1": (np.uint16, (dimensions, levels - 1), 1, 65535),
    }
    for name, (dtype, dims, low, high) in expected.items():
        array = getattr(code, name)
        if array.dtype != dtype or array.shape != dims:
            raise ModelError(
                f"The model's array code_{name} is {array.dtype} {array.shape}, not {np.dtype(dtype)} {dims}; "
                "the model file is damaged."
            )
        if array.min() < low or array.max() > high:
            raise ModelError(f"The model's array code_{name} leaves its bounds {low}..{high}; the model file is damaged.")


def code_arrays(tensors: dict[str, NDArray[Any]], sizes: dict[str, int]) -> CodeArrays | None:
    """Return the arrays of a code among a model's tensors, unchecked, or None for a model without; raises KeyError."""
    if not code_sizes(sizes)[0]:
        return None
    return CodeArrays(*(tensors[f"code_{name}"] for name in CodeArrays._fields))


def code_input(code: CodeArrays, digits_C: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return what a code adds to the input of each step, shape (D,), int64. |sum| <= 64 * 32767 < 2**21."""
    result: NDArray[np.int64] = code.input[np.arange(len(digits_C)), digits_C].sum(0, dtype=np.int64)
    return result


def code_state(code: CodeArrays, digits_C: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the state h of all layers that each lane starts from, shape (N, E), int64. |sum << 8| < 2**29."""
    summed = code.state[np.arange(len(digits_C)), digits_C].sum(0, dtype=np.int64)
    result: NDArray[np.int64] = np.clip(summed << _STATE_STEPS_SHIFT, -_STATE_MAX, _STATE_MAX)
    return result
