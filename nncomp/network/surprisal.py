"""The surprisal of tokens under the integer network alone, in bits: a report, not part of the coded path."""

# L lanes, N tokens

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nncomp.machine.kernels import compiled
from nncomp.network.engine import Network, new_buffers, step, token_frequencies


@compiled
def _surprisal(product: Any, packed: Any, a: Any, b: Any, ids_TL: Any, start_token: int) -> float:
    steps, lanes = ids_TL.shape
    size = b.tokens.size
    before = np.full(lanes, start_token, np.int32)
    bits = 0.0
    for t in range(steps):
        step(product, packed, a, b, before)
        for lane in range(lanes):
            token = ids_TL[t, lane]
            group = token // size
            token_frequencies(product, packed, a, b, lane, group)
            bits -= np.log2(b.groups[lane, group] / b.groups[lane].sum())
            bits -= np.log2(b.tokens[token - group * size] / b.tokens.sum())
            before[lane] = token
    return bits


def surprisal_bits(
    model: Network, ids_N: NDArray[np.integer[Any]], lanes: int, digits_C: NDArray[np.int64] | None = None
) -> float:
    """Return the bits of the tokens, cut into `lanes` contiguous lanes; a remainder is scaled to the whole.

    The lanes are told the code of these levels, if given; its own bits are not counted.
    """
    lanes = max(1, min(lanes, len(ids_N)))
    steps = len(ids_N) // lanes
    ids_TL = np.ascontiguousarray(ids_N[: steps * lanes].reshape(lanes, steps).T, dtype=np.int32)
    buffers, start = new_buffers(model.model, lanes, digits_C), model.model.sizes["start_token"]
    bits = _surprisal(model.product, model.packed, model.arrays, buffers, ids_TL, start)
    return float(bits) * len(ids_N) / max(1, ids_TL.size)
