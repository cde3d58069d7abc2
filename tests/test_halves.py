"""Two threads with half of a network each: the integers of the whole, the same text decoded, and no waiting for a lost one."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from dataclasses import replace
from threading import Thread
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nncomp.blocks import token_payload, token_threads, token_ways
from nncomp.blocks.levels import Effort
from nncomp.blocks.token_loop import run
from nncomp.errors import FormatError
from nncomp.machine.turns import sleep_address
from nncomp.network.code import NO_CODE
from nncomp.network.engine import Network, feed
from nncomp.network.halves import Half, halves
from nncomp.network.model import Model, read_model
from nncomp.network.registry import open_model, shipped_path
from nncomp.network.state import new_scratch, new_state, no_exchange
from nncomp.training.export import export
from tests.models import SHAPE, TEXT, coded_model, extreme_model, small_decoder, small_model, small_start, small_vocabulary
from tests.test_known_tokens import MODELS

PLAIN = Network(small_model())


@pytest.fixture(autouse=True)
def _of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_ways, "_LARGE_WEIGHTS", 0)


def shipped(name: str) -> Model:
    if not shipped_path(name).exists():
        pytest.skip("no shipped model")
    return read_model(open_model(name))


def in_two_threads(both: list[Half], ids: NDArray[np.int32]) -> list[list[Any]]:
    """Feed the tokens to both halves; return what each says after each token: of the groups, and for the tokens of a group."""
    found: list[list[Any]] = [[], []]

    def run(half: Half) -> None:
        b, network = half.scratch, (half.constants, half.state, half.scratch, half.exchange)
        for number in range(len(ids)):
            feed(*network, ids[number : number + 1], b.rows, np.uint64(sleep_address()))
            found[half.exchange.half].append((b.groups.tolist(), b.hidden.tolist()))

    threads = [Thread(target=run, args=(half,), daemon=True) for half in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.parametrize("name", [*MODELS, "fast", "default"])
def test_halves_equal_the_whole(name: str) -> None:
    """With the tiles of the shipped models and otherwise; in `fast` one half of the states is twice the other."""
    plain, code = MODELS[name] if name in MODELS else (shipped(name), NO_CODE)
    model = Network(plain)
    ids = np.random.default_rng(1).integers(0, plain.sizes["vocab_size"], 60).astype(np.int32)
    state, b, alone, expected = new_state(plain, 1, code), new_scratch(plain.sizes, 1), no_exchange(), []
    for number in range(len(ids)):
        feed(model.constants(1), state, b, alone, ids[number : number + 1], b.rows, np.uint64(0))
        expected.append((b.groups.tolist(), b.hidden.tolist()))
    start = new_state(plain, 1, code)
    both = [
        half._replace(state=half.state._replace(h=np.ascontiguousarray(start.h[:, :, half.places]), code=start.code.copy()))
        for half in halves(model, 1)
    ]
    assert in_two_threads(both, ids) == [expected, expected]
    assert np.array_equal(np.concatenate([half.state.h for half in both], axis=2), state.h)
    assert both[0].state.h.shape[2] >= both[1].state.h.shape[2] >= state.h.shape[2] // 3


def result_of(model: Network, payload: bytes, raw_bytes: int, threads: int) -> bytes:
    """Return what is decoded, or the message."""
    try:
        return token_payload.decode_tokens(model, payload, raw_bytes, threads)
    except FormatError as error:
        return str(error).encode()


@pytest.mark.parametrize("model", [small_model(), extreme_model(2), coded_model()], ids=["small", "extreme", "told"])
def test_threads_decode_one_lane_the_same(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """And altered bytes to the same errors: tokens that do not fit, words that end early."""
    monkeypatch.setattr(token_ways, "_HALVED_BYTES", 1)
    packed, code = Network(model), 3 if model.code else NO_CODE
    for size in (1, 2, 5000):
        payload = token_payload.encode_and_learn(packed, TEXT[:size], small_start(), 1, code)[0]
        for threads in (1, 2, 50):
            assert token_payload.decode_tokens(packed, payload, size, threads) == TEXT[:size]
    random_ = random.Random(1)
    for _ in range(25):
        altered = bytearray(payload)
        altered[random_.randrange(3, len(payload))] ^= 1 << random_.randrange(8)
        results = [result_of(packed, bytes(altered), size, threads) for threads in (1, 2)]
        assert results[0] == results[1]
    results = [result_of(packed, payload[: len(payload) // 8 * 4 + 3], size, threads) for threads in (1, 2)]
    assert results[0] == results[1] and b"truncated" in results[0]


@pytest.mark.parametrize("lanes_bits", [0, 1])
@pytest.mark.parametrize("failing", [0, 1])
def test_a_thread_that_fails_ends_it_for_both(failing: int, lanes_bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = TEXT[:20_000]
    monkeypatch.setattr(token_payload, "lanes_log2", lambda *_: lanes_bits)
    payload = token_payload.encode_tokens(PLAIN, data)[0]

    def fail() -> None:
        time.sleep(0.05)  # the other is waiting
        raise MemoryError("of this thread")

    def bound(*arguments: Any) -> Callable[[], None]:
        return fail if arguments[-2].mixes == (failing == 0) else run.bound(*arguments)

    monkeypatch.setattr(token_threads, "run", SimpleNamespace(bound=bound))
    with pytest.raises(MemoryError, match="of this thread"):
        token_payload.decode_tokens(PLAIN, payload, len(data), 2)
    with pytest.raises(MemoryError, match="of this thread"):
        token_payload.encode_tokens(PLAIN, data, 2)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="a thread cannot be bound to one core")
def test_on_one_core_it_goes_on() -> None:
    """A thread that waits gives the core away, and one thread goes on alone where two are slower."""
    model, data = Network(shipped("default")), (TEXT * 2)[:60_000]
    payload = token_payload.encode_and_learn(model, data, token_payload.model_start(model), effort=Effort(max_lanes=1))[0]
    cores, times = os.sched_getaffinity(0), []
    os.sched_setaffinity(0, {max(cores)})
    try:
        for threads in (1, 2, 1, 2):
            start = time.process_time()
            assert token_payload.decode_tokens(model, payload, len(data), threads) == data
            times.append(time.process_time() - start)
    finally:
        os.sched_setaffinity(0, cores)
    assert min(times[1::2]) < 2 * min(times[::2])


def test_what_cannot_be_halved_is_left_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_ways, "_HALVED_BYTES", 1)
    model = Network(export(small_decoder(0, replace(SHAPE, state_width=1)), small_vocabulary(), {}))
    assert halves(model, 1) == []
    payload = token_payload.encode_tokens(model, TEXT[:500])[0]
    assert token_payload.decode_tokens(model, payload, 500, 2) == TEXT[:500]
