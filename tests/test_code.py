"""Codes: engines that start from one agree, the sender's choice pays, a block with a code comes back or is refused."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from checks.independent.decode import decode_tokens as decode_independently
from checks.independent.model_file import parse_model as parse_independently
from checks.independent.refused import RefusedError
from checks.slow_block import decode_slowly, encode_slowly
from nncomp import range_coder
from nncomp.blocks import token_payload
from nncomp.blocks.code_choice import Choice, likely_codes
from nncomp.blocks.levels import Effort
from nncomp.errors import FormatError, ModelError
from nncomp.format.payloads import TokensHead
from nncomp.network.code import NO_CODE, CodeTable, code_input, code_state, named_codes
from nncomp.network.engine import Network
from nncomp.network.engine_reference import ReferenceEngine
from nncomp.network.model import Model, parse_model, save_model
from tests.fast_engine import FastEngine
from tests.models import TEXT, coded_model, extreme_code, extreme_model, load_model, small_model, small_start, with_codes
from tests.test_known_tokens import by_steps

CODE = 3


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("name", ["coded", "extreme", "many"])
def test_engines_agree(name: str, lanes: int) -> None:
    model = coded_model() if name == "coded" else extreme_code(extreme_model(2), 1, 4 if name == "extreme" else 255)
    code = model.sizes["code_entries"]
    slow, fast = ReferenceEngine(model, lanes, code), FastEngine(Network(model), lanes, code)
    plain = ReferenceEngine(model, lanes)
    tokens, differs = np.arange(lanes) + 65, False
    for _ in range(6):
        groups = slow.step(tokens)
        assert np.array_equal(groups, fast.step(tokens))
        assert np.array_equal(slow.token_frequencies(lanes - 1, 2), fast.token_frequencies(lanes - 1, 2))
        differs |= not np.array_equal(groups, plain.step(tokens))
        tokens = (tokens * 31 + 7) % 256
    assert np.array_equal(slow.h, fast.state.h)
    assert differs or name != "coded"


def test_what_an_entry_says() -> None:
    """Code c has the entry c - 1; input and state have 16 and 8 fraction bits more than the table. h stays within its bound."""
    inputs, states = np.array([[1, 2], [-32767, 32767]], np.int16), np.array([[[3]], [[-32767]]], np.int16)
    table = CodeTable(inputs, states, encoder=np.array([[2, 0], [-1, 2]], np.int16))
    assert code_input(table, 1).tolist() == [1 << 16, 2 << 16] and code_input(table, 2).tolist() == [-32767 << 16, 32767 << 16]
    assert code_state(table, 1).tolist() == [[3 << 8]] and code_state(table, 2).tolist() == [[-32767 << 8]]
    assert 32767 << 8 < 1 << 26
    for rows, named in (([[5, 1]], [1, 2]), ([[5, 1], [-3, 4]], [2, 1]), ([[0, 0]], [1, 2])):
        assert named_codes(table, np.array(rows, np.int8)) == named, "the sums of rows times matrix, equal ones in their order"


CASES = {"one lane": (TEXT[:700], 0), "four lanes": (TEXT[300:1500], 2), "empty lanes": (b"hello", 4)}


@pytest.mark.parametrize("name", CASES)
def test_a_block_with_a_code(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fast and slow write the same bytes, four decoders read them, and the code takes no byte more than no code."""
    data, lanes_log2 = CASES[name]
    monkeypatch.setattr(token_payload, "lanes_log2", lambda *_: lanes_log2)
    model = coded_model()
    fast = Network(model)
    payload, bits = token_payload.encode_and_learn(fast, data, small_start(), code=CODE)[:2]
    assert payload[2] == CODE
    assert encode_slowly(model, data, payload[:3])[0] == payload
    assert decode_slowly(model, payload, len(data)) == data
    for threads in (1, 2):
        assert token_payload.decode_tokens(fast, payload, len(data), threads) == data
        assert token_payload.encode_and_learn(fast, data, small_start(), threads, code=CODE)[:2] == (payload, bits)
    p = token_payload.predict_tokens(fast, data, small_start(), TokensHead(payload[0], payload[1], CODE))
    assert bits == pytest.approx(range_coder.cost_bits(p.decisions, p.p1))
    assert 0 <= 8 * (len(payload) - 3) - bits <= 64 + 0.01 * bits


