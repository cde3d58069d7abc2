"""The threads of a block of tokens: one, or two that take turns (`nncomp.blocks.token_loop`) and give the same bytes.

When encoding, each thread takes every second batch of known tokens. When decoding, each has half of the lanes; where there is
one lane, half of the network. Two threads wait for each other several times a token. If another program wants their cores, they
may be slower than one thread alone. So decoding goes in spells of one thread or of two, whichever was quicker. Knows nothing of
payloads.
"""

# L lanes, N tokens of the block

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nncomp.blocks.token_loop import FAILED, LEFT, STEPS, TOKENS, WRONG, Shared, Turns, new_rows, run
from nncomp.machine import watch
from nncomp.machine.turns import FOREVER, yield_address
from nncomp.mixing.token_predictor import TokenMixing
from nncomp.network.code import NO_CODE
from nncomp.network.engine import Constants, Network, layer_weights
from nncomp.network.halves import halves
from nncomp.network.outside_network import OutsideNetwork
from nncomp.network.state import Exchange, Scratch, State, new_scratch, new_state, no_exchange

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

ROWS = 32  # known tokens fed at once: a weight is read once for all of them, and the scratch stays in the cache of a core
_HALVED_BYTES = 4096  # of a lane: from there on halving the network pays
_HALVED_WEIGHTS = 1 << 20  # of a network: a smaller one stays in the cache of one core
_SPELL_TOKENS, _TRIAL_TOKENS = 2048, 256  # tokens of a spell when decoding, and of a trial of the slower way
_SPELL_TURNS = 4096  # turns of a spell when encoding, an even number: the decisions of so many are in memory at a time
_NO_BYTES = np.zeros(0, np.uint8)
_FEWEST_SPELLS, _MOST_SPELLS = 4, 32  # from one trial of the slower way to the next; the number doubles from trial to trial
_SLOWER = 1.5  # times as slow as before: then the other way is tried at once


class Begin(NamedTuple):
    """How the lanes begin: with a code of the text or none; or, in a lane alone, after bytes that are not coded."""

    code: int = NO_CODE
    state: State | None = None  # of the network after those bytes; it changes
    before: int = 0  # the last token of them
    done_bytes: int = 0  # how many they are


class Coded(NamedTuple):
    """Some of the tokens of a block, in the order of coding: step by step, in each the lanes in order."""

    decisions: NDArray[np.uint8]  # N * bits
    p1: NDArray[np.uint16]  # N * bits, 1..65535
    places: NDArray[np.int32]  # N: where in the block each token begins


class _Part(NamedTuple):
    """What one thread runs: a network or half of one, and some of the lanes."""

    constants: Constants
    state: State
    scratch: Scratch
    exchange: Exchange
    lanes: slice
    places: slice = slice(None)  # of the states of the whole network: those that the part has
    kept: Any = None  # `constants.packed` points into it


