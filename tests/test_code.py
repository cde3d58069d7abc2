"""The code z: engines that start from it agree, it costs what its prior says, and a block with it comes back or is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from checks.independent.decode import decode_tokens as decode_independently
from checks.independent.model_file import parse_model as parse_independently
from checks.independent.refused import RefusedError
from checks.slow_block import decode_slowly, encode_slowly
from nncomp import range_coder
from nncomp.blocks import token_payload
from nncomp.blocks.codec import Codec
from nncomp.errors import FormatError, ModelError
from nncomp.format.numbers import BlockKind
from nncomp.format.payloads import TokensHead
from nncomp.network import encoder
from nncomp.network.code import CodeArrays, code_bits, code_decisions, code_input, code_state, read_code
from nncomp.network.engine import FastEngine, Network
from nncomp.network.engine_reference import ReferenceEngine
from nncomp.network.model import Model, load_model, parse_model, save_model
from nncomp.network.registry import open_model
from nncomp.training.coded_trainer import conditioned, network_loss, restore_encoder, saved_encoder
from nncomp.training.coded_trainer import new_encoder as untrained_encoder
from nncomp.training.export import export
from nncomp.training.float_code_tables import one_hot
from nncomp.training.restore import restore
from tests.models import (
    TEXT,
    coded_decoder,
    coded_model,
    extreme_code,
    extreme_model,
    model_told_little,
    small_model,
    small_start,
)

DIGITS = np.array([3, 0, 1, 2, 0])


def prior(model: Model) -> np.ndarray:
    assert model.code is not None
    return model.code.p1


def random_code(model: Model, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, model.sizes["code_levels"], model.sizes["code_dimensions"])


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("name", ["coded", "extreme", "largest"])
def test_engines_agree(name: str, lanes: int) -> None:
    model = coded_model() if name == "coded" else extreme_code(extreme_model(2), 1, *((3, 5) if name == "extreme" else (64, 16)))
    digits = random_code(model, lanes)
    slow, fast = ReferenceEngine(model, lanes, digits), FastEngine(Network(model), lanes, digits)
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


def test_the_sums_stay_within_their_bounds() -> None:
    """The most dimensions, all entries at the bound: nothing overflows, and what is too large is limited."""
    code = CodeArrays(np.full((64, 2, 3), 32767, np.int16), np.full((64, 2, 1, 4), -32767, np.int16), np.ones((64, 1), np.uint16))
    digits = np.ones(64, np.int64)
    assert code_input(code, digits).tolist() == [64 * 32767] * 3
    assert code_state(code, digits).tolist() == [[-(1 << 26)] * 4]
    assert 64 * 32767 < 1 << 21


def test_the_integers_follow_the_decoder() -> None:
    """The float decoder with its code, quantised, and the integer model are the same function, up to rounding."""
    decoder, model = coded_decoder(), coded_model()
    assert model.code is not None and decoder.code is not None
    decoder.set_quantization("on")
    ids = torch.randint(0, 512, (30, 4), generator=torch.Generator().manual_seed(1))
    choice = one_hot(torch.from_numpy(DIGITS)[None], 4)
    with torch.no_grad():
        state, row = conditioned(decoder, choice, torch.ones(1), 4)
        targets = ids[1:]
        loss, _ = decoder(ids[:-1], targets, state, row)
        same, _ = network_loss(decoder, ids[:-1], targets, state, row)
        unlike, _ = decoder(ids[:-1], targets, decoder.initial_state(4))
        bits = float(decoder.code.bits(choice))
    decoder.set_quantization("off")
    engine, nats, size = ReferenceEngine(model, 4, DIGITS), 0.0, model.group_size
    for before, after in zip(ids[:-1].numpy(), ids[1:].numpy(), strict=True):
        groups = engine.step(before)
        for lane, token in enumerate(after.tolist()):
            tokens = engine.token_frequencies(lane, token // size)
            nats -= math.log(groups[lane, token // size] / groups[lane].sum())
            nats -= math.log(tokens[token % size] / tokens.sum())
    assert nats == pytest.approx(float(loss), rel=2e-3) == pytest.approx(float(same), rel=1e-2)
    assert abs(nats - float(loss)) < 0.1 * abs(float(unlike) - float(loss)), "it is the code that both are told"
    assert bits == pytest.approx(code_bits(model.code.p1, DIGITS), rel=1e-3)


def test_a_code_costs_what_its_prior_says() -> None:
    """The bits that the coder took for a code, read off its state, and the prior's: within 0.1 % and a byte."""
    for model in (coded_model(), coded_model(1), extreme_code(small_model(), 3, 64, 16)):
        p1 = np.array(prior(model))
        share = np.cumprod(np.concatenate([np.ones((len(p1), 1)), p1 / 65536], 1), 1)
        share[:, :-1] *= 1 - p1 / 65536
        assert np.allclose(share.sum(1), 1)
        for seed in range(20):
            digits = random_code(model, seed)
            prior_bits = -np.log2(share[np.arange(len(p1)), digits]).sum()
            words = range_coder.encode(*code_decisions(p1, digits))
            state, found = range_coder.first_state(words), np.zeros(len(p1), np.int64)
            read_code(state, words, p1, found)
            assert found.tolist() == digits.tolist()
            coded_bits = 64 - math.log2(int(state[1])) + 32 * (int(state[3]) - 2)
            assert abs(coded_bits - prior_bits) <= 0.001 * prior_bits + 8
            assert abs(coded_bits - prior_bits) <= 0.001 * prior_bits + 0.01, "in truth far less: there is no rounding to bytes"
            assert code_bits(p1, digits) == pytest.approx(prior_bits)
            range_coder.check_finished(state, words)


