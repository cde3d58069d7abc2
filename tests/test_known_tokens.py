"""Tokens that are known are fed many at once: the same integers as step by step, and the same payloads by any threads."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nncomp.blocks import token_payload, token_threads, token_ways
from nncomp.blocks.token_loop import take_rows
from nncomp.format.payloads import TokensHead
from nncomp.network.code import NO_CODE
from nncomp.network.decisions import node_probability, path_probabilities
from nncomp.network.engine import Network, feed, token_frequencies
from nncomp.network.engine_reference import ReferenceEngine
from nncomp.network.model import Model, read_model
from nncomp.network.registry import open_model, shipped_path
from nncomp.network.state import new_scratch, new_state, no_exchange
from tests.conftest import called_from_python, environment
from tests.models import TEXT, coded_model, extreme_code, extreme_model, small_model, small_start, write_grown

halves, take, path = map(called_from_python, (node_probability, take_rows, path_probabilities))


def slow_path(groups: NDArray[np.int64], tokens: NDArray[np.int64], token: int) -> list[int]:
    """Return p1 of the decisions of a token, half by half."""
    found: list[int] = []
    for frequencies, place in ((groups, token // len(tokens)), (tokens, token % len(tokens))):
        low, count = 0, len(frequencies)
        while count > 1:
            count //= 2
            zeros, ones = (int(frequencies[at : at + count].sum()) for at in (low, low + count))
            found.append(halves(zeros, ones))
            low += count * (place >= low + count)
    return found


def by_steps(model: Model, lane_ids: list[NDArray[np.int32]], code: int) -> tuple[Any, list[list[int]]]:
    """Return the state that the reference ends with, and p1 of all decisions in the order of coding, token by token."""
    engine, found = ReferenceEngine(model, len(lane_ids), code), []
    before, states = np.full(len(lane_ids), model.sizes["start_token"]), engine.h.copy()
    for t in range(max(map(len, lane_ids))):
        groups = engine.step(before)
        for lane, ids in enumerate(lane_ids):
            if t < len(ids):
                tokens = engine.token_frequencies(lane, int(ids[t]) // model.group_size)
                found.append(slow_path(groups[lane], tokens, int(ids[t])))
                before[lane], states[:, lane] = ids[t], engine.h[:, lane]
    return states, found


def at_once(model: Network, lane_ids: list[NDArray[np.int32]], code: int, rows: int) -> tuple[Any, list[list[int]]]:
    """Return the same, with up to so many rows at once."""
    sizes, bits = model.model.sizes, model.model.vocabulary.bits
    state, b, found = new_state(model.model, len(lane_ids), code), new_scratch(sizes, rows), list[list[int]]()
    ids, first_ids = np.concatenate(lane_ids), np.cumsum([0, *map(len, lane_ids)])
    walk, lanes_R, p1 = np.zeros(len(first_ids), np.int64), np.zeros(rows, np.int64), np.zeros((rows, bits), np.uint16)
    before_R, after_R, cumulative = np.zeros(rows, np.int32), np.zeros(rows, np.int32), np.zeros(1025, np.int64)
    while count := int(take(ids, first_ids, walk, sizes["start_token"], before_R, lanes_R, after_R)):
        feed(model.constants(1), state, b, no_exchange(), before_R[:count], lanes_R, np.uint64(0))
        for i in range(count):
            token_frequencies(model.constants(1), b, i, after_R[i] // model.model.group_size)
            path(b.groups[i], b.tokens, after_R[i], cumulative, p1[i])
        found += p1[:count].tolist()
    return state.h, found


def random_lanes(model: Model, lanes: int, steps: int, seed: int) -> list[NDArray[np.int32]]:
    """Return tokens of lanes that end at different lengths, some perhaps without any, one of `steps`."""
    generator = np.random.default_rng(seed)
    counts = generator.integers(0, steps + 1, lanes)
    counts[generator.integers(lanes)] = steps
    return [generator.integers(0, model.sizes["vocab_size"], count).astype(np.int32) for count in counts]


MODELS = {
    "small": (small_model(), NO_CODE),
    "another": (small_model(1), NO_CODE),
    "told": (coded_model(), 5),
    "told extremes": (extreme_code(small_model(), 1, 3), 2),
    "extreme": (extreme_model(2), NO_CODE),
    "extreme, another": (extreme_model(3), NO_CODE),
}


@pytest.mark.parametrize("lanes", [1, 2, 3, 16])
@pytest.mark.parametrize("name", MODELS)
def test_at_once_equals_step_by_step(name: str, lanes: int) -> None:
    model, code = MODELS[name]
    lane_ids = random_lanes(model, lanes, 60 // lanes + 3, lanes)
    state, expected = by_steps(model, lane_ids, code)
    for rows in (1, 2, 5, 16, 33, 200):
        other_state, found = at_once(Network(model), lane_ids, code, rows)
        assert found == expected
        assert np.array_equal(state, other_state)


@pytest.mark.skipif(not shipped_path("default").exists(), reason="no shipped model")
@pytest.mark.parametrize("is_grown", [False, True])
def test_at_once_equals_step_by_step_with_the_shipped_model(tmp_path: Path, is_grown: bool) -> None:
    """Also with a model that goes on from it."""
    model = read_model(write_grown(tmp_path / "grown.safetensors") if is_grown else open_model("default"))
    lane_ids = random_lanes(model, 3, 20, 1)
    state, expected = by_steps(model, lane_ids, NO_CODE)
    for rows in (7, token_threads.ROWS):
        other_state, found = at_once(Network(model), lane_ids, NO_CODE, rows)
        assert found == expected and np.array_equal(state, other_state)


@pytest.mark.parametrize("lanes_bits", [0, 1, 4])
@pytest.mark.parametrize("size", [1, 40, 3000])
def test_rows_and_threads_change_nothing(lanes_bits: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one row at a time it is the step of each lane; probabilities and what mixing has learned are the same.

    So they are where a spell is short, and whichever stages each thread has.
    """
    model, clock = Network(coded_model()), random.Random(size)
    results = []
    most, spell = token_threads.ROWS, token_threads._SPELL_TOKENS
    short = [(1, 1, spell), (1, 2, spell), (5, 2, 20), (1, 2, 6), (3, 1, 2), (7, 2, 1)]
    monkeypatch.setattr(time, "perf_counter", clock.random)
    monkeypatch.setattr(token_threads, "_FEWEST_SPELLS", 1)
    monkeypatch.setattr(token_ways, "_TRIED_BYTES", 0)
    for rows, threads, tokens in [*short, (most, 1, spell), (most, 2, spell), (most, 50, spell)]:
        monkeypatch.setattr(token_threads, "ROWS", rows)
        monkeypatch.setattr(token_threads, "_SPELL_TOKENS", tokens)
        monkeypatch.setattr(token_threads, "_TRIAL_TOKENS", min(tokens, 40))
        monkeypatch.setattr(token_threads, "_MOST_TOKENS", 2 * tokens)
        results.append(token_payload.predict_tokens(model, TEXT[:size], small_start(), TokensHead(lanes_bits, 10, 4), threads))
    for result in results[1:]:
        assert np.array_equal(results[0].decisions, result.decisions)
        assert np.array_equal(results[0].p1, result.p1)
        assert all(np.array_equal(results[0].learned[name], array) for name, array in result.learned.items())


