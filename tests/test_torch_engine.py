"""The network on a device of torch: the integers of the definition, and files that the other engines make and read.

All of it runs on torch's CPU device; the same tests run on CUDA where there is one.
"""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nncomp.blocks import token_payload
from nncomp.blocks.memory import Memory, coding_bytes
from nncomp.errors import DeviceError, FormatError, MemoryLimitError, NncompError
from nncomp.format.numbers import SPLIT_BYTES
from nncomp.format.payloads import TokensHead
from nncomp.network import torch_engine, torch_products
from nncomp.network.code import NO_CODE
from nncomp.network.device import open_outside
from nncomp.network.engine import Network
from nncomp.network.engine_reference import ReferenceEngine
from nncomp.network.model import Model, read_model, save_model
from nncomp.network.registry import ModelFile, installed_model
from nncomp.network.torch_engine import TorchNetwork, integer_sqrt
from nncomp.network.torch_products import PRODUCTS, Product, choose_product, is_exact
from tests.conftest import ROOT, Run, environment
from tests.models import TEXT, coded_model, extreme_code, extreme_model, small_model
from tests.test_byte_predictor import some_text

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
on_every_device = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, needs_cuda])])
CPU = torch.device("cpu")
MODELS = ("plain", "coded", *(f"extreme {seed}" for seed in range(6)), "extreme, coded")


@functools.cache
def a_model(name: str) -> Model:
    if name in ("plain", "coded"):
        return small_model() if name == "plain" else coded_model()
    return extreme_code(extreme_model(9), 1, 5) if "coded" in name else extreme_model(int(name.split()[1]))


@functools.cache
def packed(name: str) -> Network:
    return Network(a_model(name))


@functools.cache
def on_device(name: str, device: str) -> TorchNetwork:
    return TorchNetwork(a_model(name), device)


def code_of(model: Model) -> int:
    return 3 if model.code else NO_CODE


