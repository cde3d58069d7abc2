"""The likeliest next tokens under the integer network alone, at every token of a text: a report, not part of the coded path."""

# K alternatives, G groups, N tokens, S tokens a group

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nncomp.machine.kernels import compiled, inlined
from nncomp.network.code import NO_CODE
from nncomp.network.engine import Network, step, token_frequencies
from nncomp.network.state import new_scratch, new_state, no_exchange


@inlined
def _insert(ids_K: Any, probabilities_K: Any, token: int, probability: float) -> None:
    """Put a token into a list ordered by probability, if it belongs there; of equals the earlier one stays first."""
    at = ids_K.size
    while at > 0 and probability > probabilities_K[at - 1]:
        at -= 1
    for i in range(ids_K.size - 1, at, -1):
        ids_K[i], probabilities_K[i] = ids_K[i - 1], probabilities_K[i - 1]
    if at < ids_K.size:
        ids_K[at], probabilities_K[at] = token, probability


class _Found(NamedTuple):
    """What is found at each token, and scratch."""

    ids: Any  # N K int32, the likeliest tokens
    probabilities: Any  # N K float64
    actual: Any  # N float64, the probability of the token that is there
    before: Any  # 1 int32, the token before, at first the start token
    left: Any  # G int64, scratch: the frequencies of the groups that were not looked at


@compiled
def _likeliest(constants: Any, state: Any, scratch: Any, alone: Any, ids_N: Any, found: Any) -> None:
    ids_NK, probabilities_NK, actual_N, before, left = found.ids, found.probabilities, found.actual, found.before, found.left
    tokens, frequencies = scratch.tokens, scratch.groups[0]
    size, groups = tokens.size, frequencies.size
    for n in range(ids_N.size):
        step(constants, state, scratch, alone, before)
        total = np.float64(frequencies.sum())
        for i in range(groups):
            left[i] = frequencies[i]
        for _ in range(groups):
            group = 0  # the likeliest that is left; of equals the first
            for i in range(1, groups):
                if left[i] > left[group]:
                    group = i
            left[group] = -1
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
    state, scratch, before = new_state(model, 1, code), new_scratch(model.sizes, 1), model.sizes["start_token"]
    left = np.zeros(model.sizes["group_count"], np.int64)
    found = _Found(ids_NK, probabilities_NK, actual_N, np.full(1, before, np.int32), left)
    _likeliest(network.constants(1), state, scratch, no_exchange(), ids_N, found)
    return ids_NK, probabilities_NK, actual_N