def test_the_independent_decoder_reads_a_code(tmp_path: Path) -> None:
    data = TEXT[:400]
    model = coded_model()
    save_model(model, tmp_path / "m.safetensors")
    file = (tmp_path / "m.safetensors").read_bytes()
    payload = token_payload.encode_and_learn(Network(model), data, small_start(), code=CODE)[0]
    assert decode_independently(payload, len(data), parse_independently(file)) == data
    save_model(small_model(), tmp_path / "plain.safetensors")
    with pytest.raises(RefusedError, match="a code that the model does not have"):
        decode_independently(payload, len(data), parse_independently((tmp_path / "plain.safetensors").read_bytes()))
    with pytest.raises(RefusedError, match="a code that the model does not have"):
        decode_independently(payload[:2] + b"\6" + payload[3:], len(data), parse_independently(file))


def gains(model: Model, data: bytes) -> dict[int, float]:
    """Return the bits that each code saves on the tokens of a text, for the reference network alone."""
    ids, bits = model.vocabulary.encode(data), model.vocabulary.bits
    decisions = np.array([token >> bit & 1 for token in ids.tolist() for bit in range(bits)[::-1]], np.uint8)

    def cost(code: int) -> float:
        p1 = np.array(by_steps(model, [ids], code)[1], np.uint16).reshape(-1)
        return float(range_coder.costs_bits(decisions, p1, bits).sum())

    return {code: cost(NO_CODE) - cost(code) for code in range(1, model.sizes["code_entries"] + 1)}


def test_the_likeliest_codes_are_found() -> None:
    """Four that the encoder names, each with what it saves alone; the order is that of the bits saved."""
    for entries in (3, 40):
        model = with_codes(small_model(), entries, 4, 3000)
        assert model.code is not None
        for data in (TEXT[:12], TEXT[1000:1011]):
            found, expected = likely_codes(Network(model), small_start(), data, 4), gains(model, data)
            named = named_codes(model.code, model.arrays.embedding[model.vocabulary.encode(data)])[:4]
            assert [choice.code for choice in found] == sorted(named, key=lambda code: -expected[code])
            assert all(choice.saved_bits == expected[choice.code] for choice in found)
    for untold, data in ((small_model(), TEXT), (model, b"")):
        assert likely_codes(Network(untold), small_start(), data, 4) == []


def test_a_code_is_sent_if_it_is_smaller() -> None:
    """Of a short block the smallest payload is taken; without codes in the model the bytes are those of no code."""
    plain = Network(small_model())
    taken = set()
    for seed in range(6):
        fast, data = Network(with_codes(small_model(), 3, seed, 2500)), TEXT[900 * seed :][:900]
        none = token_payload.encode_tokens(plain, data)[0]
        each = [token_payload.encode_and_learn(fast, data, small_start(), code=code)[0] for code in range(4)]
        found = token_payload.encode_tokens(fast, data, effort=Effort(tried_codes=2))[0]
        assert none == each[0] and found in each and len(found) <= len(none)
        taken.add(found[2] > 0)
    assert taken == {False, True}