def on_the_way(parts: list[list[int]], token: int, bits: int) -> list[int]:
    """Return p1 of the decisions of a token: `parts` are the frequencies of the groups, and of those in its group."""
    found = []
    for part in parts:
        while len(part) > 1:
            half = len(part) // 2
            zeros, ones = sum(part[:half]), sum(part[half:])
            found.append(min(max((ones * 65536 + (zeros + ones) // 2) // (zeros + ones), 1), 65535))
            part = part[half:] if token >> (bits - len(found)) & 1 else part[:half]
    return found


@on_every_device
@pytest.mark.parametrize("name", MODELS)
def test_all_integers_are_those_of_the_definition(name: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Step by step, and many steps at once in chunks, with lanes of unequal lengths; extreme weights too."""
    monkeypatch.setitem(torch_engine._CHUNK_TOKENS, device, 7)
    model = a_model(name)
    random, code, bits = np.random.default_rng(len(name)), code_of(model), model.vocabulary.bits
    counts = [11, 8, 0, 1]
    ids = [random.integers(0, 512, count).astype(np.int32) for count in counts]
    there = on_device(name, device)
    known = there.probabilities(np.concatenate(ids), np.cumsum([0, *counts]), code).tolist()
    slow, fast = ReferenceEngine(model, len(counts), code), there.start(len(counts), code)
    before, expected = np.full(len(counts), model.sizes["start_token"]), list[int]()
    for t in range(max(counts)):
        groups = slow.step(before)
        assert np.array_equal(groups, fast.step(before))
        assert np.array_equal(slow.hidden, fast.hidden)
        assert np.array_equal(slow.h, fast.h.cpu().numpy())
        for lane in range(len(counts)):
            group = int(random.integers(model.sizes["group_count"]))
            assert np.array_equal(slow.token_frequencies(lane, group), fast.token_frequencies(lane, group))
            if t < counts[lane]:
                before[lane] = token = int(ids[lane][t])
                in_group = slow.token_frequencies(lane, token // model.group_size)
                expected += on_the_way([groups[lane].tolist(), in_group.tolist()], token, bits)
    assert known == expected


@on_every_device
@pytest.mark.skipif(installed_model("default") is None, reason="no shipped model")
def test_the_shipped_model_in_many_lanes(device: str) -> None:
    file = installed_model("default")
    assert file is not None
    model = read_model(file)
    slow, fast = ReferenceEngine(model, 70), TorchNetwork(model, device).start(70, NO_CODE)
    for t in range(2):
        tokens = np.arange(70) * 101 + t
        assert np.array_equal(slow.step(tokens), fast.step(tokens))
    assert np.array_equal(slow.token_frequencies(69, 127), fast.token_frequencies(69, 127))


# Products


@given(rows=st.integers(1, 40), n=st.integers(1, 70), k=st.integers(1, 70), long=st.booleans(), seed=st.integers(0, 99))
@settings(max_examples=60)
def test_float_products_are_exact(rows: int, n: int, k: int, long: bool, seed: int) -> None:
    """Whatever the sizes and values, longer than float32 could sum at once too."""
    random = np.random.default_rng(seed)
    k += 1040 * long
    low = 126 if seed % 3 == 0 else -127  # now and then all extremes
    weight, a = random.integers(low, 128, (n, k)) * random.choice([-1, 1]), random.integers(low, 128, (rows, k))
    for product in PRODUCTS[1:]:
        found = product.multiply(torch.from_numpy(a), product.pack(torch.from_numpy(weight)))
        assert found.dtype == torch.int64 and np.array_equal(found.numpy(), a @ weight.T)


def test_a_product_that_is_wrong_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    right = PRODUCTS[2]
    saturating = Product("saturating", right.pack, lambda a, packed: right.multiply(a, packed).clamp(-(1 << 15), (1 << 15) - 1))
    failing = Product("failing", right.pack, lambda a, packed: torch.zeros(1).view(2))
    many_rows = Product("wrong for many rows", right.pack, lambda a, p: right.multiply(a, p) + (len(a) > 100))
    monkeypatch.setattr(torch_products, "PRODUCTS", (saturating, failing, many_rows, right))
    assert choose_product(CPU, [(16, 32), (8, 64)]) is right
    monkeypatch.setattr(torch_products, "PRODUCTS", (saturating, failing, many_rows))
    with pytest.raises(DeviceError, match="wrong sums"):
        choose_product(CPU, [(16, 32)])


@pytest.mark.skipif(platform.machine() != "x86_64", reason="x86 without VNNI")
def test_without_vnni_torch_s_own_product_is_found_out() -> None:
    """There it saturates and says nothing; the probe sees it, and the network's integers stay what they are."""
    code = (
        "import numpy as np, torch\n"
        "from nncomp.network import torch_products as p\n"
        "cpu = torch.device('cpu')\n"
        "a = torch.full((32, 256), 127)\n"
        "right = bool((p.PRODUCTS[0].multiply(a, p.PRODUCTS[0].pack(a)) == 256 * 127 * 127).all())\n"
        "print(right, p.is_exact(p.PRODUCTS[0], cpu, 32, 256), p.choose_product(cpu, [(32, 256)]).name)\n"
    )
    surroundings = {**environment(), "ONEDNN_MAX_CPU_ISA": "AVX2"}
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=surroundings, capture_output=True, text=True, check=True)
    is_right, is_admitted, name = result.stdout.split()
    assert is_admitted == is_right
    assert name == ("int8" if is_right == "True" else "float32")


def test_a_probe_of_what_is_taken() -> None:
    assert all(is_exact(product, CPU, n, k) for product in PRODUCTS[1:] for n, k in ((1, 1), (3, 1041), (40, 4096)))


@given(st.lists(st.integers(0, (1 << 52) - 1), min_size=1))
def test_integer_square_roots(values: list[int]) -> None:
    import math

    near = [max(0, math.isqrt(value) ** 2 + step) for value in values for step in (-1, 0, 1)] + values
    assert integer_sqrt(torch.tensor(near)).tolist() == [math.isqrt(value) for value in near]


# Blocks


@on_every_device
@pytest.mark.parametrize("name", ["plain", "extreme 3", "coded"])
@pytest.mark.parametrize("lanes_log2", [0, 2, 4])
def test_blocks_are_the_same_and_each_reads_the_other_s(
    name: str, lanes_log2: int, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_payload, "lanes_log2", lambda *_: lanes_log2)
    here, there = packed(name), on_device(name, device)
    code = code_of(here.model)
    for data in (TEXT[:300], some_text(60, 3), b"hello", b"\xff"):
        start = token_payload.model_start(here)
        one = token_payload.encode_and_learn(here, data, start, code=code)
        other = token_payload.encode_and_learn(there, data, start, threads=2, code=code)
        assert (one.payload, one.cost_bits) == (other.payload, other.cost_bits)
        assert all(np.array_equal(array, other.learned[key]) for key, array in one.learned.items())
        assert token_payload.decode_tokens(there, one.payload, len(data)) == data
        assert token_payload.decode_tokens(here, other.payload, len(data)) == data


def test_damage_is_named_as_it_is_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_payload, "lanes_log2", lambda *_: 1)
    here, there, data = packed("plain"), on_device("plain", "cpu"), TEXT[:200]
    payload = token_payload.encode_tokens(here, data)[0]
    random, told = np.random.default_rng(0), set()
    for _ in range(10):
        altered = bytearray(payload)
        altered[random.integers(3, len(payload))] ^= 1 << int(random.integers(8))
        results: list[bytes | str] = []
        for model in (here, there):
            try:
                results.append(token_payload.decode_tokens(model, bytes(altered), len(data)))
            except FormatError as error:
                results.append(str(error))
        assert results[0] == results[1]
        told.add(type(results[0]))
    assert str in told


# The command


@on_every_device
def test_the_command_makes_the_same_file_on_a_device_and_reads_it(run_training: Run, tmp_path: Path, device: str) -> None:
    """What runs commands for training has torch at hand."""
    (tmp_path / "text").write_bytes(TEXT[:200])
    save_model(small_model(), tmp_path / "m.safetensors")
    assert run_training("-q", "--model", "m.safetensors", "text", "-o", "here.nnc").returncode == 0
    made = run_training("-q", "--model", "m.safetensors", "--device", device, "text", "-o", "there.nnc")
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "there.nnc").read_bytes() == (tmp_path / "here.nnc").read_bytes()
    tested = run_training("test", "--model", "m.safetensors", "--device", device, "there.nnc")
    assert tested.stderr == b"there.nnc: whole, 200 bytes\n"


def test_a_device_that_is_not_there_is_one_sentence(
    run_training: Run, run_anew: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("nothing", "meta", "cpu:x", "xpu"):
        with pytest.raises(
            DeviceError, match=r"cannot work on the device '.*give cpu, cuda or cuda:N, or leave --device away\.$"
        ):
            open_outside(a_model("plain"), name)
    (tmp_path / "text").write_bytes(TEXT[:300])
    if not torch.cuda.is_available():
        result = run_training("-q", "--device", "cuda", "text")
        assert result.returncode == 1
        assert result.stderr.startswith(b"nncomp: text: torch ") and result.stderr.count(b"\n") == 1
        assert not (tmp_path / "text.nnc").exists()
    (tmp_path / "no").mkdir()
    (tmp_path / "no" / "torch.py").write_text("raise ImportError('no torch here')\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "no"), os.environ.get("PYTHONPATH", "")]))
    result = run_anew("-q", "--device", "cpu", "text")
    assert result.returncode == 1
    assert b"only with torch (no torch here): pip install torch, or leave --device away." in result.stderr


def test_a_device_has_its_share_of_memory() -> None:
    """Without a limit there is room for torch; with one it counts."""
    here = ModelFile(ROOT / "pyproject.toml", 1, bytes(32))
    there = replace(here, device="cuda")
    most = SPLIT_BYTES - 1
    assert coding_bytes(most, there) - coding_bytes(most, here) > 500_000_000
    Memory().check_coding(most, there)
    Memory(1_000_000_000).check_coding(most, here)
    with pytest.raises(MemoryLimitError):
        Memory(1_000_000_000).check_coding(most, there)


def test_integers_that_are_not_exact_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_engine, "integer_sqrt", lambda value: value.to(torch.float32).sqrt().to(torch.int64))
    with pytest.raises(DeviceError, match="other integers"):
        torch_engine.open_device("cpu")


def test_a_full_device_is_named() -> None:
    with pytest.raises(NncompError, match="not enough memory on the device cpu"), torch_engine._memory_named(CPU):
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_lanes_are_cut_where_blocks_cut_them() -> None:
    """The order of the probabilities is that of coding: checked with a block whose lanes end at different steps."""
    model = packed("plain")
    data = TEXT[:130] + b"\xfe" * 90
    starts = token_payload.lane_starts(len(data), 4)
    counts = {len(model.model.vocabulary.encode(data[low:high])) for low, high in pairwise(starts.tolist())}
    assert len(counts) > 1
    predicted = [
        token_payload.predict_tokens(each, data, token_payload.model_start(model), TokensHead(2, 8))
        for each in (model, on_device("plain", "cpu"))
    ]
    assert np.array_equal(predicted[0].p1, predicted[1].p1)
