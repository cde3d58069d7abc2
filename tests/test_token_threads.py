"""Decoding in spells of one thread or two: the same bytes however they change, and the quicker way is the one that is taken."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from nncomp.blocks import token_payload, token_threads
from nncomp.blocks.levels import Effort
from nncomp.blocks.token_loop import TOKENS, Shared
from nncomp.network.engine import Network
from tests.models import TEXT, coded_model, small_model

MODELS = {"small": Network(small_model()), "told": Network(coded_model())}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("lanes_bits", [0, 1, 2, 4])
def test_spells_change_nothing(name: str, lanes_bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that says anything, so that one thread and two follow one another at random, also at the end of lanes."""
    monkeypatch.setattr(token_threads, "_HALVED_WEIGHTS", 0)
    monkeypatch.setattr(token_threads, "_HALVED_BYTES", 1)
    monkeypatch.setattr(token_threads, "_SPELL_TOKENS", 7)
    monkeypatch.setattr(token_threads, "_TRIAL_TOKENS", 3)
    monkeypatch.setattr(token_threads, "_FEWEST_SPELLS", 1)
    monkeypatch.setattr(token_payload, "lanes_log2", lambda *_: lanes_bits)
    clock = random.Random(lanes_bits)
    monkeypatch.setattr(time, "perf_counter", clock.random)
    ways: list[bool] = []
    hand_over = token_threads._hand_over

    def watched(whole: token_threads._Part, parts: list[token_threads._Part], in_two: bool) -> None:
        ways.append(in_two)
        hand_over(whole, parts, in_two)

    monkeypatch.setattr(token_threads, "_hand_over", watched)
    model = MODELS[name]
    for size in (1, 30, 4000):
        payload = token_payload.encode_tokens(model, TEXT[:size], 1)[0]
        assert token_payload.decode_tokens(model, payload, size, 2) == TEXT[:size]
    assert ways.count(True) > 10 and ways.count(False) > 10


@pytest.mark.parametrize("quick", [True, False])
def test_the_quicker_way_is_taken(quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In two threads or in one; and the other one again when that has become slow."""
    monkeypatch.setattr(token_threads, "_HALVED_WEIGHTS", 0)
    monkeypatch.setattr(token_threads, "_SPELL_TOKENS", 200)
    monkeypatch.setattr(token_threads, "_TRIAL_TOKENS", 20)
    now, tokens = [0.0], {True: 0, False: 0}
    original = token_threads._in_spells

    def in_spells(shared: Shared, *rest: object) -> None:
        def timed(call: Callable[[], None], in_two: bool) -> Callable[[], None]:
            def go() -> None:
                before = int(shared.count[TOKENS])
                call()
                done = int(shared.count[TOKENS])
                tokens[in_two] += done - before
                is_quick = (in_two == quick) == (done < 2000)  # from there on it is the other way round
                now[0] += (done - before) * (1.0 if is_quick else 1.6)

            return go

        whole, parts, alone, together = rest
        original(shared, whole, parts, timed(alone, False), timed(together, True))  # type: ignore[arg-type]

    monkeypatch.setattr(token_threads, "_in_spells", in_spells)
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    data = TEXT * 3
    payload = token_payload.encode_tokens(MODELS["small"], data, 1, Effort(max_lanes=1))[0]
    assert token_payload.decode_tokens(MODELS["small"], payload, len(data), 2) == data
    assert sum(tokens.values()) > 4000
    assert 2000 - 100 <= tokens[quick] <= 2000 + 2 * 200 + 100, tokens
