"""The likeliest next tokens under the integer network alone, at every token of a text: a report, not part of the coded path."""

# K alternatives, G groups, N tokens, S tokens a group

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nncomp.machine.kernels import compiled
from nncomp.network.engine import Network, new_buffers, step, token_frequencies


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
    product: Any, packed: Any, a: Any, b: Any, ids_N: Any, start_token: int, ids_NK: Any, probabilities_NK: Any, actual_N: Any
) -> None:
    size, groups = b.tokens.size, b.groups.shape[1]
    before = np.full(1, start_token, np.int32)
    for n in range(ids_N.size):
        step(product, packed, a, b, before)
        total = np.float64(b.groups[0].sum())
        order = np.argsort(-b.groups[0], kind="mergesort")
        for rank in range(groups):
            group = order[rank]
            share = b.groups[0, group] / total
            if share <= probabilities_NK[n, -1]:  # no token of this or a later group is likelier than the last of the list
                break
            token_frequencies(product, packed, a, b, 0, group)
            scale = share / b.tokens.sum()
            for i in range(size):
                _insert(ids_NK[n], probabilities_NK[n], group * size + i, b.tokens[i] * scale)
        token = ids_N[n]
        group = token // size
        token_frequencies(product, packed, a, b, 0, group)
        actual_N[n] = b.groups[0, group] / total * (b.tokens[token - group * size] / b.tokens.sum())
        before[0] = token


def likeliest(
    model: Network, ids_N: NDArray[np.int32], count: int, digits_C: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.float64]]:
    """Return the `count` likeliest tokens before each of the given ones and their probabilities, both (N, K), and those of
    the given ones, (N,). One lane, told a code of these levels if any; the probabilities are those of the groups and of the
    tokens in them, multiplied.
    """
    assert 0 < count <= model.model.sizes["vocab_size"]
    ids_NK = np.zeros((len(ids_N), count), np.int32)
    probabilities_NK, actual_N = np.zeros((len(ids_N), count)), np.zeros(len(ids_N))
    ids_N = np.ascontiguousarray(ids_N, np.int32)
    buffers, start = new_buffers(model.model, 1, digits_C), model.model.sizes["start_token"]
    _likeliest(model.product, model.packed, model.arrays, buffers, ids_N, start, ids_NK, probabilities_NK, actual_N)
    return ids_NK, probabilities_NK, actual_N
