"""Blocks of tokens: the slow twin gives the same probabilities and the same bytes; damaged blocks end in a named error."""

from __future__ import annotations

import functools
import hashlib
import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.slow_block import decode_slowly, encode_slowly
from nncomp import range_coder
from nncomp.blocks import levels, token_payload, token_threads
from nncomp.errors import FormatError, ModelError
from nncomp.format.numbers import MAX_LINES_LOG2, MIN_LINES_LOG2
from nncomp.format.payloads import TokensHead
from nncomp.mixing import byte_predictor, tables, token_contexts
from nncomp.network.engine import Network
from nncomp.network.model import Model, save_model
from nncomp.training.mixing_start import plain_values
from tests.conftest import ROOT
from tests.models import TEXT, extreme_model, load_model, small_model, small_ngrams, two_networks
from tests.test_byte_predictor import some_text

EACH_SOURCE = plain_values(tuple(range(token_contexts.SOURCES)))
MARKUP = b'<a href="x">one</a>,two;three\r\n\t"key": [1, 2]\n' * 4


@functools.cache
def packed(name: str) -> Network:
    """Return a small model by name: plain (each source of mixing in all lanes), extreme, or with other start values of mixing."""
    if name == "plain":
        return Network(replace(small_model(), extra=token_payload.start_extra(EACH_SOURCE)))
    if name == "extreme":
        return Network(extreme_model(3))
    if name == "two networks":
        return Network(replace(two_networks(), extra=of_two(), ngrams=small_ngrams()))
    if name == "ngrams":
        return Network(replace(small_model(1), extra=few(), ngrams=small_ngrams()))
    if name == "few":
        return Network(replace(small_model(1), extra=few()))
    if name == "reach":
        return Network(replace(small_model(1), extra=reaching()))
    return Network(replace(small_model(1), extra=learned() if name == "learned" else any_start()))


@functools.cache
def learned() -> dict[str, Any]:
    """Return start values as a training ends with them."""
    model = packed("plain")
    values = token_payload.encode_and_learn(model, TEXT[:8000], token_payload.model_start(model)).learned
    return token_payload.start_extra(values)


@functools.cache
def few() -> dict[str, Any]:
    """Return start values, as learned, of a model that uses some of the contexts and sets of weight rows."""
    values = plain_values((1, 2, 12, 17), (1, 3))
    return token_payload.start_extra(token_payload.encode_and_learn(packed("plain"), TEXT[:3000], values).learned)


@functools.cache
def of_two() -> dict[str, Any]:
    """Return start values, as learned, of a model of two networks."""
    plain = two_networks()
    values = token_payload.encode_and_learn(Network(plain), TEXT[:3000], token_payload.start_of(plain.extra)).learned
    return token_payload.start_extra(values)


@functools.cache
def reaching() -> dict[str, Any]:
    """Return start values, as learned, of a model that uses each source and each reach."""
    chosen = sorted(token_contexts.context(source, source % 8) for source in range(token_contexts.SOURCES))
    values = plain_values(tuple(chosen), (0, 1, 3, 4))
    return token_payload.start_extra(token_payload.encode_and_learn(packed("plain"), TEXT[:3000], values).learned)


@functools.cache
def any_start() -> dict[str, Any]:
    """Return start values anywhere within their bounds, the extremes often."""
    rng = np.random.default_rng(4)
    most = {"weights": 1 << 19, "final_weights": 1 << 19}
    values = dict(EACH_SOURCE)
    for name, array in EACH_SOURCE.items():
        if name in ("contexts", "row_sets"):
            continue
        top = most.get(name, (1 << 32) - 1)
        low = -top if "weights" in name else 0
        value = rng.integers(low, top + 1, array.shape)
        values[name] = np.where(rng.random(array.shape) < 0.2, rng.choice([low, top], array.shape), value).astype(array.dtype)
    return token_payload.start_extra(values)


def test_what_is_taken_for_lanes_and_lines() -> None:
    for size in (1, 65_535, 131_071, 131_072, 196_608, 262_143, 262_144, (1 << 21) - 1, 1 << 21, 40 << 20):
        wanted = max(k for k in (1, 2, 4, 8) if k == 1 or (65_536 if k < 8 else 262_144) * k <= size)
        assert 1 << token_payload.lanes_log2(size) == wanted
    for size in (1, 63, 64, 65, 1000, 2**18, 2**18 + 1, 10**7):
        wanted = next(bits for bits in range(99) if 1 << bits >= 4 * size)
        assert levels.lines_log2(size) == min(max(wanted, MIN_LINES_LOG2), MAX_LINES_LOG2)


