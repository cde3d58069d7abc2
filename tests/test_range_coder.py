"""The range coder: constriction's stream, and the integer twin of its decoder."""

from __future__ import annotations

import sys
from typing import Any

import constriction
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nncomp import range_coder
from nncomp.errors import FormatError
from nncomp.machine.kernels import compiled


@compiled
def _decode(words: Any, probabilities: Any, decisions: Any, state: Any) -> None:
    for i in range(decisions.size):
        decisions[i] = range_coder.decode_decision(state, words, probabilities[i])


def decode_into(words: range_coder.Words, probabilities: np.ndarray, decisions: np.ndarray) -> np.ndarray:
    """Fill `decisions` and return the final state."""
    state = range_coder.first_state(words)
    _decode(words, probabilities, decisions, state)
    return state


def decode(words: range_coder.Words, probabilities: np.ndarray) -> np.ndarray:
    decisions = np.zeros(len(probabilities), np.uint8)
    range_coder.check_finished(decode_into(words, probabilities, decisions), words)
    return decisions


def test_every_probability_has_constrictions_share() -> None:
    """Each decision's share of 2**24 shows in the decoder's state: compare both decoders word by word."""
    random = np.random.default_rng(0)
    probabilities = np.tile(np.arange(1, 65536), 3).astype(np.uint16)
    random.shuffle(probabilities)
    decisions = (random.random(len(probabilities)) * 65536 < probabilities).astype(np.uint8)
    words = range_coder.encode(decisions, probabilities)
    decoder = constriction.stream.queue.RangeDecoder(words)
    model = constriction.stream.model.Bernoulli(perfect=False)
    theirs = decoder.decode(model, probabilities.astype(np.float64) / 65536)
    assert np.array_equal(theirs, decisions)
    assert np.array_equal(decode(words, probabilities), decisions)


def test_random_words_decode_as_constriction_decodes_them() -> None:
    """On words no encoder wrote, a share that is off by one would soon take another path."""
    random = np.random.default_rng(1)
    model = constriction.stream.model.Bernoulli(perfect=False)
    valid = 0
    for _ in range(400):
        words = random.integers(0, 2**32, 60, dtype=np.uint32)
        probabilities = random.integers(1, 65536, 1500).astype(np.uint16)
        ours = np.zeros(len(probabilities), np.uint8)
        state = decode_into(words, probabilities, ours)
        try:
            theirs = constriction.stream.queue.RangeDecoder(words).decode(model, probabilities / 65536.0)
        except AssertionError:
            assert state[range_coder.DAMAGED]
            continue
        assert np.array_equal(ours, theirs) and not state[range_coder.DAMAGED]
        valid += 1
    assert valid > 300


def words_of(encoder: range_coder.Encoder, decisions: np.ndarray, probabilities: np.ndarray, parts: int) -> list[int]:
    for some in np.array_split(np.arange(len(decisions)), parts):
        encoder.add(decisions[some], probabilities[some])
    found: list[int] = encoder.words().tolist()
    return found


@given(
    st.lists(
        st.tuples(st.sampled_from([1, 2, 255, 32767, 32768, 65534, 65535]) | st.integers(1, 65535), st.booleans()), max_size=400
    ),
    st.integers(1, 5),
)
def test_the_twin_writes_constrictions_words(pairs: list[tuple[int, bool]], parts: int) -> None:
    probabilities, decisions = np.array([p for p, _ in pairs], np.uint16), np.array([d for _, d in pairs], np.uint8)
    encoders = range_coder.Encoder(), range_coder.TwinEncoder()
    assert len({tuple(words_of(encoder, decisions, probabilities, parts)) for encoder in encoders}) == 1


@pytest.mark.parametrize("last", [[], [0], [1], [0] * 40, [1] * 40])
def test_words_that_are_held_back(last: list[int]) -> None:
    """Decisions that keep a carry open, so that many words are held back; then some that decide it, or none."""
    decisions, share = list[int](), ((65536 - 32768) * ((1 << 24) - 2) >> 16) + 1
    above, size = 1 << 63, (1 << 64) - 1  # how far above `lower` the place of the carry is
    for _ in range(3_000):
        split = (size >> 24) * share
        decisions.append(int(above >= split))
        above, size = (above - split, (size >> 24 << 24) - split) if decisions[-1] else (above, split)
        if size < 1 << 32:
            above, size = above << 32, size << 32
    probabilities = np.full(len(decisions) + len(last), 32768, np.uint16)
    twin = range_coder.TwinEncoder()
    twin.add(np.array(decisions, np.uint8), probabilities[: len(decisions)])
    assert twin._state[range_coder._HELD] > 50
    encoders = range_coder.Encoder(), range_coder.TwinEncoder()
    found = [words_of(each, np.array(decisions + last, np.uint8), probabilities, 7) for each in encoders]
    assert found[0] == found[1] and len(found[0]) > 50


def test_where_constriction_is_not_installed_its_twin_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert type(range_coder.new_encoder()) is range_coder.Encoder
    monkeypatch.setitem(sys.modules, "constriction", None)
    assert type(range_coder.new_encoder()) is range_coder.TwinEncoder


@given(st.lists(st.tuples(st.integers(1, 65535), st.booleans()), max_size=300))
def test_round_trip(pairs: list[tuple[int, bool]]) -> None:
    probabilities = np.array([p for p, _ in pairs], np.uint16)
    decisions = np.array([d for _, d in pairs], np.uint8)
    words = range_coder.bytes_to_words(range_coder.words_to_bytes(range_coder.encode(decisions, probabilities)))
    assert np.array_equal(decode(words, probabilities), decisions)
    assert 32 * len(words) <= range_coder.cost_bits(decisions, probabilities) * 1.0001 + 64


def test_known_words() -> None:
    """The words themselves are the format: they may never change."""
    decisions = np.array([0, 1, 1, 0, 1, 0, 0, 1] * 16, np.uint8)
    probabilities = np.arange(400, 400 + 128 * 500, 500).astype(np.uint16)
    assert range_coder.words_to_bytes(range_coder.encode(decisions, probabilities)).hex() == KNOWN


KNOWN = "37606ffe329d38b3c8c020e6aae78add5e5593d536df01c5"


def test_a_stream_that_is_too_long_or_too_short_is_named() -> None:
    probabilities = np.full(2000, 30_000, np.uint16)
    decisions = np.tile(np.array([0, 1], np.uint8), 1000)
    words = range_coder.encode(decisions, probabilities)
    with pytest.raises(FormatError, match="does not end"):
        decode(np.append(words, np.zeros(3, np.uint32)), probabilities)
    with pytest.raises(FormatError, match="does not end"):
        decode(words[:-4], probabilities)
    with pytest.raises(FormatError, match="multiple of 4"):
        range_coder.bytes_to_words(b"12345")
