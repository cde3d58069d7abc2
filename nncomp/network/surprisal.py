"""The surprisal of tokens under the integer network alone, in bits: a report, not part of the coded path."""

# L lanes, N tokens

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nncomp.machine.kernels import compiled
from nncomp.network.code import NO_CODE
from nncomp.network.engine import Network, step, token_frequencies
from nncomp.network.state import new_scratch, new_state


@compiled
def _surprisal(constants: Any, state: Any, scratch: Any, ids_TL: Any, start_token: int) -> float:
    steps, lanes = ids_TL.shape
    groups_LG, tokens = scratch.groups, scratch.tokens
    size = tokens.size
    before = np.full(lanes, start_token, np.int32)
    bits = 0.0
    for t in range(steps):
        step(constants, state, scratch, before)
        for lane in range(lanes):
            token = ids_TL[t, lane]
            group = token // size
            token_frequencies(constants, scratch, lane, group)
            bits -= np.log2(groups_LG[lane, group] / groups_LG[lane].sum())
            bits -= np.log2(tokens[token - group * size] / tokens.sum())
            before[lane] = token
    return bits


def surprisal_bits(network: Network, ids_N: NDArray[np.integer[Any]], lanes: int, code: int = NO_CODE) -> float:
    """Return the bits of the tokens in `lanes` lanes of equal length, scaled to all tokens where a few remain.

    The network runs with the code of the block if there is one; the byte of the code is not counted.
    """
    lanes = max(1, min(lanes, len(ids_N)))
    steps = len(ids_N) // lanes
    ids_TL = np.ascontiguousarray(ids_N[: steps * lanes].reshape(lanes, steps).T, dtype=np.int32)
    model = network.model
    state, scratch = new_state(model, lanes, code), new_scratch(model.sizes, lanes)
    bits = _surprisal(network.constants, state, scratch, ids_TL, model.sizes["start_token"])
    return float(bits) * len(ids_N) / max(1, ids_TL.size)
