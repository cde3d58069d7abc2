"""Which codes suit a text: the sender's choice, by the encoder and by trying a few of them with the network alone.

The encoder names codes by the first tokens. The likeliest few are tried on them, and no code. The choice changes the size of a
file, never the decoded bytes.
"""

# C codes that are tried, each in a lane of its own; N tokens

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nncomp import range_coder
from nncomp.blocks.token_loop import Fed, Turns, run
from nncomp.blocks.token_threads import ROWS, Begin, shared_of
from nncomp.blocks.token_ways import no_lead, rows_of
from nncomp.format.numbers import MIN_LINES_LOG2
from nncomp.machine.turns import FOREVER, sleep_address
from nncomp.mixing.token_predictor import TokenMixing
from nncomp.mixing.token_start import new_mixing
from nncomp.network.code import NO_CODE, named_codes
from nncomp.network.engine import Network
from nncomp.network.state import new_pipelines, new_scratch, new_state, state_of_codes

_TOKENS = 48  # of a text that are looked at (docs/log/code.md)
_MOST_BYTES = 512  # of a text: they nearly always have so many tokens


class Choice(NamedTuple):
    """A code, and the bits that the network saves with it on the beginning of the text; negative where it takes more."""

    code: int
    saved_bits: float


_unused_mixing: list[TokenMixing] = []  # one, when it is first needed


def _no_mixing(start: dict[str, NDArray[Any]], networks: int) -> TokenMixing:
    """Return mixing of one lane and one network, which the kernel takes and does not touch: so any start values will do."""
    if not _unused_mixing:
        mixing = new_mixing(1, np.array([0, 1]), 1 << MIN_LINES_LOG2, start, networks)
        one = mixing.constants._replace(networks=np.int64(1))  # a second one has no codes
        _unused_mixing.append(mixing._replace(constants=one))
    return _unused_mixing[0]


def code_bits(
    network: Network, start: dict[str, NDArray[Any]], ids_N: NDArray[np.integer[Any]], codes: Sequence[int]
) -> NDArray[np.float64]:
    """Return the bits that the network alone needs for each token of a text with each of some codes, shape (N, C).

    `start` are the start values of mixing. Nothing is mixed: this is what the thread does in `token_loop` that only feeds.
    """
    model, lanes, count = network.model, len(codes), len(ids_N) * len(codes)
    rows, bits = min(ROWS, count), model.vocabulary.bits
    turns = -(-count // rows)
    mixing = _no_mixing(start, model.networks)
    ids, first_ids = np.tile(np.asarray(ids_N, np.int32), lanes), np.arange(lanes + 1) * len(ids_N)
    shared = shared_of(network, mixing, np.zeros(1, np.uint8), Begin())
    shared = shared._replace(ids=ids, first_ids=first_ids, is_outside=False)
    state, (_, exchange) = new_state(model, lanes), new_pipelines(model.sizes, rows, turns, is_known=True)[-1]
    state_of_codes(model, state, codes)
    fed = Fed(network.constants(rows), state, new_scratch(model.sizes, rows), exchange)
    span, turn = np.array([0, turns]), np.full(1, FOREVER)
    run(
        no_lead(fed),
        fed,
        fed,
        mixing,
        shared,
        Turns(turn, False, 1, span, sleep_address()),
        rows_of(network, lanes, rows),
    )
    p1 = exchange.known.reshape(-1)[: count * bits]
    decisions = np.repeat(np.asarray(ids_N, np.int64), lanes)[:, None] >> np.arange(bits)[::-1] & 1
    return range_coder.costs_bits(decisions.astype(np.uint8).reshape(-1), p1, bits).reshape(-1, lanes)


def likely_codes(network: Network, start: dict[str, NDArray[Any]], data: bytes, tried: int) -> list[Choice]:
    """Return the codes that were tried, the best one first; an empty list for a model without codes. `start` as above."""
    model = network.model
    ids = model.vocabulary.encode(data[:_MOST_BYTES])[:_TOKENS]
    if model.code is None or not len(ids):
        return []
    few = named_codes(model.code, model.arrays.embedding[ids])[:tried]
    none, *bits = code_bits(network, start, ids, [NO_CODE, *few]).sum(0).tolist()
    found = [Choice(code, none - each) for code, each in zip(few, bits, strict=True)]
    return sorted(found, key=lambda choice: -choice.saved_bits)
