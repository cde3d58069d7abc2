"""Which codes suit a text: the sender's choice, by the encoder and by trying a few of them with the network alone.

The encoder names codes by the first tokens. The likeliest few are tried on them, and no code. The choice changes the size of a
file, never the decoded bytes. Knows nothing of mixing.
"""

# C codes that are tried, each in a lane of its own; N tokens

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nncomp.machine.kernels import compiled
from nncomp.network.code import NO_CODE, named_codes
from nncomp.network.engine import Network, feed, token_frequencies
from nncomp.network.state import new_scratch, new_state, no_exchange, state_of_codes

_TOKENS = 48  # of a text that are looked at (docs/log/code.md)
_MOST_BYTES = 512  # of a text: they nearly always have so many tokens


class Choice(NamedTuple):
    """A code, and the bits that the network saves with it on the beginning of the text; negative where it takes more."""

    code: int
    saved_bits: float


@compiled
def _costs(constants: Any, state: Any, scratch: Any, alone: Any, ids: Any, before: Any, bits: Any) -> None:
    """Set `bits`, shape (N, C), to what each lane needs for each token.

    `ids` has the token before the first one, then the tokens; `before` (int32) is scratch, one a lane.
    """
    size, lanes = scratch.tokens.size, before.size
    for t in range(ids.size - 1):
        for i in range(lanes):
            before[i] = ids[t]
        feed(constants, state, scratch, alone, before, scratch.rows, np.uint64(0))
        token = ids[t + 1]
        group = token // size
        for i in range(lanes):
            token_frequencies(constants, scratch, i, group)
            share = scratch.groups[i, group] / scratch.groups[i].sum()
            bits[t, i] = -np.log2(share) - np.log2(scratch.tokens[token - group * size] / scratch.tokens.sum())


def code_bits(network: Network, ids_N: NDArray[np.integer[Any]], codes: Sequence[int]) -> NDArray[np.float64]:
    """Return the bits that the network alone needs for each token of a text with each of some codes, shape (N, C)."""
    model, lanes = network.model, len(codes)
    state, scratch = new_state(model, lanes), new_scratch(model.sizes, lanes)
    state_of_codes(model, state, codes)
    known, bits = np.concatenate([[model.sizes["start_token"]], ids_N]).astype(np.int32), np.zeros((len(ids_N), lanes))
    _costs(network.constants(lanes), state, scratch, no_exchange(), known, np.zeros(lanes, np.int32), bits)
    return bits


def likely_codes(network: Network, data: bytes, tried: int) -> list[Choice]:
    """Return the codes that were tried, the best one first; an empty list for a model without codes."""
    model = network.model
    ids = model.vocabulary.encode(data[:_MOST_BYTES])[:_TOKENS]
    if model.code is None or not len(ids):
        return []
    few = named_codes(model.code, model.arrays.embedding[ids])[:tried]
    none, *bits = code_bits(network, ids, [NO_CODE, *few]).sum(0).tolist()
    found = [Choice(code, none - each) for code, each in zip(few, bits, strict=True)]
    return sorted(found, key=lambda choice: -choice.saved_bits)