def test_tokens_that_do_not_fit_end_it_for_all_threads() -> None:
    """Tokens of other text than the bytes: the loop says so and no thread waits for one that has left."""
    model = Network(small_model())
    ids = [model.model.vocabulary.encode(TEXT[:4000])]
    for threads in (1, 2):
        assert not token_payload.predict_tokens(model, TEXT[:999], small_start(), TokensHead(0, 10), threads, ids).p1[-13:].any()


def test_uncompiled_it_is_the_same() -> None:
    code = (
        "import hashlib\n"
        "from nncomp.network.engine import Network\n"
        "from nncomp.blocks.token_payload import predict_tokens\n"
        "from tests.models import TEXT, small_model, small_start\n"
        "model = Network(small_model())\n"
        "for threads in (1, 2):\n"
        "    from nncomp.format.payloads import TokensHead\n"
        "    p = predict_tokens(model, TEXT[:12], small_start(), TokensHead(1, 8), threads)\n"
        "    print(hashlib.sha256(p.p1.tobytes()).hexdigest())\n"
    )
    found = []
    for disabled in ("0", "1"):
        variables = {**environment(), "NUMBA_DISABLE_JIT": disabled}
        run = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
        found += run.stdout.split()
    assert len(found) == 4 and len(set(found)) == 1