def test_a_long_stream_of_codes_costs_what_the_prior_says() -> None:
    p1 = prior(coded_model())
    parts = [code_decisions(p1, random_code(coded_model(), seed)) for seed in range(3000)]
    words = range_coder.encode(np.concatenate([d for d, _ in parts]), np.concatenate([p for _, p in parts]))
    prior_bits = sum(range_coder.cost_bits(*part) for part in parts)
    assert abs(32 * len(words) - prior_bits) <= 0.001 * prior_bits + 64


CASES = {"one lane": (TEXT[:700], 0), "four lanes": (TEXT[300:1500], 2), "empty lanes": (b"hello", 4)}


@pytest.mark.parametrize("name", CASES)
def test_a_block_with_a_code(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fast and slow write the same bytes; four decoders read them; the code is charged."""
    data, lanes_log2 = CASES[name]
    monkeypatch.setattr(token_payload, "lanes_log2", lambda *_: lanes_log2)
    model = coded_model()
    fast = Network(model)
    payload, bits = token_payload.encode_and_learn(fast, data, small_start(), code=DIGITS)[:2]
    assert payload[2] == 1
    assert encode_slowly(model, data, payload[:3], DIGITS.tolist())[0] == payload
    assert decode_slowly(model, payload, len(data)) == data
    for threads in (1, 2):
        found, _, digits = token_payload.decode_lanes(fast, payload, len(data), threads)
        assert (found, digits.tolist()) == (data, DIGITS.tolist())
        assert token_payload.encode_and_learn(fast, data, small_start(), threads, code=DIGITS)[:2] == (payload, bits)
    p = token_payload.predict_tokens(fast, data, small_start(), TokensHead(payload[0], payload[1]), code=DIGITS)
    assert bits == pytest.approx(code_bits(prior(model), DIGITS) + range_coder.cost_bits(p.decisions, p.p1))
    assert 0 <= 8 * (len(payload) - 3) - bits <= 64 + 0.01 * bits


def test_the_independent_decoder_reads_a_code(tmp_path: Path) -> None:
    data = TEXT[:400]
    model = coded_model()
    save_model(model, tmp_path / "m.safetensors")
    file = (tmp_path / "m.safetensors").read_bytes()
    payload = token_payload.encode_and_learn(Network(model), data, small_start(), code=DIGITS)[0]
    assert decode_independently(payload, len(data), parse_independently(file)) == data
    save_model(small_model(), tmp_path / "plain.safetensors")
    with pytest.raises(RefusedError, match="a model that has none"):
        decode_independently(payload, len(data), parse_independently((tmp_path / "plain.safetensors").read_bytes()))


def test_a_code_is_sent_if_it_is_smaller() -> None:
    """Whichever of the two payloads is smaller is taken; one that is given no code has the bytes it always had.

    Of two models that differ in the code's prior only, one says that this code is likely, and one that it is not.
    """
    data = TEXT[:900]
    plain = token_payload.encode_tokens(Network(without_code(coded_model())), data)[0]
    assert plain[2] == 0
    assert token_payload.encode_tokens(Network(coded_model()), data)[0] == plain
    taken = set()
    for seed in range(4):
        for size in (0, 4):  # a code without effect, a code with some
            for p1 in (1, 65535):
                fast = Network(model_told_little(seed, size, p1))
                told = token_payload.encode_and_learn(fast, data, small_start(), code=np.zeros(5, np.int64))[0]
                found = token_payload.encode_tokens(fast, data, code=np.zeros(5, np.int64))[0]
                assert found == (told if len(told) < len(plain) else plain)
                taken.add(found[2])
    assert taken == {0, 1}


def without_code(model: Model) -> Model:
    sizes = {name: size for name, size in model.sizes.items() if not name.startswith("code_")}
    return replace(model, sizes=sizes, code=None)


def test_flags_that_cannot_be(tmp_path: Path) -> None:
    fast, data = Network(coded_model()), TEXT[:500]
    payload = token_payload.encode_and_learn(fast, data, small_start(), code=DIGITS)[0]
    with pytest.raises(FormatError, match="its model knows none"):
        token_payload.decode_tokens(Network(small_model()), payload, len(data))
    for flags in (8, 9, 128, 255):
        with pytest.raises(FormatError, match=f"flags {flags:#x}"):
            token_payload.decode_tokens(fast, payload[:2] + bytes([flags]) + payload[3:], len(data))


def test_another_code_is_never_taken_for_the_text() -> None:
    """z altered in any way: a named error, or bytes that the block's checksum refuses."""
    fast, data = Network(coded_model()), TEXT[:600]
    payload = token_payload.encode_and_learn(fast, data, small_start(), code=DIGITS)[0]
    outcomes = set[bool | None]()
    for at in range(3, 9):  # of the first words: the code is there
        for bit in range(8):
            altered = bytearray(payload)
            altered[at] ^= 1 << bit
            try:
                outcomes.add(token_payload.decode_tokens(fast, bytes(altered), len(data)) == data)
            except FormatError:
                outcomes.add(None)
    unflagged = payload[:2] + b"\0" + payload[3:]
    try:
        outcomes.add(token_payload.decode_tokens(fast, unflagged, len(data)) == data)
    except FormatError:
        outcomes.add(None)
    assert True not in outcomes and outcomes


def damaged(model: Model, name: str, value: int) -> CodeArrays:
    assert model.code is not None
    array = getattr(model.code, name).copy()
    array.flat[-1] = value
    return model.code._replace(**{name: array})


@pytest.mark.parametrize(("name", "value"), [("input", -32768), ("state", -32768), ("p1", 0)])
def test_tables_out_of_bounds_are_refused(name: str, value: int) -> None:
    with pytest.raises(ModelError, match=f"code_{name} leaves its bounds"):
        replace(coded_model(), code=damaged(coded_model(), name, value))


def test_tables_that_are_not_as_the_sizes_say_are_refused(tmp_path: Path) -> None:
    model = coded_model()
    assert model.code is not None
    with pytest.raises(ModelError, match="do not agree"):
        replace(model, code=None)
    with pytest.raises(ModelError, match="do not agree"):
        replace(small_model(), code=model.code)
    with pytest.raises(ModelError, match=r"code_p1 is uint16 \(5, 3\), not uint16 \(5, 4\)|code_input"):
        replace(model, sizes=model.sizes | {"code_levels": 5})
    for claims in ({"code_levels": 1}, {"code_levels": 17}, {"code_dimensions": 65}, {"code_dimensions": -1}):
        with pytest.raises(ModelError, match="claims a code"):
            replace(model, sizes=model.sizes | claims)
    save_model(model, tmp_path / "m.safetensors")
    file = (tmp_path / "m.safetensors").read_bytes()
    assert load_model(tmp_path / "m.safetensors").sizes == model.sizes
    with pytest.raises(ModelError, match="lacks the array or size 'code_state'"):
        parse_model(file.replace(b'"code_state"', b'"node_state"'), "m")


def test_a_model_without_a_code_is_the_file_it_was(tmp_path: Path) -> None:
    save_model(small_model(), tmp_path / "m.safetensors")
    assert b"code" not in (tmp_path / "m.safetensors").read_bytes()[:6000]


def test_a_restored_code_exports_the_same_integers() -> None:
    model = coded_model()
    again = export(restore(model), model.vocabulary, {}).code
    assert again is not None and model.code is not None
    assert np.array_equal(again.input, model.code.input)
    assert np.array_equal(again.state, model.code.state)
    assert np.abs(again.p1.astype(int) - model.code.p1).max() <= 1


def test_the_encoder_in_numpy_is_the_trained_one(tmp_path: Path) -> None:
    """Texts of any length; where float rounding decides between two digits, either may come out."""
    torch.manual_seed(3)
    trained = untrained_encoder(coded_decoder(), 1)
    with torch.no_grad():
        for _ in range(200):
            trained(torch.randint(0, 512, (4, 50)))
    trained.eval()
    own = saved_encoder(trained.state_dict(), 4)
    encoder.save_encoder(own, tmp_path / "e.safetensors")
    own = encoder.load_encoder(tmp_path / "e.safetensors")
    restored = restore_encoder(own).eval()
    seen = set()
    for length in (1, 2, 300, 4096, 4097, 30_000):
        for seed in range(5):
            low = seed * 100
            ids = torch.randint(low, low + 100, (length,), generator=torch.Generator().manual_seed(seed)).numpy()
            position = trained.position(torch.from_numpy(encoder.sample(ids))[None])[0].detach().numpy()
            digits = own.code(ids)
            assert (np.abs(digits - position) <= 0.5 + 1e-4).all()
            assert (np.abs(restored.digits(torch.from_numpy(encoder.sample(ids))[None])[0].numpy() - position) <= 0.501).all()
            seen.add(tuple(digits))
    assert len(seen) > 5


def test_an_encoder_of_any_numbers_says_some_code() -> None:
    """Numbers so large that they overflow: digits within their range, and no warning."""
    weights = {name: torch.full_like(array, 3e38) for name, array in untrained_encoder(coded_decoder(), 0).state_dict().items()}
    digits = saved_encoder(weights, 4).code(np.arange(300))
    assert digits.shape == (5,) and 0 <= digits.min() <= digits.max() <= 3


def test_a_file_with_a_code(tmp_path: Path) -> None:
    """The encoder beside the model is used when it is there, and not needed to decode; see also test_code_training.py."""
    path = tmp_path / "own.safetensors"
    save_model(coded_model(), path)
    beside = encoder.encoder_path(path)
    data = TEXT[:3000]
    codec = Codec(open_model(path))
    plain = codec._encode(BlockKind.TOKENS, data)
    assert plain.payload[2] == 0
    for seed in range(2):
        encoder.save_encoder(saved_encoder(untrained_encoder(coded_decoder(), seed).state_dict(), 4), beside)
        coded = Codec(open_model(path))._encode(BlockKind.TOKENS, data)
        assert len(coded.payload) < len(plain.payload) or coded.payload == plain.payload
        assert codec.decode_block(coded.kind, coded.payload, len(data)) == data
        assert Codec(open_model(path))._encode(BlockKind.TOKENS, data, 2) == coded


@pytest.mark.parametrize("content", [b"", b"no safetensors", "cut", "other", "nan"])
def test_a_damaged_encoder_is_named(content: bytes | str, tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    save_model(coded_model(), path)
    beside = encoder.encoder_path(path)
    weights = untrained_encoder(coded_decoder(), 0).state_dict()
    if content == "nan":
        weights["mean"][0] = math.nan
    if content != "nan":
        encoder.save_encoder(saved_encoder(weights, 3 if content == "other" else 4), beside)
    else:
        with pytest.raises(ModelError, match="finite"):
            saved_encoder(weights, 4)
        return
    if content != "other":
        beside.write_bytes(content if isinstance(content, bytes) else beside.read_bytes()[:-4])
    with pytest.raises(ModelError, match="remove the "):
        Codec(open_model(path))._encode(BlockKind.TOKENS, TEXT[:300])
