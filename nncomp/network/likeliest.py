"""The likeliest next tokens under the integer network alone, at every token of a text: a report, not part of the coded path."""

# K alternatives, G groups, N tokens, S tokens a group

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nncomp.machine.kernels import compiled
from nncomp.network.code import NO_CODE
from nncomp.network.engine import Network, step, token_frequencies
from nncomp.network.state import new_scratch, new_state


@compiled
def _insert(ids_K: Any, probabilities_K: Any, token: int, probability: float) -> None:
    """Put a token into a list ordered by probability, if it belongs there; of equals the earlier one stays first."""
    at = ids_K.size
    while at > 0 and probability > probabilities_K[at - 1]:
        at -= 1
    for i in range(ids_K.size - 1, at, -1):
        ids_K[i], probabilities_K[i] = ids_K[i - 1], probabilities_K[i - 1]
    if at < ids_K.size:
        ids_K[at], probabilities_K[at] = token, probability


@compiled
def _likeliest(
    constants: Any, state: Any, scratch: Any, ids_N: Any, start_token: int, ids_NK: Any, probabilities_NK: Any, actual_N: Any
) -> None:
    tokens, frequencies = scratch.tokens, scratch.groups[0]
    size, groups = tokens.size, frequencies.size
    before = np.full(1, start_token, np.int32)
    for n in range(ids_N.size):
        step(constants, state, scratch, before)
        total = np.float64(frequencies.sum())
        order = np.argsort(-frequencies, kind="mergesort")
        for rank in range(groups):
            group = order[rank]
            share = frequencies[group] / total
            if share <= probabilities_NK[n, -1]:  # no token of this or a later group is likelier than the last of the list
                break
            token_frequencies(constants, scratch, 0, group)
            scale = share / tokens.sum()
            for i in range(size):
                _insert(ids_NK[n], probabilities_NK[n], group * size + i, tokens[i] * scale)
        token = ids_N[n]
        group = token // size
        token_frequencies(constants, scratch, 0, group)
        actual_N[n] = frequencies[group] / total * (tokens[token - group * size] / tokens.sum())
        before[0] = token


def likeliest(
    network: Network, ids_N: NDArray[np.int32], count: int, code: int = NO_CODE
) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.float64]]:
    """Return, for the place of each token, the `count` likeliest tokens and their probabilities, both (N, K); and the
    probability of the token that is there, (N,). The network runs in one lane, with the code of the block if there is one. The
    probability of a token is that of its group times that within the group.
    """
    model = network.model
    assert 0 < count <= model.sizes["vocab_size"]
    ids_NK = np.zeros((len(ids_N), count), np.int32)
    probabilities_NK, actual_N = np.zeros((len(ids_N), count)), np.zeros(len(ids_N))
    ids_N = np.ascontiguousarray(ids_N, np.int32)
    state, scratch, start = new_state(model, 1, code), new_scratch(model.sizes, 1), model.sizes["start_token"]
    _likeliest(network.constants, state, scratch, ids_N, start, ids_NK, probabilities_NK, actual_N)
    return ids_NK, probabilities_NK, actual_N
