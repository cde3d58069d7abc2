"""The surprisal of tokens under the integer network alone, in bits: a report, not part of the coded path."""

# L lanes, N tokens, T steps

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nncomp.machine.kernels import compiled
from nncomp.network.code import NO_CODE
from nncomp.network.engine import Network, step, token_frequencies
from nncomp.network.state import new_scratch, new_state, no_exchange


@compiled
def _surprisal(constants: Any, state: Any, scratch: Any, alone: Any, ids_TL: Any, before: Any, bits_TL: Any) -> None:
    """Set the bits of all tokens; `before` (L int32) holds the token before the first of each lane."""
    steps, lanes = ids_TL.shape
    groups_LG, tokens = scratch.groups, scratch.tokens
    size = tokens.size
    for t in range(steps):
        step(constants, state, scratch, alone, before)
        for lane in range(lanes):
            token = ids_TL[t, lane]
            group = token // size
            token_frequencies(constants, scratch, lane, group)
            of_group = np.log2(groups_LG[lane, group] / groups_LG[lane].sum())
            bits_TL[t, lane] = -of_group - np.log2(tokens[token - group * size] / tokens.sum())
            before[lane] = token


def token_bits(network: Network, ids_N: NDArray[np.integer[Any]], lanes: int, code: int = NO_CODE) -> NDArray[np.float64]:
    """Return the bits of the tokens in `lanes` lanes of equal length, lane after lane: shape (N,), but for a few at the end.

    The network runs with the code of the block if there is one.
    """
    lanes = max(1, min(lanes, len(ids_N)))
    steps = len(ids_N) // lanes
    ids_TL = np.ascontiguousarray(ids_N[: steps * lanes].reshape(lanes, steps).T, dtype=np.int32)
    model = network.model
    state, scratch = new_state(model, lanes, code), new_scratch(model.sizes, lanes)
    before, bits_TL = np.full(lanes, model.sizes["start_token"], np.int32), np.zeros(ids_TL.shape)
    _surprisal(network.constants(lanes), state, scratch, no_exchange(), ids_TL, before, bits_TL)
    return bits_TL.T.reshape(-1)


def surprisal_bits(network: Network, ids_N: NDArray[np.integer[Any]], lanes: int, code: int = NO_CODE) -> float:
    """Return the bits of the tokens (`token_bits`), scaled to all tokens where a few remain; the byte of the code not counted."""
    bits = token_bits(network, ids_N, lanes, code)
    return float(bits.sum()) * len(ids_N) / max(1, len(bits))