class Spy:
    """Blocks with the lanes the test wants, and the probabilities that were coded."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.p1, self.lanes_log2 = list[int](), 0
        original = range_coder.Encoder.add

        def add(encoder: range_coder.Encoder, decisions: Any, probabilities: Any) -> None:
            self.p1 += probabilities.tolist()
            original(encoder, decisions, probabilities)

        patch.setattr(range_coder.Encoder, "add", add)
        patch.setattr(token_payload, "lanes_log2", lambda *_: self.lanes_log2)

    def encode(self, model: Network, data: bytes, lanes_log2: int) -> bytes:
        """Return the payload of a block of 2**lanes_log2 lanes."""
        self.p1, self.lanes_log2 = [], lanes_log2
        return token_payload.encode_tokens(model, data)[0]


@pytest.fixture
def spy() -> Iterator[Spy]:
    with pytest.MonkeyPatch.context() as patch:
        yield Spy(patch)


CASES = {
    "text": ("plain", TEXT[:500], 0),
    "two lanes": ("plain", TEXT[:600], 1),
    "sixteen lanes": ("plain", TEXT[:900], 4),
    "many kinds": ("plain", some_text(500), 0),
    "matches": ("plain", some_text(120, 5) * 6, 2),
    "fields": ("plain", b"," * 270 + b"\n" + b"1," * 140 + b"\n1,2,3\n", 0),
    "tags": ("plain", b"</a></b>" + b"<a>" * 70 + b"</a>" * 80, 0),
    "one letter": ("plain", b"a" * 700, 1),
    "random": ("plain", random.Random(2).randbytes(150), 2),
    "empty lanes": ("plain", b"hello", 4),
    "one byte": ("plain", b"\xff", 0),
    "extreme": ("extreme", TEXT[:300] + MARKUP, 1),
    "learned": ("learned", TEXT[8000:8400] + MARKUP, 0),
    "learned, lanes": ("learned", TEXT[8000:8500], 4),
    "some contexts": ("few", TEXT[3000:3400] + MARKUP, 0),
    "some contexts, lanes": ("few", some_text(300, 3), 2),
    "any start": ("any", TEXT[:300] + MARKUP, 2),
    "reaches": ("reach", TEXT[3000:4400] + MARKUP, 0),
    "n-grams": ("ngrams", TEXT[3000:4000] + MARKUP, 0),
    "n-grams, lanes": ("ngrams", some_text(200, 3) + TEXT[:1700], 2),
    "two networks": ("two networks", TEXT[3000:3400] + MARKUP, 0),
    "two networks, lanes": ("two networks", some_text(300, 3) + TEXT[:700], 2),
    "reaches, lanes": ("reach", some_text(300, 3) + TEXT[:4900], 1),
}


@pytest.mark.parametrize("name", CASES)
def test_fast_equals_slow(name: str, spy: Spy) -> None:
    """Every probability and every byte of the payload; the fast one decodes it, and the slow twin if it is short."""
    model_name, data, lanes_log2 = CASES[name]
    model = packed(model_name)
    payload = spy.encode(model, data, lanes_log2)
    slow_payload, slow_p1 = encode_slowly(model.model, data, payload[:3])
    assert spy.p1 == slow_p1
    assert payload == slow_payload
    assert token_payload.decode_tokens(model, slow_payload, len(data)) == data
    assert len(data) > 150 or decode_slowly(model.model, payload, len(data)) == data


def test_fast_equals_slow_in_a_full_table(spy: Spy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records and buckets are replaced all the time."""
    monkeypatch.setattr(token_payload, "lines_log2", lambda *_: MIN_LINES_LOG2)
    model, data = packed("plain"), some_text(500, 6) + TEXT[:500]
    payload = spy.encode(model, data, 0)
    assert payload[1] == MIN_LINES_LOG2
    assert (payload, spy.p1) == encode_slowly(model.model, data, payload[:3])