def encode(
    network: Network,
    mixing: TokenMixing,
    data: NDArray[np.uint8],
    ids: NDArray[np.int32],
    first_ids: NDArray[np.int64],
    begin: Begin,
    threads: int,
) -> Iterator[Coded]:
    """Yield the decisions of known tokens, some tokens at a time; what was yielded is overwritten by what comes next."""
    model, rows = network.model, min(ROWS, len(ids))
    bits, shared = model.vocabulary.bits, _shared(network, mixing, data, begin)
    most = min(len(ids), rows * _SPELL_TURNS)
    if isinstance(network, OutsideNetwork):
        shared, threads, most = shared._replace(network_p1=network.probabilities(ids, first_ids, begin.code)), 1, len(ids)
    shared = shared._replace(ids=ids, first_ids=first_ids, decisions=np.zeros(most * bits, np.uint8))
    shared = shared._replace(p1=np.zeros(most * bits, np.uint16), places=np.zeros(most, np.int32))
    lanes = len(mixing.constants.starts) - 1
    count, state = max(1, min(threads, -(-len(ids) // ROWS), 2)), begin.state or new_state(model, lanes, begin.code)
    scratches = [new_scratch(model.sizes, rows) for _ in range(count)]
    parts = [_Part(network.constants(rows), state, scratch, no_exchange(), slice(0, lanes)) for scratch in scratches]
    shared.count[STEPS] = -(-most // rows)
    with _team(mixing, shared, parts, count) as go:
        for _ in _until_done(shared):
            shared.count[TOKENS] = 0
            go()
            done = int(shared.count[TOKENS])
            if not done:  # given tokens end before the bytes do
                return
            yield Coded(shared.decisions[: done * bits], shared.p1[: done * bits], shared.places[:done])


def decode(
    network: Network,
    mixing: TokenMixing,
    words: NDArray[np.uint32],
    decoder: NDArray[np.uint64],
    begin: Begin,
    threads: int,
    first: NDArray[np.uint8] = _NO_BYTES,
) -> tuple[NDArray[np.uint8], int]:
    """Return the raw bytes, as many as `mixing` is for, and what is wrong with the words, 0 for nothing.

    The `first` of them are those that are not coded.
    """
    data, lanes = np.zeros(int(mixing.constants.starts[-1]), np.uint8), len(mixing.constants.starts) - 1
    data[: len(first)] = first
    shared = _shared(network, mixing, data, begin)._replace(words=words, decoder=decoder)
    whole = _whole_network(network, slice(0, lanes), begin)
    with _team(mixing, shared, [whole], 1) as alone:
        if isinstance(network, OutsideNetwork):
            engine, shared.count[STEPS] = network.start(lanes, begin.code), 1
            for _ in _until_done(shared):
                whole.scratch.groups[:], whole.scratch.hidden[:] = engine.step(shared.before), engine.hidden
                alone()
        elif parts := _two_parts(network, lanes, begin, len(data)) if threads > 1 else []:
            with _team(mixing, shared, parts, min(lanes, 2)) as together:
                _in_spells(shared, whole, parts, alone, together)
        else:
            alone()
    return data, int(shared.count[WRONG])


def _shared(network: Network, mixing: TokenMixing, data: NDArray[np.uint8], begin: Begin) -> Shared:
    """Return what the threads share; what only encoding or only decoding needs is empty."""
    lanes, vocabulary = len(mixing.constants.starts) - 1, network.model.vocabulary
    return Shared(
        data=data,
        filled=np.full(lanes, begin.done_bytes, np.int64),
        before=np.full(lanes, begin.before if begin.done_bytes else network.model.sizes["start_token"], np.int32),
        ids=np.zeros(0, np.int32),
        first_ids=np.zeros(0, np.int64),
        words=np.zeros(0, np.uint32),
        decoder=np.zeros(5, np.uint64),
        decisions=np.zeros(0, np.uint8),
        p1=np.zeros(0, np.uint16),
        places=np.zeros(0, np.int32),
        network_p1=np.zeros(0, np.uint16),
        offsets=vocabulary.offsets,
        text=vocabulary.text,
        is_outside=isinstance(network, OutsideNetwork),
        count=np.array([0, data.size - begin.done_bytes, 0, FOREVER]),
        position=watch.position(),
    )


def _whole_network(network: Network, lanes: slice, begin: Begin) -> _Part:
    """Return a part that decodes some lanes with the whole network."""
    count = lanes.stop - lanes.start
    state, scratch = begin.state or new_state(network.model, count, begin.code), new_scratch(network.model.sizes, count)
    return _Part(network.constants(count), state, scratch, no_exchange(), lanes)


def _two_parts(network: Network, lanes: int, begin: Begin, raw_bytes: int) -> list[_Part]:
    """Return the parts that two threads decode; an empty list for a block too small to gain by it."""
    if lanes > 1:
        return [_whole_network(network, slice(first, last), begin) for first, last in pairwise((0, lanes // 2, lanes))]
    is_large = sum(weight.size for weight in layer_weights(network.model.arrays)) >= _HALVED_WEIGHTS
    both = halves(network, begin.code) if is_large and raw_bytes >= _HALVED_BYTES else []
    return [_Part(half.constants, half.state, half.scratch, half.exchange, slice(0, 1), half.places, half.kept) for half in both]


def _pool(threads: int) -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor  # takes 9 ms, and a start with one thread does without

    return ThreadPoolExecutor(threads)


@contextmanager
def _team(mixing: TokenMixing, shared: Shared, parts: list[_Part], turns: int) -> Iterator[Callable[[], None]]:
    """Give a function that runs all parts, each in a thread, until the block or the spell is done; `turns` of them take turns."""
    turn, errors, lanes = np.zeros(1, np.int64), list[BaseException](), len(mixing.constants.starts) - 1
    sizes = [(*part.scratch.groups.shape, len(part.scratch.tokens)) for part in parts]
    rows_of = [new_rows(lanes, count, groups, size) for count, groups, size in sizes]

    def work(number: int) -> None:
        part = parts[number]
        try:
            own_turns = Turns(turn, number, turns, part.lanes.start, np.uint64(yield_address()))
            run(part.constants, part.state, part.scratch, part.exchange, mixing, shared, own_turns, rows_of[number])
        except BaseException as error:  # the other thread must not wait for this one
            errors.append(error)
            shared.count[WRONG] = FAILED
            for waited_for in (turn, part.state.turns, part.exchange.met[number : number + 1]):
                waited_for.fill(FOREVER)

    with _pool(len(parts) - 1) if len(parts) > 1 else nullcontext() as pool:

        def go() -> None:
            turn.fill(0)
            for part in parts:
                part.state.turns.fill(0)
            others = [pool.submit(work, number) for number in range(1, len(parts))] if pool else []
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
    """Decode in spells of one thread or of two, whichever took less time for a token. Now and then the slower way is tried."""
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
    """Copy what the lanes remember from the whole network to the parts, or back."""
    for part in parts:
        h, before = whole.state.h[:, part.lanes, part.places], whole.state.before[:, part.lanes]
        if in_two:
            part.state.h[:], part.state.before[:] = h, before
        else:
            h[:], before[:] = part.state.h, part.state.before
