"""The threads of a block of tokens: one, or two that give the same bytes (`nncomp.blocks.token_loop`).

One thread mixes, so that its caches keep what mixing has learned. The other one has the first stages of the network. It works
on the next rows of known tokens, or when decoding on half of the lanes, while the first thread mixes what came before. Where one
lane is decoded, or two, each thread may have half of the network. Two threads wait for each other several times a token. If
another program wants their cores, they may be slower than one thread alone; and which way is the quickest depends on processor
and model. So the work goes in spells, in the way that was the quickest (`token_ways`). Knows nothing of payloads.
"""

# L lanes, N tokens of the block

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nncomp.blocks.token_loop import FAILED, LEFT, TOKENS, WRONG, Shared, Turns, run
from nncomp.blocks.token_ways import Way, first_states, hand_over, in_halves, pipelines, whole_part, with_codes
from nncomp.machine import watch
from nncomp.machine.aligned import aligned_zeros
from nncomp.machine.turns import FOREVER, sleep_address
from nncomp.mixing.token_predictor import TokenMixing
from nncomp.network.code import NO_CODE
from nncomp.network.engine import Network
from nncomp.network.outside_network import OutsideNetwork
from nncomp.network.state import APART, State

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

ROWS = 32  # known tokens fed at once: a weight is read once for all of them, and the scratch stays in the cache of a core
_SPELL_TOKENS, _TRIAL_TOKENS = 8192, 512  # tokens of a spell, and of a trial of a slower way
_FIRST_TOKENS, _FAR_SLOWER = 32, 8  # a trial ends after so few tokens if they take so many times as long as in the quickest way
_FEWEST_SPELLS, _MOST_SPELLS = 4, 16  # from one trial of a slower way to the next; the number doubles from trial to trial
_SLOWER = 1.5  # times as slow as before: then all other ways are tried at once
_MOST_TOKENS = 1 << 11  # that are encoded at a time: the decisions of so many are in memory, and in a cache
NO_BYTES = np.zeros(0, np.uint8)


class Begin(NamedTuple):
    """How the lanes begin: with a code of the text or none; or, in a lane alone, after bytes that are not coded."""

    code: int = NO_CODE
    states: tuple[State, ...] = ()  # of each network after those bytes; they change
    before: int = 0  # the last token of them
    done_bytes: int = 0  # how many they are


class Coded(NamedTuple):
    """Some of the tokens of a block, in the order of coding: step by step, in each the lanes in order."""

    decisions: NDArray[np.uint8]  # N * bits
    p1: NDArray[np.uint16]  # N * bits, 1..65535
    places: NDArray[np.int32]  # N: where in the block each token begins


def encode(
    network: Network,
    mixing: TokenMixing,
    data: NDArray[np.uint8],
    ids: NDArray[np.int32],
    first_ids: NDArray[np.int64],
    begin: Begin,
    threads: int,
) -> Generator[Coded, None, None]:
    """Yield the decisions of known tokens, some tokens at a time; what was yielded is overwritten by what comes next."""
    rows, lanes = min(ROWS, len(ids)), len(mixing.constants.starts) - 1
    bits, most, shared = network.model.vocabulary.bits, min(len(ids), _MOST_TOKENS), shared_of(network, mixing, data, begin)
    if isinstance(network, OutsideNetwork):
        told = [each.probabilities(ids, first_ids, code) for each, code in with_codes(network, begin.code)]
        shared, threads, most = shared._replace(network_p1=told[0], second_p1=told[-1]), 1, len(ids)
    shared = shared._replace(ids=ids, first_ids=first_ids, decisions=np.zeros((most + rows) * bits, np.uint8))
    shared = shared._replace(p1=np.zeros((most + rows) * bits, np.uint16), places=np.zeros(most + rows, np.int32))
    states = begin.states or first_states(network, lanes, begin.code)
    alone = Way([whole_part(network, states, lanes, rows)])
    ways = [alone, *(pipelines(network, states, lanes, rows, len(data)) if threads > 1 and len(ids) > ROWS else [])]
    for _ in _spells(shared, mixing, ways, rows, most):
        done = int(shared.count[TOKENS])
        if not done:  # given tokens end before the bytes do
            return
        yield Coded(shared.decisions[: done * bits], shared.p1[: done * bits], shared.places[:done])
        shared.count[TOKENS] = 0


