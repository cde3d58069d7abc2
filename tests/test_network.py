"""The integer network: engines agree on every integer, stay within their bounds, and refuse damaged models."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from llvmlite import ir
from numba import config

from nncomp.errors import ModelError
from nncomp.machine import processor
from nncomp.network import products, tiles
from nncomp.network.engine import Network
from nncomp.network.engine_reference import ReferenceEngine, squared_relu
from nncomp.network.model import Model, parse_model, read_model, save_model
from nncomp.network.registry import open_model, shipped_path
from nncomp.network.squared_relu import first_sums, mlp_out
from nncomp.network.state import new_scratch
from nncomp.network.tiles_intrinsics import generate_tile
from tests.fast_engine import FastEngine
from tests.models import extreme_model, load_model, small_decoder, small_model


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
    assert_engines_agree(read_model(open_model("default")), lanes, 12 if lanes < 256 else 2)


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
    c = network.constants(lanes)
    for lane in range(lanes):
        places = random.choice(64, active if lane == 0 else min(active, 5), replace=False)
        b.wide[lane] = first_sums(a.mlp_in_scale[1]) - 1
        b.wide[lane, places] = random.integers(0, 1 << 26, len(places))
    scale, threshold, turned = a.mlp_in_scale[1], first_sums(a.mlp_in_scale[1]), c.mlp_out_turned[1]
    weight = c.packed[4 + 3], a.mlp_out_weight[1], turned
    mlp_out(c.product, *weight, scale, threshold, b.wide, b.mlp, b.room, b.delta)
    z = squared_relu(b.wide.astype(np.int64), a.mlp_in_scale[1])
    assert (b.delta == z @ a.mlp_out_weight[1].T.astype(np.int64)).all()


@pytest.mark.parametrize("product", [products.LOOP, products.TILES, "numkong"])
@given(rows=st.integers(1, 20), n=st.integers(1, 4), k=st.integers(1, 40), seed=st.integers(0, 99))
@settings(max_examples=40)
def test_every_product_is_exact(product: int | str, rows: int, n: int, k: int, seed: int) -> None:
    """Any number of lanes, the sizes that tiles take, random and extreme values; all sums with ==."""
    if product == products.TILES and not tiles.available():
        pytest.skip("this processor has no dot for the tiles")
    address = product if isinstance(product, int) else products.numkong_address()
    assert isinstance(address, int)
    random = np.random.default_rng(seed)
    low = 126 if seed % 4 == 0 else -127  # now and then all extremes
    weight = (random.integers(low, 128, (64 * n, 8 * k)) * random.choice([-1, 1])).astype(np.int8)
    a = random.integers(low, 128, (rows, 8 * k)).astype(np.int8)
    if seed % 4 > 1:  # sizes about 32, which four of just fit 16 bits, and here and there a large one
        about = random.integers(29, 34, a.shape) * random.choice([-1, 1], a.shape)
        a = np.where(random.integers(0, 30, a.shape) == 0, a, about).astype(np.int8)
    packed, _buffer = products.pack(address, weight)
    out, room = np.zeros((rows, 64 * n), np.int32), np.zeros(tiles.room_words(rows, 8 * k), np.int32)
    products.multiply(np.uint64(address), np.uint64(packed), weight, a, room, out)
    assert np.array_equal(out, a.astype(np.int64) @ weight.T.astype(np.int64))


@pytest.mark.skipif(not shipped_path("default").exists(), reason="no shipped model")
def test_every_product_gives_the_same_integers() -> None:
    """Tiles, NumKong, the plain loop, and Numba for a processor with AVX2 alone: one hash of all frequencies.

    A processor that has no AVX-512 is such a one itself; `python -m checks.matrix` has others.
    """
    code = (
        "import hashlib, numpy as np\n"
        "from nncomp.network.engine import Network\n"
        "from tests.fast_engine import FastEngine\n"
        "from nncomp.network.model import read_model\n"
        "from nncomp.network.registry import open_model\n"
        "packed, h = Network(read_model(open_model('default'))), hashlib.sha256()\n"
        "engine = FastEngine(packed, 7)\n"
        "for i in range(9):\n"
        "    h.update(engine.step(np.arange(7) * 31 + i).tobytes())\n"
        "    h.update(engine.token_frequencies(i % 7, i).tobytes())\n"
        "print(min(int(engine.constants.product), 2), h.hexdigest())\n"
    )
    kinds, hashes = [], set()
    environments: list[dict[str, str]] = [{"NNCOMP_PRODUCT": name} for name in ("tiles", "numkong", "loop")]
    if "+avx512f" in processor.features():
        environments.append({"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma", "NNCOMP_PRODUCT": "tiles"})
    for environment in environments:
        run = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, check=True
        )
        kind, digest = run.stdout.split()
        kinds.append(int(kind))
        hashes.add(digest)
    assert len(hashes) == 1
    assert kinds[:3] == [products.TILES if tiles.available() else 2, 2, products.LOOP]
    assert set(kinds[3:]) <= {products.TILES}


@pytest.mark.parametrize("feature", ["avx2", "avxvnni", "avx512vnni", "amx-int8", "dotprod"])
def test_what_is_chosen_for_a_processor_with(feature: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Timing chooses between the tiles and NumKong; a skip says what was not run."""
    if config.DISABLE_JIT or f"+{feature}" not in processor.features():
        pytest.skip(f"no {feature} on this processor, or nothing is compiled: its product is not run")
    monkeypatch.delenv("NNCOMP_PRODUCT", raising=False)
    shapes, quickest = [(64, 256), (128, 1024)], {4: products.TILES, 32: products.numkong_address()}
    monkeypatch.setattr(products, "_seconds", lambda product, rows: float(product != quickest[rows]))
    assert [products.choose_product(shapes, rows) for rows in (4, 32)] == list(quickest.values())
    assert products.choose_product([(65, 256)], 4) == products.numkong_address()  # no shape for tiles
    monkeypatch.setenv("NNCOMP_PRODUCT", "tiles")
    assert products.choose_product(shapes, 32) == products.TILES


