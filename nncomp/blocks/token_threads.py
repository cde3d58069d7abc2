"""The threads of a block of tokens: two at most, which take turns (`nncomp.blocks.token_loop`), and come to the same as one.

Encoding, they take every second batch of known tokens. Decoding, each has half of the lanes, or half of the network where there
is one lane. Then they wait for each other several times a token, and where something else wants their cores they may be slower
than one of them alone; so decoding goes in spells, timed, of whichever is the quicker. Knows nothing of payloads.
"""

# L lanes, N tokens of the block

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nncomp.blocks.token_loop import FAILED, LEFT, STEPS, TOKENS, WRONG, Shared, run
from nncomp.machine import watch
from nncomp.machine.turns import FOREVER, yield_address
from nncomp.mixing.token_predictor import TokenMixing
from nncomp.network.code import Code
from nncomp.network.engine import Buffers, Network, layer_weights, new_buffers
from nncomp.network.halves import halves
from nncomp.network.known_tokens import ROWS
from nncomp.network.outside_network import OutsideNetwork

_HALVED_BYTES = 4096  # of a lane from which on it pays to halve the network, and
_HALVED_WEIGHTS = 1 << 20  # of the network: what is smaller stays in the cache of one core
_SPELL_TOKENS, _TRIAL_TOKENS = 2048, 256  # that one thread or two decode before the choice is looked at; and when one is tried
_FEWEST_SPELLS, _MOST_SPELLS = 4, 32  # from one trial of the slower to the next: twice as many each time
_SLOWER = 1.5  # than it was: a reason to try the other at once


class _Part(NamedTuple):
    """What a thread runs: a network or half of one, some of the lanes."""

    packed: Any
    arrays: Any
    buffers: Buffers
    lanes: slice
    states: slice  # of the whole network's
    kept: Any = None  # `packed` points into it


def encode(
    model: Network,
    mixing: TokenMixing,
    data: NDArray[np.uint8],
    ids: NDArray[np.int32],
    first_ids: NDArray[np.int64],
    code: Code,
    threads: int,
) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Return the decisions of known tokens and their p1, both shape (N * bits,), in the order of coding."""
    decisions = np.zeros(len(ids) * model.model.vocabulary.bits, np.uint8)
    p1, no_words = np.zeros(len(decisions), np.uint16), np.zeros(0, np.uint32)
    outside = isinstance(model, OutsideNetwork)
    network = model.probabilities(ids, first_ids, code) if isinstance(model, OutsideNetwork) else np.zeros(0, np.uint16)
    shared = _shared(model, mixing, data, ids, first_ids, no_words, np.zeros(5, np.uint64), decisions, p1, network)
    rows, lanes = min(ROWS, len(ids)), len(mixing.constants.starts) - 1
    count = 1 if outside else max(1, min(threads, -(-len(ids) // ROWS), 2))
    buffers = [new_buffers(model.model, lanes, code, rows) for _ in range(count)]
    buffers = [b._replace(h=buffers[0].h, before=buffers[0].before, turns=buffers[0].turns) for b in buffers]
    parts = [_Part(model.packed, model.arrays, b, slice(0, lanes), slice(None)) for b in buffers]
    with _team(model, mixing, shared, parts, count) as go:
        go()
    return decisions, p1


def decode(
    model: Network,
    mixing: TokenMixing,
    words: NDArray[np.uint32],
    decoder: NDArray[np.uint64],
    code: Code,
    threads: int,
) -> tuple[NDArray[np.uint8], int]:
    """Return the raw bytes, as many as `mixing` is for, and what is wrong with the words, 0 for nothing."""
    data, nothing = np.zeros(int(mixing.constants.starts[-1]), np.uint8), np.zeros(0, np.uint16)
    no_ids, no_first = np.zeros(0, np.int32), np.zeros(0, np.int64)
    shared = _shared(model, mixing, data, no_ids, no_first, words, decoder, np.zeros(0, np.uint8), nothing, nothing)
    lanes = len(mixing.constants.starts) - 1
    whole = _Part(model.packed, model.arrays, new_buffers(model.model, lanes, code), slice(0, lanes), slice(None))
    with _team(model, mixing, shared, [whole], 1) as alone:
        if isinstance(model, OutsideNetwork):
            engine, shared.count[STEPS] = model.start(lanes, code), 1
            for _ in _until_done(shared):
                whole.buffers.groups[:], whole.buffers.hidden[:] = engine.step(shared.before), engine.hidden
                alone()
        elif parts := _two_parts(model, lanes, code, len(data)) if threads > 1 else []:
            with _team(model, mixing, shared, parts, min(lanes, 2)) as together:
                _in_spells(shared, whole, parts, alone, together)
        else:
            alone()
    return data, int(shared.count[WRONG])


def _shared(model: Network, mixing: TokenMixing, data: NDArray[np.uint8], *rest: Any) -> Shared:
    """Return what the threads share; `rest` are its fields from the tokens to the network's p1."""
    lanes = len(mixing.constants.starts) - 1
    before = np.full(lanes, model.model.sizes["start_token"], np.int32)
    return Shared._make([data, np.zeros(lanes, np.int64), before, *rest, np.array([0, data.size, 0, FOREVER]), watch.position()])


