"""A code z of a text: the tables with which it steers the network, and the decisions that send it.

A code is a digit for each of some dimensions. Only a model that was trained with an encoder has the tables: what each digit adds
to the first state and to the input of each token, and how likely each digit is, which gives its price. docs/FORMAT.md, "Code",
has the bounds. Knows nothing of how a sender finds a code.
"""

# C dimensions of the code, K digits (0 to K - 1), D width, N layers, E state width

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nncomp import range_coder
from nncomp.errors import ModelError
from nncomp.machine.kernels import compiled
from nncomp.range_coder import decode_decision

Code = NDArray[np.int64]  # C, each 0 to K - 1
NO_CODE: Code = np.zeros(0, np.int64)
NO_PRIOR = np.zeros((0, 0), np.uint16)
MAX_DIMENSIONS, MAX_DIGITS = 64, 16
_TABLE_MAX = (1 << 15) - 1
_STATE_MAX = 1 << 26  # of h
_STATE_STEPS_SHIFT = 8  # the tables have 12 fraction bits, h has 20


class CodeArrays(NamedTuple):
    """The arrays of a code, C-contiguous; a tensor's name has `code_` before the field's."""

    input: NDArray[np.int16]  # C K D
    state: NDArray[np.int16]  # C K N E
    p1: NDArray[np.uint16]  # C K-1: that the digit is greater than k, if it is at least k


def code_sizes(sizes: dict[str, int]) -> tuple[int, int]:
    """Return how many dimensions a code has by a model's sizes, and how many digits; (0, 0) for none. Raises ModelError."""
    dimensions, digits = sizes.get("code_dimensions", 0), sizes.get("code_levels", 0)
    if dimensions and not (1 <= dimensions <= MAX_DIMENSIONS and 2 <= digits <= MAX_DIGITS):
        raise ModelError(
            f"The model claims a code of {dimensions} dimensions with {digits} digits; at most {MAX_DIMENSIONS} dimensions with "
            f"2 to {MAX_DIGITS} digits are allowed. The model file is damaged."
        )
    return (dimensions, digits) if dimensions else (0, 0)


def check_code(code: CodeArrays | None, sizes: dict[str, int]) -> None:
    """Raise ModelError unless the arrays are there exactly when the sizes say so, with their types, shapes and bounds."""
    dimensions, digits = code_sizes(sizes)
    if (code is None) != (dimensions == 0):
        raise ModelError("The model's sizes and its tables do not agree on whether it has a code; the model file is damaged.")
    if code is None:
        return
    expected: dict[str, tuple[Any, tuple[int, ...], int, int]] = {
        "input": (np.int16, (dimensions, digits, sizes["width"]), -_TABLE_MAX, _TABLE_MAX),
        "state": (np.int16, (dimensions, digits, sizes["layer_count"], sizes["state_width"]), -_TABLE_MAX, _TABLE_MAX),
        "p1": (np.uint16, (dimensions, digits - 1), 1, 65535),
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


def code_decisions(p1_CK: NDArray[np.uint16], digits_C: Code) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Return the decisions that send a code, and p1 of each: for each digit "greater than 0?", "greater than 1?", until a no.

    >>> prior = np.array([[9, 8]], np.uint16)
    >>> [part.tolist() for digit in range(3) for part in code_decisions(prior, np.array([digit]))]
    [[0], [9], [1, 0], [9, 8], [1, 1], [9, 8]]
    """
    decisions, p1 = list[int](), list[int]()
    last = p1_CK.shape[1]
    for digit, row in zip(digits_C.tolist(), p1_CK.tolist(), strict=True):
        assert 0 <= digit <= last
        decisions += [1] * digit + [0] * (digit < last)
        p1 += row[: min(digit + 1, last)]
    return np.array(decisions, np.uint8), np.array(p1, np.uint16)


def code_bits(p1_CK: NDArray[np.uint16], digits_C: Code) -> float:
    """Return the price of a code under the prior, in bits."""
    return range_coder.cost_bits(*code_decisions(p1_CK, digits_C)) if len(digits_C) else 0.0


@compiled
def read_code(state: Any, words: Any, p1_CK: Any, digits_C: Any) -> None:
    """Read the digits (int64) of a code from `words` (uint32) with the decoder's state (uint64[5])."""
    for i in range(digits_C.size):
        digit = 0
        while digit < p1_CK.shape[1] and decode_decision(state, words, p1_CK[i, digit]):
            digit += 1
        digits_C[i] = digit
