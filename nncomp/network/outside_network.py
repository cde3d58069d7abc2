"""A network that runs outside of the compiled loops: what those need of it, and how one is made for a device.

Mixing and coding stay in the compiled loop (`nncomp.blocks.token_loop`). It takes the network's probabilities, if the tokens are
known, or else its frequencies step by step. Knows nothing of torch but that it may be missing.
"""

# L lanes, N tokens, G groups, D width

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nncomp.network.engine import Network


class Stepping(Protocol):
    """Lanes of the network that advance in step: the interface of ReferenceEngine, and as exact."""

    @property
    def hidden(self) -> NDArray[np.integer[Any]]:
        """What the tokens of a group are predicted from, after the last step, shape (L, D), within +-127."""

    def step(self, tokens_L: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """Feed one token to each lane; return the frequencies of the groups of the next, shape (L, G), int64."""


class OutsideNetwork(Network):
    """A model whose network runs elsewhere; also packed, for the tokens of a group are still predicted here when decoding."""

    def start(self, lanes: int, digits_C: NDArray[np.int64]) -> Stepping:
        """Return lanes at their first state, told a code if there are levels of one."""
        raise NotImplementedError

    def probabilities(
        self, ids_N: NDArray[np.int32], first_ids: NDArray[np.int64], digits_C: NDArray[np.int64]
    ) -> NDArray[np.uint16]:
        """Return the network's p1 of all decisions of known tokens, lane after lane in `ids_N`, each lane's from `first_ids` on.

        Shape (N * bits,), uint16, in the order of coding: step by step, in each the lanes that are not at their end.
        """
        raise NotImplementedError