ODD = {
    "one byte": b"\0",
    "every byte": bytes(range(256)),
    "CRLF": b"a line\r\nanother\r\n\r\n" * 50,
    "not UTF-8": b"\xff\xfe caf\xe9 \xc3( \xed\xa0\x80" * 20,
    "NULs": b"\0" * 3000,
    "one letter": b"e" * 5000,
    "random": random.Random(7).randbytes(4000),
    "text": some_text(70_000),
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("model_name", ["plain", "extreme", "any", "two networks", "ngrams"])
def test_round_trip(name: str, model_name: str) -> None:
    data, model = ODD[name], packed(model_name)
    payload, cost_bits = token_payload.encode_tokens(model, data)[:2]
    assert token_payload.decode_tokens(model, payload, len(data)) == data
    assert 0 <= 8 * (len(payload) - 3) - cost_bits <= 64 + 9 * len(data) / 4000  # the last words; the coder's rounding


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread or two: the same bytes, the same errors, and no waiting for one that has left."""
    model, data = packed("any"), some_text(10_000)
    monkeypatch.setattr(token_payload, "lanes_log2", lambda *_: 2)
    payload, cost_bits = token_payload.encode_tokens(model, data)[:2]
    assert payload[0] == 2, "four lanes"
    for threads in (2, 3, 50):
        assert token_payload.encode_tokens(model, data, threads)[:2] == (payload, cost_bits)
        assert token_payload.decode_tokens(model, payload, len(data), threads) == data
    random_ = random.Random(1)
    for _ in range(8):
        altered = bytearray(payload)
        altered[random_.randrange(3, len(payload))] ^= 1 << random_.randrange(8)
        results = []
        for threads in (1, 2):
            try:
                results.append(token_payload.decode_tokens(model, bytes(altered), len(data), threads))
            except FormatError as error:
                results.append(str(error).encode())
        assert results[0] == results[1] != data


@given(st.binary(min_size=1, max_size=300))
@settings(max_examples=30)
def test_any_bytes(data: bytes) -> None:
    model = packed("plain")
    assert token_payload.decode_tokens(model, token_payload.encode_tokens(model, data)[0], len(data)) == data


def decode_or_error(model: Network, payload: bytes, raw_bytes: int) -> bytes | None:
    """Return what an altered payload decodes to, of the size that was asked for, or None for a FormatError."""
    try:
        data = token_payload.decode_tokens(model, payload, raw_bytes)
    except FormatError:
        return None
    assert len(data) == raw_bytes
    return data


def test_altered_headers() -> None:
    model, data = packed("plain"), TEXT[:2000]
    payload = token_payload.encode_tokens(model, data)[0]
    assert payload[0] == 0 and payload[1] == 13
    for at in range(3):
        for value in set(range(256)) - {payload[at]}:
            altered = payload[:at] + bytes([value]) + payload[at + 1 :]
            result = decode_or_error(model, altered, len(data))
            assert result is None or (result != data and (at, value) in HEADERS)


HEADERS = {(0, value) for value in range(5)} | {(1, value) for value in range(8, 21)}


def test_altered_words() -> None:
    """Truncation at every word, bits turned over, bytes and words added, other sizes: other bytes or a named error.

    Without its last word a payload may still decode, as a decoder takes zeros for what is missing.
    """
    model, data, rng = packed("plain"), TEXT[:2000], random.Random(1)
    payload = token_payload.encode_tokens(model, data)[0]
    for end in range(len(payload)):
        if end % 4 == 3 or end < 8:
            found = decode_or_error(model, payload[:end], len(data))
            assert found != data or end == len(payload) - 4
    for _ in range(200):
        at, bit = rng.randrange(3, len(payload)), rng.randrange(8)
        altered = payload[:at] + bytes([payload[at] ^ 1 << bit]) + payload[at + 1 :]
        assert decode_or_error(model, altered, len(data)) != data or at >= len(payload) - 4
    for size in (0, 1, len(data) - 1, len(data) + 1, 20 * len(data)):
        assert decode_or_error(model, payload, size) != data
    assert decode_or_error(model, payload + b"\0", len(data)) is None
    assert decode_or_error(model, payload + bytes(12), len(data)) is None


@given(st.binary(max_size=80), st.integers(0, 300), st.integers(0, 4), st.sampled_from(["plain", "extreme", "any"]))
@settings(max_examples=60)
def test_any_words_give_bytes_or_a_named_error(words: bytes, raw_bytes: int, lanes_log2: int, name: str) -> None:
    decode_or_error(packed(name), bytes([lanes_log2, 8, 0]) + words + bytes(-len(words) % 4), raw_bytes)


def test_numbers_of_the_format_document() -> None:
    """The examples and the hashes of tables that docs/FORMAT.md gives are those of the code."""
    document = " ".join((ROOT / "docs" / "FORMAT.md").read_text(encoding="utf-8").replace(",", "").split())
    successor, first = tables.history_tables()
    kept: list[Any] = [tables.squash_table(), tables.stretch_table(), tables.rate_table(1024, 15), successor[:510], first[:255]]
    for table in kept:
        assert hashlib.sha256(table.astype("<i4").tobytes()).hexdigest()[:16] in document
    assert " ".join(map(str, byte_predictor.probabilities(np.frombuffer(b"aaa", np.uint8), 16).tolist())) in document
    words = range_coder.encode(np.array([1, 0, 1, 1], np.uint8), np.array([1, 65535, 32768, 30000], np.uint16))
    assert " ".join(map(str, words.tolist())) in document


def test_start_values_travel_in_the_model_file(tmp_path: Any) -> None:
    model = packed("learned")
    save_model(model.model, tmp_path / "model.nncm")
    again = Network(load_model(tmp_path / "model.nncm"))
    payload = token_payload.encode_tokens(model, TEXT[:3000])[0]
    assert token_payload.encode_tokens(again, TEXT[:3000])[0] == payload
    assert len(payload) < len(token_payload.encode_tokens(packed("plain"), TEXT[:3000])[0])


def damaged(name: str, change: str) -> Model:
    """Return a model one of whose start values is damaged."""
    key = f"mixing.{name}"
    extra = dict(learned())
    array = extra[key].copy()
    if change == "missing":
        del extra[key]
    elif change == "shape":
        extra[key] = array[None]
    elif change == "type":
        extra[key] = array.astype(np.int64)
    else:
        array.flat[7] = {"high": 1 << 22, "low": -(1 << 22)}[change]
        extra[key] = array
    return replace(small_model(), extra=extra)


WRONG = [(name, change) for name in EACH_SOURCE for change in ("missing", "shape", "type")]
WRONG += [(name, change) for name in ("weights", "final_weights") for change in ("high", "low")]


@pytest.mark.parametrize(("name", "change"), WRONG)
def test_damaged_start_values(name: str, change: str) -> None:
    model = Network(damaged(name, change))
    with pytest.raises(ModelError, match=f"lacks the start value {name} of" if change == "missing" else f" {name} of mixing"):
        token_payload.encode_tokens(model, TEXT[:100])
    with pytest.raises(ModelError, match=f" {name} of mixing"):
        token_payload.decode_tokens(model, bytes([0, 8, 0, *bytes(200)]), 100)


def test_a_model_without_start_values() -> None:
    model = replace(small_model(), extra={})
    with pytest.raises(ModelError, match="lacks the start value contexts of mixing"):
        token_payload.encode_tokens(Network(model), TEXT[:100])


@pytest.mark.parametrize("lanes_bits", [0, 1, 4])
@pytest.mark.parametrize("size", [1, 40, 3000])
def test_how_many_bits_each_part_takes(lanes_bits: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As told from tokens taken one by one in the order of coding, however few are coded at a time."""
    monkeypatch.setattr(token_threads, "ROWS", 3)
    monkeypatch.setattr(token_threads, "_MOST_TOKENS", 6)
    monkeypatch.setattr(token_payload, "lanes_log2", lambda *_: lanes_bits)
    model, data = packed("plain"), TEXT[:size]
    encoded = token_payload.encode_tokens(model, data)
    p = token_payload.predict_tokens(
        model, data, token_payload.model_start(model), TokensHead(lanes_bits, levels.lines_log2(size))
    )
    vocabulary, starts = model.model.vocabulary, token_payload.lane_starts(size, 1 << lanes_bits)
    lanes = [p.ids[low:high].tolist() for low, high in pairwise(p.first_ids.tolist())]
    at, expected, coded = starts.tolist(), [0.0] * levels.PARTS, 0
    for step in range(max(map(len, lanes))):
        for lane, ids in enumerate(lanes):
            if step < len(ids):
                of_token = slice(coded * vocabulary.bits, (coded + 1) * vocabulary.bits)
                expected[at[lane] // -(-size // levels.PARTS)] += range_coder.cost_bits(p.decisions[of_token], p.p1[of_token])
                at[lane] += len(vocabulary.decode(np.array([ids[step]])))
                coded += 1
    assert encoded.part_bits.tolist() == pytest.approx(expected)
    assert encoded.cost_bits == pytest.approx(sum(expected))
