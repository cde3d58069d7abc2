"""The byte model: its slow twin gives the same probabilities, its blocks decode, damaged blocks end in a named error."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nncomp import range_coder
from nncomp.errors import FormatError
from nncomp.format.numbers import MAX_TABLE_BITS
from nncomp.mixing import byte_predictor, byte_predictor_reference, mixer, tables
from tests.conftest import called_from_python

BITS = 16


def some_text(size: int, seed: int = 1) -> bytes:
    """Return text of many kinds: prose, a log, a table, markup, source."""
    rng = random.Random(seed)
    words = [
        "the",
        "model",
        "reads",
        "a",
        "byte",
        "and",
        "mixes",
        "what",
        "its",
        "contexts",
        "say;",
        "Then",
        "It",
        "learns.",
        "3.14",
        "naïve",
        "_name",
    ]
    out = bytearray()
    while len(out) < size:
        prose = " ".join(rng.choice(words) for _ in range(rng.randint(2, 12)))
        tag = rng.choice(["item", "name", "Note"])
        form = rng.randint(0, 4)
        if form == 0:
            line = prose + ".\n"
        elif form == 1:
            line = f'10.0.{rng.randint(0, 9)}.7 - [{rng.randint(10, 31)}/Nov/2026:10:{rng.randint(10, 59)}] "GET /{tag}" 200\n'
        elif form == 2:
            line = f"{rng.randint(0, 999)},{tag},{prose[:8]},,{rng.random():.3f}\n"
        elif form == 3:
            line = f'<!-- x --><{tag} id="{rng.randint(0, 9)}"><br/>{prose[:9]}</{tag}>\n'
        else:
            line = f'    if (a[{rng.randint(0, 99)}] < b && c > 1) {{ return; }}\r\n\t"key": {{}}\n'
        out += line.encode()
    return bytes(out[:size])


def as_bytes(data: bytes) -> Any:
    return np.frombuffer(data, np.uint8)


def coded(data: bytes, bits: int = BITS) -> Any:
    return range_coder.encode(np.unpackbits(as_bytes(data)), byte_predictor.probabilities(as_bytes(data), bits))


SAMPLES = {
    "text": some_text(1500),
    "text again": some_text(300, 5) * 3,
    "random": random.Random(2).randbytes(400),
    "one letter": b"a" * 400,
    "tags": b"</a></b>" + b"<a>" * 70 + b"</a>" * 80,
    "fields": b"," * 300 + b"\n" + b"1," * 280 + b"\n1,2,3\n",
    "one byte": b"\xff",
    "nothing": b"",
}


@pytest.mark.parametrize("name", SAMPLES)
def test_fast_equals_slow(name: str) -> None:
    data = SAMPLES[name]
    assert byte_predictor.probabilities(as_bytes(data), BITS).tolist() == byte_predictor_reference.probabilities(data, BITS)


@pytest.mark.parametrize("name", SAMPLES)
def test_round_trip(name: str) -> None:
    data = SAMPLES[name]
    assert byte_predictor.decode_bytes(coded(data), len(data), BITS).tobytes() == data


def test_round_trip_of_a_larger_text_at_the_default() -> None:
    data = some_text(60_000)
    words = coded(data, MAX_TABLE_BITS)
    assert byte_predictor.decode_bytes(words, len(data)).tobytes() == data
    assert 4 * len(words) < len(data) // 4


@given(st.binary(max_size=300))
@settings(max_examples=20)
def test_any_bytes(data: bytes) -> None:
    assert byte_predictor.decode_bytes(coded(data), len(data), BITS).tobytes() == data


@given(st.lists(st.integers(0, 2**32 - 1), max_size=40), st.integers(0, 400))
@settings(max_examples=60)
def test_any_words_give_bytes_or_a_named_error(words: list[int], count: int) -> None:
    try:
        data = byte_predictor.decode_bytes(np.array(words, np.uint32), count, BITS)
    except FormatError:
        return
    assert len(data) == count


@pytest.mark.parametrize(("count", "bits"), [(1, 27), (1, 15), (-1, 20), (2**31, 20)])
def test_sizes_out_of_bounds(count: int, bits: int) -> None:
    with pytest.raises(FormatError, match="this version takes"):
        byte_predictor.sizes(count, bits)


def test_memory_at_the_default() -> None:
    model = byte_predictor.new_mixing(10**7, MAX_TABLE_BITS)
    assert 67_000_000 < total_bytes(model) <= 69_000_000


def total_bytes(part: Any) -> int:
    """Return the bytes of all arrays in a tuple of arrays and tuples."""
    return int(part.nbytes) if isinstance(part, np.ndarray) else sum(map(total_bytes, part))


def test_tables() -> None:
    squash, stretch = tables.squash_table(), tables.stretch_table()
    assert (np.diff(squash) >= 0).all() and squash[0] == 1 and squash[-1] == 65535
    assert (np.diff(stretch) >= 0).all() and abs(stretch).max() <= tables.LOGIT_LIMIT
    assert (squash + squash[::-1] == 65536).all()
    successor, first = tables.history_tables()
    assert successor.max() < tables.HISTORY_STATES and successor[:510].min() > 0
    assert first.min() > 0 and first.max() < 65536


def test_learning_reaches_its_bounds() -> None:
    """The greatest step and the greatest input stay within int32 and the weights within their limit."""
    learn = called_from_python(mixer.learn)
    sets = mixer.new_sets(1, np.zeros((1, 8), np.int32))
    rates = np.array([8191, 0, 0])
    inputs = np.array([tables.LOGIT_LIMIT, -tables.LOGIT_LIMIT, 1, 0, 0, 0, 0, 0], np.int32)
    for _ in range(100):
        learn(sets, 0, inputs, 65535, rates)
    assert sets.weights[0].tolist()[:2] == [mixer.WEIGHT_LIMIT, -mixer.WEIGHT_LIMIT]
    before = sets.weights[0].tolist()
    learn(sets, 0, inputs, -65535, rates)
    step = (-65535 * 8191) >> 10
    assert sets.weights[0].tolist()[0] == before[0] + ((tables.LOGIT_LIMIT * step + 32768) >> 16)