def test_model_file_round_trip_and_damage(tmp_path: Path) -> None:
    model = small_model()
    path = tmp_path / "m.safetensors"
    save_model(model, path)
    again = load_model(path)
    assert (again.vocabulary.tokens, again.vocabulary.merges) == (model.vocabulary.tokens, model.vocabulary.merges)
    assert again.sizes == model.sizes and again.record == model.record
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
    with pytest.raises(ModelError, match="There is no model"):
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


_X86, _ARM = "x86_64-pc-linux-gnu", "aarch64-unknown-linux-gnu"
COMPILED_FOR = [
    (_X86, "icelake-server", "vpdpbusd"),
    (_X86, "alderlake", "vpdpbusd"),
    (_X86, "haswell", "vpmaddubsw"),
    (_ARM, "neoverse-n1", "sdot"),
]


@pytest.mark.parametrize(("dot", "compiled_for"), list(zip(tiles.DOTS, COMPILED_FOR, strict=True)), ids=lambda x: str(x[0]))
def test_tiles_compile_for_processors_that_are_not_here(dot: tiles.Dot, compiled_for: tuple[str, str, str]) -> None:
    """A tile has its dots; where a dot is one instruction, no sum goes to memory and back."""
    triple, cpu, instruction = compiled_for
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    module = ir.Module()
    word = ir.IntType(64)
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [word] * 8), "tile")
    builder = ir.IRBuilder(function.append_basic_block())
    generate_tile(dot, dot.rows, builder, list(function.args))
    builder.ret_void()
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, opt=3)
    parsed = llvm.parse_assembly(str(module))
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    llvm.create_pass_builder(machine, options).getModulePassManager().run(parsed, llvm.create_pass_builder(machine, options))
    lines = machine.emit_assembly(parsed).splitlines()
    dots = [i for i, line in enumerate(lines) if f"\t{instruction}\t" in line]
    assert dots
    assert not dot.instruction or not any("sp" in line.split("\t", 2)[-1] for line in lines[dots[0] : dots[-1]])
