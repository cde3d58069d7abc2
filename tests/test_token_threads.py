"""Decoding in spells of one thread or two: the same bytes however they change, and the quicker way is the one that is taken."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Iterator

import numpy as np
import pytest

from nncomp.blocks import token_payload, token_threads, token_ways
from nncomp.mixing.token_start import new_mixing
from nncomp.network.engine import Network
from tests.models import TEXT, coded_model, small_model, small_start, two_networks

Spell = Generator[None, None, float]
MODELS = {"small": Network(small_model()), "told": Network(coded_model()), "two": Network(two_networks())}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("lanes_bits", [0, 1, 2, 4])
def test_spells_change_nothing(name: str, lanes_bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that says anything, so that all ways follow one another at random, also at the end of lanes."""
    monkeypatch.setattr(token_ways, "_LARGE_WEIGHTS", 0)
    monkeypatch.setattr(token_ways, "_HALVED_BYTES", 1)
    monkeypatch.setattr(token_threads, "ROWS", 3)
    monkeypatch.setattr(token_threads, "_SPELL_TOKENS", 7)
    monkeypatch.setattr(token_threads, "_TRIAL_TOKENS", 3)
    monkeypatch.setattr(token_threads, "_FIRST_TOKENS", 1)
    monkeypatch.setattr(token_threads, "_FAR_SLOWER", 3)
    monkeypatch.setattr(token_threads, "_FEWEST_SPELLS", 1)
    monkeypatch.setattr(token_ways, "_TRIED_BYTES", 0)
    monkeypatch.setattr(token_payload, "lanes_log2", lambda *_: lanes_bits)
    clock = random.Random(lanes_bits)
    monkeypatch.setattr(time, "perf_counter", clock.random)
    taken: list[int] = []
    quickest = token_threads._quickest

    def watched(ways: int, spell: Callable[[int, int], Spell]) -> Iterator[None]:
        def noted(way: int, tokens: int) -> Spell:
            taken.append(way)
            return spell(way, tokens)

        return quickest(ways, noted)

    monkeypatch.setattr(token_threads, "_quickest", watched)
    model = MODELS[name]
    for size in (1, 30, 4000):
        payload = token_payload.encode_tokens(model, TEXT[:size], 1)[0]
        assert token_payload.decode_tokens(model, payload, size, 2) == TEXT[:size]
        assert token_payload.encode_tokens(model, TEXT[:size], 2)[0] == payload
    stages = 2 * model.model.sizes["layer_count"] + 1
    ways = stages - stages // 2 + 1 + (lanes_bits > 0) + (lanes_bits <= 1)
    assert all(taken.count(way) > 10 for way in range(ways)), taken


@pytest.mark.parametrize("quick", [0, 1, 2])
def test_the_quickest_way_is_taken(quick: int) -> None:
    """And another one when that has become slow: at once, if it is much slower."""
    tokens, done = [0, 0, 0], 0

    def spell(way: int, count: int) -> Spell:
        nonlocal done
        tokens[way] += count
        done += count
        yield
        best = quick if done < 500_000 else (quick + 1) % 3
        return 1.0 if way == best else 1.6

    spells = token_threads._quickest(3, spell)
    while done < 500_000:
        next(spells)
    assert tokens[quick] > 450_000
    while done < 1_000_000:
        next(spells)
    assert tokens[(quick + 1) % 3] > 450_000


def test_a_way_whose_threads_wait_for_cores_gets_a_few_tokens_at_a_time() -> None:
    """Each of them may take 10 milliseconds, where a token takes 40 microseconds in one thread."""
    tokens = [0, 0, 0]

    def spell(way: int, count: int) -> Spell:
        tokens[way] += count
        yield
        return (40e-6, 10e-3, 60e-6)[way]

    spells = token_threads._quickest(3, spell)
    while sum(tokens) < 1_000_000:
        next(spells)
    assert tokens[0] > 900_000
    assert 0 < tokens[1] < 1000 < tokens[2]


def test_nobody_wants_the_rest() -> None:
    """A caller that leaves ends both threads: none waits for tokens that nobody will code."""
    network, data = MODELS["small"], np.frombuffer(TEXT * 20, np.uint8).copy()
    ids = network.model.vocabulary.encode(bytes(data))
    for leave_after in (1, 4):
        mixing = new_mixing(len(data), np.array([0, len(data)]), 1 << 10, small_start())
        coded = token_threads.encode(network, mixing, data, ids, np.array([0, len(ids)]), token_threads.Begin(), 2)
        for _ in range(leave_after):
            next(coded)
        coded.close()
        assert mixing.memory.tokens.counts[0] < len(ids)
