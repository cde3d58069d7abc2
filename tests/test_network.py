"""The integer network: engines agree on every integer, stay within their bounds, and refuse damaged models."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import config

from nncomp.errors import ModelError
from nncomp.network import products, vnni
from nncomp.network.engine import FastEngine, Network, _mlp_out, first_sums
from nncomp.network.engine_reference import ReferenceEngine, squared_relu
from nncomp.network.model import Model, load_model, parse_model, save_model
from nncomp.network.registry import shipped_path
from nncomp.network.state import new_scratch
from tests.models import extreme_model, small_decoder, small_model


def assert_engines_agree(model: Model, lanes: int, steps: int) -> None:
    random = np.random.default_rng(lanes)
    slow, fast = ReferenceEngine(model, lanes), FastEngine(Network(model), lanes)
    for _ in range(steps):
        tokens = random.integers(0, model.sizes["vocab_size"], lanes)
        assert np.array_equal(slow.step(tokens), fast.step(tokens))
        assert np.array_equal(slow.hidden, fast.scratch.hidden)
        for lane in {0, lanes // 2, lanes - 1}:
            group = int(random.integers(model.sizes["group_count"]))
            assert np.array_equal(slow.token_frequencies(lane, group), fast.token_frequencies(lane, group))
    assert np.array_equal(slow.h, fast.state.h)


@pytest.mark.parametrize("lanes", [1, 2, 16, 256])
def test_engines_agree_on_untrained_weights(lanes: int) -> None:
    for seed in range(3):
        assert_engines_agree(small_model(seed), lanes, 5)


@pytest.mark.parametrize("seed", range(20))
def test_engines_agree_at_the_bounds_of_the_format(seed: int) -> None:
    assert_engines_agree(extreme_model(seed), [1, 2, 16][seed % 3], 6)


@pytest.mark.skipif(not shipped_path("default").exists(), reason="no shipped model")
@pytest.mark.parametrize("lanes", [1, 2, 16, 256])
def test_engines_agree_on_the_shipped_model(lanes: int) -> None:
    assert_engines_agree(load_model(shipped_path("default")), lanes, 12 if lanes < 256 else 2)


def test_reference_stays_in_int64() -> None:
    """Python's unbounded integers give the same sums as NumPy's for the most extreme model: nothing overflowed."""
    model = extreme_model(3)
    a = model.arrays
    for scale, bias, k in ((a.gates_scale, a.gates_bias, 32), (a.token_scale, a.token_bias, 32)):
        top = int(scale.max()) * k * 127 * 127 + int(np.abs(bias).max())
        assert top < 2**63
    assert 4096 * 127 * 127 * (2**31 - 1) + 2**52 < 2**63


def test_integer_model_follows_the_quantised_decoder() -> None:
    """The float decoder with quantisation on and the integer model are the same function, up to rounding."""
    decoder, model = small_decoder(), small_model()
    decoder.set_quantization("on")
    ids = torch.randint(0, 512, (30, 4), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        loss, _ = decoder(ids[:-1], ids[1:], decoder.initial_state(4))
    engine, nats, size = ReferenceEngine(model, 4), 0.0, model.group_size
    for before, after in zip(ids[:-1].numpy(), ids[1:].numpy(), strict=True):
        groups = engine.step(before)
        for lane, token in enumerate(after.tolist()):
            tokens = engine.token_frequencies(lane, token // size)
            nats -= math.log(groups[lane, token // size] / groups[lane].sum())
            nats -= math.log(tokens[token % size] / tokens.sum())
    assert nats == pytest.approx(float(loss), rel=2e-3)


def test_the_first_sum_whose_squared_relu_is_not_zero() -> None:
    random = np.random.default_rng(0)
    scale = np.concatenate([[0, 1, 2, 2**31 - 1], random.integers(0, 2 ** random.integers(1, 32, 500))]).astype(np.int32)
    first = first_sums(scale)
    assert not squared_relu(first[None].astype(np.int64) - 1, scale).any()
    assert (squared_relu(first[None].astype(np.int64), scale)[0] > 0).tolist() == (scale > 0).tolist()


@pytest.mark.parametrize("active", [0, 1, 7, 8, 9, 64])
@pytest.mark.parametrize("lanes", [1, 3])
def test_few_or_many_outputs_of_the_squared_relu(lanes: int, active: int) -> None:
    """Up to an eighth of them their columns are added, beyond that all is multiplied; the same sums."""
    random, model = np.random.default_rng(active), small_model()
    network, a, b = Network(model), model.arrays, new_scratch(model.sizes, lanes)
    c = network.constants
    for lane in range(lanes):
        places = random.choice(64, active if lane == 0 else min(active, 5), replace=False)
        b.wide[lane] = first_sums(a.mlp_in_scale[1]) - 1
        b.wide[lane, places] = random.integers(0, 1 << 26, len(places))
    scale, threshold, turned = a.mlp_in_scale[1], first_sums(a.mlp_in_scale[1]), c.mlp_out_turned[1]
    weight = c.packed[4 + 3], a.mlp_out_weight[1], turned
    _mlp_out(c.product, *weight, scale, threshold, b.wide, b.mlp, b.sums, b.delta)
    z = squared_relu(b.wide.astype(np.int64), a.mlp_in_scale[1])
    assert (b.delta == z @ a.mlp_out_weight[1].T.astype(np.int64)).all()


@pytest.mark.parametrize("product", [products.LOOP, products.TILES, "numkong"])
@given(rows=st.integers(1, 20), n=st.integers(1, 4), k=st.integers(1, 40), seed=st.integers(0, 99))
@settings(max_examples=40)
def test_every_product_is_exact(product: int | str, rows: int, n: int, k: int, seed: int) -> None:
    """Any number of lanes, the sizes that tiles take, random and extreme values; all sums with ==."""
    if product == products.TILES and not vnni.available():
        pytest.skip("this processor has no AVX-512 VNNI")
    address = product if isinstance(product, int) else products.numkong_address()
    assert isinstance(address, int)
    random = np.random.default_rng(seed)
    low = -127 if seed % 3 else 126  # now and then all extremes
    weight = (random.integers(low, 128, (64 * n, 4 * k)) * random.choice([-1, 1])).astype(np.int8)
    a = random.integers(low, 128, (rows, 4 * k)).astype(np.int8)
    packed, _buffer = products.pack(address, weight)
    out, sums = np.zeros((rows, 64 * n), np.int32), np.zeros(rows, np.int32)
    products.multiply(np.uint64(address), np.uint64(packed), weight, a, sums, out)
    assert np.array_equal(out, a.astype(np.int64) @ weight.T.astype(np.int64))


@pytest.mark.skipif(not shipped_path("default").exists(), reason="no shipped model")
def test_every_product_gives_the_same_integers() -> None:
    """Tiles, NumKong, the plain loop, and Numba for a processor without AVX-512: one hash of all frequencies.

    A processor that has no AVX-512 is such a one itself; `python -m checks.matrix` has others.
    """
    code = (
        "import hashlib, numpy as np\n"
        "from nncomp.network.engine import FastEngine, Network\n"
        "from nncomp.network.model import load_model\n"
        "from nncomp.network.registry import shipped_path\n"
        "packed, h = Network(load_model(shipped_path('default'))), hashlib.sha256()\n"
        "engine = FastEngine(packed, 7)\n"
        "for i in range(9):\n"
        "    h.update(engine.step(np.arange(7) * 31 + i).tobytes())\n"
        "    h.update(engine.token_frequencies(i % 7, i).tobytes())\n"
        "print(min(int(packed.constants.product), 2), h.hexdigest())\n"
    )
    kinds, hashes = [], set()
    environments: list[dict[str, str]] = [{"NNCOMP_PRODUCT": name} for name in ("tiles", "numkong", "loop")]
    if "+avx512f" in vnni.features():
        environments.append({"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma,-avx512f,-avx512vnni"})
    for environment in environments:
        run = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, check=True
        )
        kind, digest = run.stdout.split()
        kinds.append(int(kind))
        hashes.add(digest)
    assert len(hashes) == 1
    assert kinds[:3] == [products.TILES if vnni.available() else 2, 2, products.LOOP]
    assert products.TILES not in kinds[3:]


@pytest.mark.parametrize("feature", ["avx512vnni", "amx-int8"])
def test_what_is_chosen_for_a_processor_with(feature: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With AVX-512 VNNI the tiles, with AMX NumKong's kernels before them; a skip says what was not run."""
    if config.DISABLE_JIT or f"+{feature}" not in vnni.features():
        pytest.skip(f"no {feature} on this processor, or nothing is compiled: its product is not run")
    monkeypatch.delenv("NNCOMP_PRODUCT", raising=False)
    shapes = [(64, 256), (128, 1024)]
    has_matrix_unit = "+amx-int8" in vnni.features()
    assert products.choose_product(shapes) == (products.numkong_address() if has_matrix_unit else products.TILES)
    monkeypatch.setenv("NNCOMP_PRODUCT", "tiles")
    assert products.choose_product(shapes) == (products.TILES if vnni.available() else products.numkong_address())


