"""A code z as decisions of the range coder, before those of a block's tokens: its price is what the prior says.

Knows nothing of what the code means to the network, nor of who finds it.
"""

# C dimensions of the code, K levels

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nncomp import range_coder
from nncomp.machine.kernels import compiled
from nncomp.range_coder import decode_decision

Code = NDArray[np.int64]  # C, each 0 to K - 1
NO_CODE: Code = np.zeros(0, np.int64)
NO_PRIOR = np.zeros((0, 0), np.uint16)


def code_decisions(p1_CK: NDArray[np.uint16], digits_C: Code) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Return the decisions that say a code, and p1 of each: for each dimension "greater than 0?", "than 1?", until a no.

    >>> prior = np.array([[9, 8]], np.uint16)
    >>> [part.tolist() for level in range(3) for part in code_decisions(prior, np.array([level]))]
    [[0], [9], [1, 0], [9, 8], [1, 1], [9, 8]]
    """
    decisions, p1 = list[int](), list[int]()
    last = p1_CK.shape[1]
    for level, row in zip(digits_C.tolist(), p1_CK.tolist(), strict=True):
        assert 0 <= level <= last
        decisions += [1] * level + [0] * (level < last)
        p1 += row[: min(level + 1, last)]
    return np.array(decisions, np.uint8), np.array(p1, np.uint16)


def code_bits(p1_CK: NDArray[np.uint16], digits_C: Code) -> float:
    """Return the price of a code under the prior, in bits."""
    return range_coder.cost_bits(*code_decisions(p1_CK, digits_C)) if len(digits_C) else 0.0


@compiled
def read_code(state: Any, words: Any, p1_CK: Any, digits_C: Any) -> None:
    """Read the levels (int64) of a code from `words` (uint32) with the decoder's state (uint64[5])."""
    for i in range(digits_C.size):
        level = 0
        while level < p1_CK.shape[1] and decode_decision(state, words, p1_CK[i, level]):
            level += 1
        digits_C[i] = level
