"""The table of codes of a model: what the code of a block adds to the network.

A code is the number of an entry of the table, from 1; 0 is no code. An entry has the state that each lane starts from and what is
added to the input of the lane's first token. What is added *fades*: to the input of each further token, less is added. The
*encoder* says which codes may suit a text; only a sender asks it (`nncomp.blocks.code_choice`). Only a model for which entries
were learned has the table. docs/FORMAT.md, "Code", has the bounds.
"""

# K entries, D width, N layers, E state width

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nncomp.errors import ModelError

NO_CODE = 0
MAX_ENTRIES = 255
STEPS_BITS = 12  # fraction bits of the table
STEPS_MAX = (1 << 15) - 1
_STATE_STEPS_SHIFT = 8  # h has 20 fraction bits
INPUT_SHIFT = 16  # what is added has so many more fraction bits than the residual stream
FADE_SHIFT = 8  # with each token, what is added loses 1 / 2**8 of itself


class CodeTable(NamedTuple):
    """The table, C-contiguous; a tensor's name has `code_` before the field's. Code c has the entry c - 1."""

    input: NDArray[np.int16]  # K D, added to the input of the first token; |input| <= 32767
    state: NDArray[np.int16]  # K N E, what h starts from; |state| <= 32767
    encoder: NDArray[np.int16]  # K D, by code: how much each part of a token's embedding speaks for it; |encoder| <= 32767


def entry_count(sizes: dict[str, int]) -> int:
    """Return how many entries the table has by a model's sizes, 0 for a model without a table. Raises ModelError."""
    count = sizes.get("code_entries", 0)
    if not 0 <= count <= MAX_ENTRIES:
        raise ModelError(
            f"The model claims a table of {count} codes; at most {MAX_ENTRIES} are allowed. The model file is damaged."
        )
    return count


def check_code(code: CodeTable | None, sizes: dict[str, int]) -> None:
    """Raise ModelError unless the table is there exactly when the sizes say so, with its types, shapes and bounds."""
    entries = entry_count(sizes)
    if (code is None) != (entries == 0):
        raise ModelError("The model's sizes and its tables do not agree on whether it has codes; the model file is damaged.")
    if code is None:
        return
    expected: dict[str, tuple[int, ...]] = {
        "input": (entries, sizes["width"]),
        "state": (entries, sizes["layer_count"], sizes["state_width"]),
        "encoder": (entries, sizes["width"]),
    }
    for name, shape in expected.items():
        array = getattr(code, name)
        if array.dtype != np.int16 or array.shape != shape:
            raise ModelError(
                f"The model's array code_{name} is {array.dtype} {array.shape}, not int16 {shape}; the model file is damaged."
            )
        if array.min() < -STEPS_MAX:
            raise ModelError(
                f"The model's array code_{name} leaves its bounds {-STEPS_MAX}..{STEPS_MAX}; the model file is damaged."
            )


def code_table(tensors: dict[str, NDArray[Any]], sizes: dict[str, int]) -> CodeTable | None:
    """Return the table among a model's tensors, unchecked, or None for a model without; raises KeyError."""
    if not entry_count(sizes):
        return None
    return CodeTable(*(tensors[f"code_{name}"] for name in CodeTable._fields))


def code_input(table: CodeTable, code: int) -> NDArray[np.int64]:
    """Return what a code (1 to K) adds to the input of the first token, shape (D,), int64, INPUT_SHIFT bits finer. < 2**31."""
    result: NDArray[np.int64] = table.input[code - 1].astype(np.int64) << INPUT_SHIFT
    return result


def code_state(table: CodeTable, code: int) -> NDArray[np.int64]:
    """Return the state h of all layers that each lane starts from with a code (1 to K), shape (N, E), int64. |state| < 2**23."""
    result: NDArray[np.int64] = table.state[code - 1].astype(np.int64) << _STATE_STEPS_SHIFT
    return result


def named_codes(table: CodeTable, rows_ND: NDArray[np.int8]) -> list[int]:
    """Return all codes, the one first that the encoder thinks the likeliest by the embedding of a text's tokens.

    Integers, so that every machine writes the same file. |score| <= N * 4096 * 2**15 * 2**7.
    """
    scores_K = table.encoder.astype(np.int64) @ rows_ND.sum(0, dtype=np.int64)
    codes: list[int] = (1 + np.argsort(-scores_K, kind="stable")).tolist()
    return codes
