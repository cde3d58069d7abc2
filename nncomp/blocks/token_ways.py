"""The ways in which one or two threads feed the networks of a block of tokens: which stages, and of which halves, each has.

All ways give the same integers. Which is the quickest depends on lanes, processor and model (`nncomp.blocks.token_threads`).
"""

# L lanes, R rows fed at once

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nncomp.blocks.token_loop import Fed, Rows, new_rows
from nncomp.network.code import NO_CODE
from nncomp.network.engine import Network, layer_weights
from nncomp.network.halves import halves
from nncomp.network.state import Exchange, State, new_pipelines, new_scratch, new_state, no_exchange

_HALVED_BYTES = 4096  # of a block: from there on halving the network pays
_HALVED_LANES = 2  # so many lanes at most: with more, each step reads the weights for enough tokens
_LEAD_LAYERS = 1  # that a thread feeds alone before the halves, while the other one feeds the second network
_LARGE_WEIGHTS = 1 << 20  # of a network: a smaller one stays in the cache of one core
_TRIED_BYTES = 1 << 18  # of a block: a shorter one tries no more than one way to share the stages
_AHEAD_KNOWN, _AHEAD = 8, 2  # feeds of a thread ahead of the one that mixes: of known tokens, and when decoding


class Part(NamedTuple):
    """What one thread runs: its part of each network. Where there is no second network, the first one stands in its place."""

    lead: Fed  # the first layers of the first network, whole; no stage of it where the rest is whole, too
    first: Fed
    second: Fed
    rows: Rows
    own: tuple[tuple[State, State], ...] = ()  # states of its own, and views of what they are in those of the whole networks
    kept: Any = None  # what `constants.packed` points into

    @property
    def fed(self) -> tuple[Fed, Fed, Fed]:
        """All parts of networks."""
        return self.lead, self.first, self.second


class Way(NamedTuple):
    """A way to code: with one part, or with two, of which the first one mixes."""

    parts: list[Part]
    ahead: int = 1  # see `token_loop.Turns`


def with_codes(network: Network, code: int) -> list[tuple[Any, int]]:
    """Return each network with the code that its lanes begin with: the block's for the first one, none for the second."""
    return list(zip(network.all, (code, NO_CODE), strict=False))


def first_states(network: Network, lanes: int, code: int) -> tuple[State, ...]:
    """Return the states that the lanes of each network begin with."""
    return tuple(new_state(each.model, lanes, own) for each, own in with_codes(network, code))


def whole_part(network: Network, states: tuple[State, ...], lanes: int, rows: int) -> Part:
    """Return a part that has the whole networks and feeds so many rows."""
    pairs = zip(network.all, states, strict=True)
    fed = [Fed(each.constants(rows), state, new_scratch(each.model.sizes, rows), no_exchange()) for each, state in pairs]
    return Part(no_lead(fed[0]), fed[0], fed[-1], rows_of(network, lanes, rows))


def no_lead(first: Fed) -> Fed:
    """Return a lead without a stage."""
    return first._replace(exchange=no_exchange()._replace(end=np.int64(0)))


def rows_of(network: Network, lanes: int, rows: int) -> Rows:
    """Return scratch of one thread for so many rows of a block of so many lanes."""
    groups, vocab_size = network.model.sizes["group_count"], network.model.sizes["vocab_size"]
    return new_rows(lanes, rows, groups, vocab_size // groups)


def pipelines(
    network: Network, states: tuple[State, ...], lanes: int, rows: int, raw_bytes: int, is_known: bool = True
) -> list[Way]:
    """Return the ways in which two threads share the stages that are worth a try; of a short block one in the middle.

    One of them leaves no stage to the thread that mixes; of a second network it has none.
    """
    mixes, feeds = (whole_part(network, states, lanes, rows) for _ in range(2))
    ahead = _AHEAD_KNOWN if is_known else _AHEAD
    of_each = [new_pipelines(each.model.sizes, rows, ahead, is_known) for each in network.all]
    cuts = of_each[0] if raw_bytes >= _TRIED_BYTES else [of_each[0][len(of_each[0]) // 2]]
    return [
        Way([_exchanging(part, pair[k], of_each[-1][-1][k]) for k, part in enumerate((mixes, feeds))], ahead) for pair in cuts
    ]


def _exchanging(part: Part, of_first: Exchange, of_second: Exchange) -> Part:
    return part._replace(first=part.first._replace(exchange=of_first), second=part.second._replace(exchange=of_second))


def is_large(network: Network) -> bool:
    """Return whether a step of one row waits for the network's weights."""
    return sum(weight.size for weight in layer_weights(network.model.arrays)) >= _LARGE_WEIGHTS


def in_halves(network: Network, states: tuple[State, ...], lanes: int, raw_bytes: int) -> list[Way]:
    """Return the way in which each of two threads has half of the network; none for a block too small to gain by it.

    With a second network, the thread that mixes begins with whole layers, and the other one with the second network.
    """
    both = halves(network, lanes) if raw_bytes >= _HALVED_BYTES and lanes <= _HALVED_LANES and is_large(network) else []
    if not both:
        return []
    skipped = _LEAD_LAYERS if network.second else 0
    whole, passed = whole_part(network, states, lanes, lanes), new_pipelines(network.model.sizes, lanes, _AHEAD, False)[0][0]
    of_second = new_pipelines(network.all[-1].model.sizes, lanes, _AHEAD, False)[-1]
    parts = list[Part]()
    for number, half in enumerate(both):
        lead, exchange, scratch = whole.lead, half.exchange._replace(first=np.int64(2 * skipped)), half.scratch
        if number == 1:
            exchange = exchange._replace(fed=passed.fed, passed=passed.passed)
        elif skipped:
            lead = whole.first._replace(exchange=passed._replace(first=np.int64(0), end=np.int64(2 * skipped)))
            scratch = scratch._replace(x=lead.scratch.x)  # where the lead leaves the residual stream
        first = Fed(half.constants, half.state, scratch, exchange)
        second = whole.second._replace(exchange=of_second[number]) if network.second else first
        own = _from_layer(half.state, skipped, slice(None)), _from_layer(states[0], skipped, half.places)
        parts.append(Part(lead, first, second, rows_of(network, lanes, lanes), (own,), half.kept))
    return [Way(parts)]


def _from_layer(state: State, first: int, places: slice) -> State:
    """Return views of a state from a layer on, in these places; of the code only if that is the very first layer."""
    return State(state.h[first:, :, places], state.before[first:], state.code if first == 0 else state.code[:0])


def hand_over(last: Way, way: Way) -> None:
    """Let one way go on where another one has ended. States of their own are copied to those of the whole networks, and back."""
    way.parts[0].rows.walk[:] = last.parts[0].rows.walk
    if last is way:
        return
    for each in (last, way):
        for own, of_whole in (pair for part in each.parts for pair in part.own):
            there, here = (of_whole, own) if each is last else (own, of_whole)
            for name in State._fields:
                getattr(there, name)[:] = getattr(here, name)