def test_model_file_round_trip_and_damage(tmp_path: Path) -> None:
    model = small_model()
    path = tmp_path / "m.safetensors"
    save_model(model, path)
    again = load_model(path)
    assert again.vocabulary == model.vocabulary and again.sizes == model.sizes and again.record == model.record
    assert all(np.array_equal(getattr(again.arrays, name), array) for name, array in model.arrays._asdict().items())
    data = path.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(data)
        for position in random.integers(0, 3000, 3):
            damaged[position] ^= 1 << int(random.integers(8))
        try:
            parse_model(bytes(damaged), "m")
        except ModelError:
            continue
    for size in [0, 1, 7, 8, 9, 100, 3000, len(data) - 1]:
        with pytest.raises(ModelError):
            parse_model(data[:size], "m")
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(tmp_path / "absent")


@pytest.mark.parametrize(
    ("name", "value"), [("shift", 129), ("sigmoid", -1), ("exp2", 0), ("gates_scale", -1), ("token_bias", 1 << 53)]
)
def test_values_out_of_bounds_are_refused(name: str, value: int) -> None:
    model = small_model()
    array = getattr(model.arrays, name).copy()
    array.flat[0] = value
    with pytest.raises(ModelError, match=name):
        replace(model, arrays=model.arrays._replace(**{name: array}))


@pytest.mark.parametrize("name", ["token_lengths", "token_text", "merges"])
def test_a_vocabulary_of_another_shape_is_refused(name: str, tmp_path: Path) -> None:
    from safetensors.numpy import load, save

    save_model(small_model(), tmp_path / "m.safetensors")
    data = (tmp_path / "m.safetensors").read_bytes()
    metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    tensors = load(data)
    parse_model(save(tensors, metadata), "m")
    tensors[name] = tensors[name].reshape(-1, 1)
    with pytest.raises(ModelError, match="type or shape"):
        parse_model(save(tensors, metadata), "m")


@pytest.mark.parametrize("size", [True, 512.0, "512", None, 2**70, [], -1])
def test_a_size_that_is_none_is_refused(size: object, tmp_path: Path) -> None:
    from safetensors.numpy import load, save

    save_model(small_model(), tmp_path / "m.safetensors")
    data = (tmp_path / "m.safetensors").read_bytes()
    metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    metadata["sizes"] = json.dumps(json.loads(metadata["sizes"]) | {"start_token": size})
    with pytest.raises(ModelError):
        parse_model(save(load(data), metadata), "m")
