"""The compiled loops of the network, with the interface of the reference: what tests compare."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nncomp.network.code import NO_CODE
from nncomp.network.engine import Network, step, token_frequencies
from nncomp.network.state import new_scratch, new_state, no_exchange


class FastEngine:
    """L lanes of the network; the interface of ReferenceEngine."""

    def __init__(self, network: Network, lanes: int, code: int = NO_CODE) -> None:
        self.network = network  # which keeps the packed weights alive
        self.constants = network.constants(lanes)
        self.state, self.scratch = new_state(network.model, lanes, code), new_scratch(network.model.sizes, lanes)

    def step(self, tokens_L: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """Feed one token to each lane; return the frequencies of the groups of the next, shape (L, G), int64."""
        step(self.constants, self.state, self.scratch, no_exchange(), np.ascontiguousarray(tokens_L, dtype=np.int32))
        return self.scratch.groups.copy()

    def token_frequencies(self, lane: int, group: int) -> NDArray[np.int64]:
        """Return the frequencies of the tokens of one group after the last step, shape (S,), int64."""
        token_frequencies(self.constants, self.scratch, lane, group)
        return self.scratch.tokens.copy()