def _two_parts(model: Network, lanes: int, code: Code, raw_bytes: int) -> list[_Part]:
    """Return the parts that two threads decode, or an empty list where there is no use in it."""
    if lanes > 1:
        cuts = list(pairwise((0, lanes // 2, lanes)))
        return [
            _Part(model.packed, model.arrays, new_buffers(model.model, last - first, code), slice(first, last), slice(None))
            for first, last in cuts
        ]
    is_large = sum(weight.size for weight in layer_weights(model.arrays)) >= _HALVED_WEIGHTS
    both = halves(model, code) if is_large and raw_bytes >= _HALVED_BYTES else []
    return [_Part(half.packed, half.arrays, half.buffers, slice(0, 1), half.states, half.kept) for half in both]


@contextmanager
def _team(model: Network, mixing: TokenMixing, shared: Shared, parts: list[_Part], turns: int) -> Iterator[Callable[[], None]]:
    """Give a function that runs all parts, each in a thread, until what is to be done is done; `turns` of them take turns."""
    turn, errors = np.zeros(1, np.int64), list[BaseException]()
    vocabulary, outside = model.model.vocabulary, isinstance(model, OutsideNetwork)

    def work(number: int) -> None:
        part = parts[number]
        try:
            run(
                model.product, part.packed, part.arrays, part.buffers, mixing, shared, vocabulary.offsets, vocabulary.text,
                part.lanes.start, turn, number, turns, np.uint64(yield_address()), outside,
            )  # fmt: skip
        except BaseException as error:  # the other thread must not wait for this one
            errors.append(error)
            shared.count[WRONG] = FAILED
            for waited_for in (turn, part.buffers.turns, part.buffers.met[number : number + 1]):
                waited_for.fill(FOREVER)

    with ThreadPoolExecutor(max(1, len(parts) - 1)) as pool:

        def go() -> None:
            turn.fill(0)
            for part in parts:
                part.buffers.turns.fill(0)
            others = [pool.submit(work, number) for number in range(1, len(parts))]
            work(0)
            for other in others:
                other.result()
            if errors:
                raise errors[0]

        yield go


def _until_done(shared: Shared) -> Iterator[None]:
    while shared.count[LEFT] and not shared.count[WRONG]:
        yield
    shared.position[0] = shared.data.size - shared.count[LEFT]


def _in_spells(shared: Shared, whole: _Part, parts: list[_Part], alone: Callable[[], None], together: Callable[[], None]) -> None:
    """Decode all in spells of one thread or of both, whichever took less time for a token; the slower is tried now and then."""
    lanes, count, is_split = len(shared.filled), shared.count, False

    def spell(in_two: bool, tokens: int) -> float:
        """Decode some tokens in one thread or in two; return the seconds each took."""
        nonlocal is_split
        if in_two != is_split:
            _hand_over(whole, parts, in_two)
            is_split = in_two
        count[STEPS] = -(-tokens // lanes)
        done, start = int(count[TOKENS]), time.perf_counter()
        (together if in_two else alone)()
        return (time.perf_counter() - start) / max(1, int(count[TOKENS]) - done)

    cost_s = {in_two: spell(in_two, _TRIAL_TOKENS) for in_two in (True, False)}
    in_two, spells, wait = cost_s[True] < cost_s[False], 0, _FEWEST_SPELLS
    for _ in _until_done(shared):
        taken_s, spells = spell(in_two, _SPELL_TOKENS), spells + 1
        if spells >= wait or taken_s > _SLOWER * cost_s[in_two]:
            other_s, spells = spell(not in_two, _TRIAL_TOKENS), 0
            wait = min(2 * wait, _MOST_SPELLS)
            if other_s < taken_s:
                in_two, taken_s, wait = not in_two, other_s, _FEWEST_SPELLS
        cost_s[in_two] = taken_s


def _hand_over(whole: _Part, parts: list[_Part], in_two: bool) -> None:
    """Copy the network's states from the whole to the parts, or back."""
    for part in parts:
        theirs, ours = part.buffers, whole.buffers
        h, before = ours.h[:, part.lanes, part.states], ours.before[:, part.lanes]
        if in_two:
            theirs.h[:], theirs.before[:] = h, before
        else:
            h[:], before[:] = theirs.h, theirs.before