def decode(
    network: Network,
    mixing: TokenMixing,
    words: NDArray[np.uint32],
    decoder: NDArray[np.uint64],
    begin: Begin,
    threads: int,
    first: NDArray[np.uint8] = NO_BYTES,
) -> tuple[NDArray[np.uint8], int]:
    """Return the raw bytes, as many as `mixing` is for, and what is wrong with the words, 0 for nothing.

    The `first` of them are those that are not coded.
    """
    data, lanes = np.zeros(int(mixing.constants.starts[-1]), np.uint8), len(mixing.constants.starts) - 1
    data[: len(first)] = first
    shared = shared_of(network, mixing, data, begin)._replace(words=words, decoder=decoder)
    states = begin.states or first_states(network, lanes, begin.code)
    whole = whole_part(network, states, lanes, lanes)
    if isinstance(network, OutsideNetwork):
        go, alone = _Runner(shared, mixing).go, Way([whole])
        engines = [each.start(lanes, code) for each, code in with_codes(network, begin.code)]
        while _is_unfinished(shared):
            for fed, engine in zip((whole.first, whole.second), engines, strict=False):
                fed.scratch.groups[:], fed.scratch.hidden[:] = engine.step(shared.before), engine.hidden
            for _ in go(alone, 1, 1):
                pass
        return data, int(shared.count[WRONG])
    ways = [Way([whole])]
    if threads > 1 and lanes > 1:
        ways += pipelines(network, states, lanes, lanes // 2, len(data), is_known=False)
    if threads > 1:
        ways += in_halves(network, states, lanes, len(data))
    for _ in _spells(shared, mixing, ways, lanes, len(data)):
        pass
    return data, int(shared.count[WRONG])


def shared_of(network: Network, mixing: TokenMixing, data: NDArray[np.uint8], begin: Begin) -> Shared:
    """Return what the threads share; what only encoding or only decoding needs is empty."""
    lanes, vocabulary = len(mixing.constants.starts) - 1, network.model.vocabulary
    count = aligned_zeros(APART, np.int64)[:3]
    count[:] = 0, data.size - begin.done_bytes, 0
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
        second_p1=np.zeros(0, np.uint16),
        offsets=vocabulary.offsets,
        text=vocabulary.text,
        is_outside=isinstance(network, OutsideNetwork),
        count=count,
        position=watch.position(),
    )


class _Runner:
    """Codes turns of a block, in one thread or with another one of a pool."""

    def __init__(self, shared: Shared, mixing: TokenMixing, pool: ThreadPoolExecutor | None = None) -> None:
        self._shared, self._mixing, self._pool, self._errors = shared, mixing, pool, list[BaseException]()
        self._turn = aligned_zeros(APART, np.int64)  # others write in no cache line that a thread looks at
        self._calls: dict[int, list[_Call]] = {}  # of each way, by its `id`

    def go(self, way: Way, turns: int, at_once: int) -> Iterator[None]:
        """Code so many turns in one way, or until the block is done.

        It yields after `at_once` turns each time. Meanwhile the thread that only feeds goes on.
        """
        self._turn.fill(0)
        for part in way.parts:
            for fed in part.fed:
                fed.exchange.fed.fill(0)
            part.rows.walk[:] = way.parts[0].rows.walk
        calls = self._calls.setdefault(id(way), [])
        calls += [_Call(way, number) for number in range(len(calls), len(way.parts))]
        others = [self._pool.submit(self._work, call, 0, turns) for call in calls[1:]] if self._pool else []
        try:
            for first in range(0, turns, at_once):
                self._work(calls[0], first, min(first + at_once, turns))
                if self._errors:
                    break
                yield
                if not _is_unfinished(self._shared):
                    break
        except BaseException:
            if _is_unfinished(self._shared):  # but nobody wants the rest
                self._stop(calls[0])
            raise
        finally:
            for other in others:
                other.result()
        if self._errors:
            raise self._errors[0]

    def _work(self, call: _Call, first: int, end: int) -> None:
        try:
            if call.run is None:
                part = call.way.parts[call.number]
                turns = Turns(self._turn, call.number == 0, call.way.ahead, call.span, sleep_address())
                call.run = run.bound(part.lead, part.first, part.second, self._mixing, self._shared, turns, part.rows)
            call.span[:] = first, end
            call.run()
        except BaseException as error:
            self._errors.append(error)
            self._stop(call)

    def _stop(self, call: _Call) -> None:
        """Let no thread wait for this one."""
        self._shared.count[WRONG] = FAILED
        self._turn.fill(FOREVER)
        for part in call.way.parts:
            for fed in part.fed:
                fed.exchange.fed[0] = FOREVER
                fed.exchange.met[call.number : call.number + 1] = FOREVER


