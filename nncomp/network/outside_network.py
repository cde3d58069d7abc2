"""A network that runs outside of the compiled loops, for example on a device of torch: what the loops need of it.

Mixing and coding stay in the compiled loop (`nncomp.blocks.token_loop`). When encoding, the loop takes all probabilities of the
network at once; when decoding, its frequencies step by step. Knows nothing of torch.
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
    """A network that runs elsewhere. Its weights are packed here too, for the tokens of a group when decoding."""

    def start(self, lanes: int, code: int) -> Stepping:
        """Return lanes at their first state; with the code of the block if there is one."""
        raise NotImplementedError

    def probabilities(self, ids_N: NDArray[np.int32], first_ids: NDArray[np.int64], code: int) -> NDArray[np.uint16]:
        """Return the network's p1 of all decisions of known tokens: `ids_N`, lane after lane, each lane from `first_ids` on.

        Shape (N * bits,), uint16, in the order of coding: step by step, and in each step the lanes that are not at their end.
        """
        raise NotImplementedError