def test_what_is_coded_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """The likeliest code alone; with more effort, in a short block, none and so many codes."""
    data = TEXT[:3000]
    fast = Network(with_codes(small_model(), 6, 4, 3000))
    encode, codes = token_payload.encode_and_learn, list[int]()

    def counted(network: Network, text: bytes, start: Any, threads: int, code: int, effort: Effort) -> token_payload.Encoded:
        codes.append(code)
        return encode(network, text, start, threads, code, effort)

    monkeypatch.setattr(token_payload, "encode_and_learn", counted)
    monkeypatch.setattr(token_payload, "likely_codes", lambda *_: [Choice(5, 9.0), Choice(2, 3.0), Choice(1, 1.0)])
    most = 3 * len(data)
    for count, in_all, tried in (
        (1, most, [5]),
        (2, most, [0, 5, 2]),
        (6, most, [0, 5, 2, 1]),
        (6, most - 1, [0, 5, 2]),
        (6, most // 2, [5]),
    ):
        codes.clear()
        monkeypatch.setattr(token_payload, "_TRIED_BYTES", in_all)
        token_payload.encode_tokens(fast, data, effort=Effort(tried_codes=count))
        assert codes == tried
    codes.clear()
    with monkeypatch.context() as lanes:
        lanes.setattr(token_payload, "lanes_log2", lambda *_: 1)
        token_payload.encode_tokens(fast, data)
    assert codes == [0], "lanes begin at several places of a text"
    monkeypatch.setattr(token_payload, "likely_codes", lambda *_: [Choice(2, -1.0)])
    codes.clear()
    token_payload.encode_tokens(fast, data)
    assert codes == [0], "no code saves bits"


def test_codes_that_cannot_be() -> None:
    fast, data = Network(coded_model()), TEXT[:500]
    payload = token_payload.encode_and_learn(fast, data, small_start(), code=CODE)[0]
    with pytest.raises(FormatError, match="has the code 3, but its model has 0 codes"):
        token_payload.decode_tokens(Network(small_model()), payload, len(data))
    for code in (6, 128, 255):
        with pytest.raises(FormatError, match=f"has the code {code}, but its model has 5 codes"):
            token_payload.decode_tokens(fast, payload[:2] + bytes([code]) + payload[3:], len(data))


def test_another_code_is_never_taken_for_the_text() -> None:
    """The code altered: a named error, or other bytes, which the block's checksum refuses."""
    fast, data = Network(coded_model()), TEXT[:600]
    payload = token_payload.encode_and_learn(fast, data, small_start(), code=CODE)[0]
    for code in {0, 1, 2, 4, 5}:
        with contextlib.suppress(FormatError):
            assert token_payload.decode_tokens(fast, payload[:2] + bytes([code]) + payload[3:], len(data)) != data


@pytest.mark.parametrize("name", CodeTable._fields)
def test_tables_out_of_bounds_are_refused(name: str) -> None:
    model = coded_model()
    assert model.code is not None
    array = getattr(model.code, name).copy()
    array.flat[-1] = -32768
    with pytest.raises(ModelError, match=f"code_{name} leaves its bounds"):
        replace(model, code=model.code._replace(**{name: array}))


def test_tables_that_are_not_as_the_sizes_say_are_refused(tmp_path: Path) -> None:
    model = coded_model()
    assert model.code is not None
    with pytest.raises(ModelError, match="do not agree"):
        replace(model, code=None)
    with pytest.raises(ModelError, match="do not agree"):
        replace(small_model(), code=model.code)
    with pytest.raises(ModelError, match="code_input is int16"):
        replace(model, sizes=model.sizes | {"code_entries": 4})
    for entries in (256, -1):
        with pytest.raises(ModelError, match=f"claims a table of {entries} codes"):
            replace(model, sizes=model.sizes | {"code_entries": entries})
    save_model(model, tmp_path / "m.safetensors")
    file = (tmp_path / "m.safetensors").read_bytes()
    assert load_model(tmp_path / "m.safetensors").sizes == model.sizes
    with pytest.raises(ModelError, match="lacks the array or size 'code_state'"):
        parse_model(file.replace(b'"code_state"', b'"node_state"'), "m")


def test_a_model_without_codes_says_nothing_of_them(tmp_path: Path) -> None:
    save_model(small_model(), tmp_path / "m.safetensors")
    assert b"code" not in (tmp_path / "m.safetensors").read_bytes()[:6000]