@dataclass
class _Call:
    """The kernel as one thread of a way calls it: bound once, for turns that change."""

    way: Way
    number: int  # of the thread; the first one mixes
    span: NDArray[np.int64] = field(default_factory=lambda: np.zeros(2, np.int64))
    run: Callable[[], None] | None = None


def _is_unfinished(shared: Shared) -> bool:
    shared.position[0] = shared.data.size - shared.count[LEFT]
    return bool(shared.count[LEFT] and not shared.count[WRONG])


def _spells(shared: Shared, mixing: TokenMixing, ways: list[Way], rows: int, most: int) -> Iterator[None]:
    """Code a block, at most `most` tokens at a time; with several ways in spells. A step of `rows` tokens is one turn or two."""
    if len(ways) == 1:
        go, turns = _Runner(shared, mixing).go, -(-most // rows)
        while _is_unfinished(shared):
            yield from go(ways[0], turns, turns)
        return
    from concurrent.futures import ThreadPoolExecutor  # takes 9 ms, and a start with one thread does without

    last = ways[0]
    with ThreadPoolExecutor(1) as pool:
        go = _Runner(shared, mixing, pool).go

        def spell(number: int, tokens: int) -> Generator[None, None, float]:
            """Code some tokens in one of the ways; return the seconds each took, with what the caller did with them."""
            nonlocal last
            way = ways[number]
            hand_over(last, way)
            last, turns_of_step = way, rows // len(way.parts[0].first.scratch.rows)
            turns, at_once = (-(-count // rows) * turns_of_step for count in (tokens, most))
            start = time.perf_counter()
            yield from go(way, turns, at_once)
            return (time.perf_counter() - start) / tokens

        for _ in _quickest(len(ways), spell):
            yield
            if not _is_unfinished(shared):
                return


def _quickest(ways: int, spell: Callable[[int, int], Generator[None, None, float]]) -> Iterator[None]:
    """Go on for ever, from one `yield` of a spell to the next: in the quickest of some ways, and now and then in another one."""
    cost_s = [0.0] * ways

    def trial(way: int) -> Iterator[None]:
        """Try a way for a few tokens, then twice: at first the caches have nothing of what it needs. A few tokens are enough
        where its threads wait for cores that others have: that takes some milliseconds a token."""
        best_s = min(filter(None, cost_s), default=0.0)
        for tokens in (_FIRST_TOKENS, _TRIAL_TOKENS, _TRIAL_TOKENS):
            cost_s[way] = yield from spell(way, tokens)
            if best_s and cost_s[way] > _FAR_SLOWER * best_s:
                return

    for way in range(ways):
        yield from trial(way)
    tried, spells, wait, best = 0, 0, _FEWEST_SPELLS, int(np.argmin(cost_s))
    while True:
        taken_s = yield from spell(best, _SPELL_TOKENS)
        spells += 1
        is_slow = taken_s > _SLOWER * cost_s[best]
        cost_s[best] = taken_s
        if not is_slow and spells < wait:
            continue
        others = [way for way in range(ways) if way != best]
        for way in others if is_slow else [others[tried % len(others)]]:
            yield from trial(way)
        tried, spells, wait = tried + 1, 0, min(2 * wait, _MOST_SPELLS)
        if int(np.argmin(cost_s)) != best:
            best, wait = int(np.argmin(cost_s)), _FEWEST_SPELLS
