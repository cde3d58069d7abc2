"""Which codes suit a text: the sender's choice, made by trying them on the beginning of the text with the network alone.

All codes run as lanes of one batch. The few that need the fewest bits go on to more tokens. The choice changes the size of a
file, never the decoded bytes. Knows nothing of mixing.
"""

# L lanes: lane 0 has no code, lane c has code c; N tokens

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nncomp.machine.kernels import compiled
from nncomp.network.code import entry_count
from nncomp.network.engine import Network, feed, token_frequencies
from nncomp.network.state import new_scratch, new_state, no_exchange, state_of_codes

_ALL_TOKENS, _MORE_TOKENS = 12, 48  # tokens that all codes are tried on, and the few (docs/log/code.md)
_FEW = 4
_MOST_BYTES = 2048  # of a text that are looked at


class Choice(NamedTuple):
    """A code, and the bits that the network saves with it on the beginning of the text; negative where it takes more."""

    code: int
    saved_bits: float


@compiled
def _add_costs(
    constants: Any, state: Any, scratch: Any, alone: Any, ids: Any, first: int, end: int, lanes: Any, before: Any, bits: Any
) -> None:
    """Feed the tokens from `first` to `end` to some lanes (int64), and add what each needs for them to `bits`, shape (L,).

    `ids` has the token before the first one, then the tokens; `before` (int32) is scratch, one a lane.
    """
    size = scratch.tokens.size
    for t in range(first, end):
        for i in range(lanes.size):
            before[i] = ids[t]
        feed(constants, state, scratch, alone, before, lanes, np.uint64(0))
        token = ids[t + 1]
        group = token // size
        for i in range(lanes.size):
            token_frequencies(constants, scratch, i, group)
            bits[lanes[i]] -= np.log2(scratch.groups[i, group] / scratch.groups[i].sum())
            bits[lanes[i]] -= np.log2(scratch.tokens[token - group * size] / scratch.tokens.sum())


def likely_codes(network: Network, data: bytes) -> list[Choice]:
    """Return the codes that suit a text best, the best one first; an empty list for a model without codes."""
    model = network.model
    entries = entry_count(model.sizes)
    ids = np.ascontiguousarray(model.vocabulary.encode(data[:_MOST_BYTES])[:_MORE_TOKENS], np.int32)
    if not entries or not len(ids):
        return []
    state, scratch = new_state(model, entries + 1), new_scratch(model.sizes, entries + 1)
    state_of_codes(model, state, range(entries + 1))
    known = np.concatenate([[model.sizes["start_token"]], ids]).astype(np.int32)
    bits, seen, constants = np.zeros(entries + 1), min(_ALL_TOKENS, len(ids)), network.constants(entries + 1)

    def go_on(lanes: NDArray[np.int64], first: int, end: int) -> None:
        _add_costs(constants, state, scratch, no_exchange(), known, first, end, lanes, np.zeros(len(lanes), np.int32), bits)

    go_on(np.arange(entries + 1), 0, seen)
    few = 1 + np.argsort(bits[1:], kind="stable")[:_FEW]
    go_on(np.concatenate([[0], few]), seen, len(ids))
    return [Choice(int(code), float(bits[0] - bits[code])) for code in few[np.argsort(bits[few], kind="stable")]]
