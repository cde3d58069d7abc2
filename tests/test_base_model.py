"""A model that builds on a base model: only new layers learn, its file has only these, and names the file of the base."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from checks.independent.model_file import parse_model as parse_independently
from checks.independent.refused import RefusedError
from nncomp.blocks.codec import Codec
from nncomp.errors import ModelError
from nncomp.format.numbers import OWN_MODEL
from nncomp.network import registry
from nncomp.network.base_model import LAYERS
from nncomp.network.model import Model, parse_model, save_model
from nncomp.network.registry import model_file, open_model
from nncomp.training import whole_run
from nncomp.training.export import export
from nncomp.training.float_network import NetworkShape, load_config
from nncomp.training.grow import grow
from nncomp.training.run_plan import RunPlan
from nncomp.training.trainer import TrainingConfig
from tests.golden.models import by_hash
from tests.models import TEXT, load_checkpoint, load_model, small_model


def taller(model: Model, layers: int) -> NetworkShape:
    """Return the shape of the model with more layers."""
    shape = load_config(model.sizes)
    return replace(shape, layer_count=shape.layer_count + layers)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the files of a model and of one that builds on it, trained for a moment."""
    folder = tmp_path_factory.mktemp("grown")
    base, out, text = folder / "base.safetensors", folder / "own.safetensors", folder / "text"
    save_model(small_model(), base)
    text.write_bytes(TEXT)
    config = TrainingConfig(time_s=600, tokens=4 * 32 * 60, lanes=4, steps=32, warmup_steps=5, quantized_share=0.5)
    init = load_model(base)
    lines: list[str] = []
    plan = RunPlan(str(text), str(text), folder / "work", init, config, grown=taller(init, 1), base=base.read_bytes())
    network = whole_run.train(plan, lines.append)
    whole_run.finish(plan, network, out, lines.append)
    return base, out


def test_only_new_layers_learn(files: tuple[Path, Path]) -> None:
    base = load_model(files[0])
    before = base.sizes["layer_count"]
    untrained = grow(base, taller(base, 1), 0)
    trained, _ = load_checkpoint(files[1].parent / "work/checkpoint.pt")
    for (name, a), b in zip(untrained.named_parameters(), trained.parameters(), strict=True):
        assert torch.equal(a, b) == (not a.requires_grad), name
        assert a.requires_grad == (name.startswith((f"layers.{before}.", "group_"))), name


def test_new_layers_do_nothing_before_they_learn() -> None:
    base = small_model()
    arrays = export(grow(base, taller(base, 2), 0), base.vocabulary, {}).arrays
    assert not arrays.state_out_weight[-2:].any() and not arrays.mlp_out_weight[-2:].any()
    assert np.array_equal(arrays.gates_weight[:-2], base.arrays.gates_weight)


def test_the_file_has_only_what_is_new(files: tuple[Path, Path]) -> None:
    from safetensors.numpy import load

    base, own = files
    tensors = load(own.read_bytes())
    model, of_base = parse_model(own.read_bytes(), "own", by_hash(base.read_bytes())), load_model(base)
    assert "embedding" not in tensors and "token_weight" not in tensors and "token_text" not in tensors
    assert all(len(tensors[name]) == 1 for name in LAYERS)
    assert model.vocabulary.tokens == of_base.vocabulary.tokens
    for name, array in of_base.arrays._asdict().items():
        if not name.startswith("group_"):
            assert np.array_equal(getattr(model.arrays, name)[: len(array)], array), name
    again = own.with_name("again.safetensors")
    save_model(model, again, base.read_bytes())
    parts = load(again.read_bytes())
    assert parts.keys() == tensors.keys() and all(np.array_equal(parts[name], tensors[name]) for name in parts)
    whole = own.with_name("whole.safetensors")
    save_model(model, whole)
    arrays = load_model(whole).arrays
    assert all(np.array_equal(array, getattr(model.arrays, name)) for name, array in arrays._asdict().items())
    independent = parse_independently(own.read_bytes(), base.read_bytes())
    assert all(np.array_equal(independent.arrays[name], array) for name, array in model.arrays._asdict().items())


def test_a_file_without_its_base_or_with_another(files: tuple[Path, Path], tmp_path: Path) -> None:
    base, own = files[0].read_bytes(), files[1].read_bytes()
    with pytest.raises(ModelError, match="The base of the model own was not found, or is damaged: its SHA-256 is"):
        parse_model(own, "own")
    with pytest.raises(ModelError, match="The base of the model own was not found, or is damaged: its SHA-256 is"):
        parse_model(own, "own", by_hash(base + b"\0"))
    other = own.replace(_hash(base), _hash(own))
    with pytest.raises(ModelError, match="builds on a model that builds on another one"):
        parse_model(other, "own", by_hash(own))
    with pytest.raises(RefusedError, match="a base that has a base"):
        parse_independently(other, own)


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()


def test_layers_that_do_not_fit(files: tuple[Path, Path]) -> None:
    from safetensors.numpy import load, save

    base, own = files[0].read_bytes(), files[1].read_bytes()
    metadata = json.loads(own[8 : 8 + int.from_bytes(own[:8], "little")])["__metadata__"]
    tensors = load(own)
    parse_model(save(tensors, metadata), "own", by_hash(base))
    for name in LAYERS:
        for wrong in (
            tensors[name][None],
            np.array(tensors[name].flat[0]),
            np.concatenate([tensors[name]] * 2),
            tensors[name].astype(np.float32),
        ):
            with pytest.raises(ModelError):
                parse_model(save(tensors | {name: wrong}, metadata), "own", by_hash(base))
        with pytest.raises(ModelError, match="lacks"):
            parse_model(save({n: a for n, a in tensors.items() if n != name}, metadata), "own", by_hash(base))
    with pytest.raises(ModelError):
        parse_model(save(tensors, metadata | {"sizes": json.dumps(load_model(files[0]).sizes)}), "own", by_hash(base))


def test_an_altered_file_is_a_named_error_or_a_model(files: tuple[Path, Path]) -> None:
    base, own = files[0].read_bytes(), files[1].read_bytes()
    chance = random.Random(0)
    refused = 0
    for _ in range(300):
        altered = bytearray(own)
        altered[chance.randrange(8 + int.from_bytes(own[:8], "little"))] ^= 1 << chance.randrange(8)
        try:
            parse_model(bytes(altered), "own", by_hash(base))
        except ModelError:
            refused += 1
    assert refused > 100
    for size in (0, 7, 8, 100, len(own) // 2, len(own) - 1):
        with pytest.raises(ModelError):
            parse_model(own[:size], "own", by_hash(base))


def test_the_base_is_found_by_its_hash(files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, own = files
    alone = model_file(own, OWN_MODEL, hashlib.sha256(own.read_bytes()).digest())
    assert alone.base is None and alone.size_bytes == own.stat().st_size
    with pytest.raises(ModelError, match="was not found"):
        Codec(alone).encode_block(TEXT[:1000])
    monkeypatch.setattr(registry, "models_folder", lambda: tmp_path)
    (tmp_path / "default.safetensors").write_bytes(base.read_bytes())
    found = open_model(own)
    assert found.base is not None and found.size_bytes == own.stat().st_size + base.stat().st_size
    block = Codec(found).encode_block(TEXT[3000:7000])
    assert Codec(found).decode_block(block.kind, block.payload, 4000) == TEXT[3000:7000]


@pytest.mark.parametrize(
    "head", [b"", b"\xff" * 8, b"\x02\0\0\0\0\0\0\0[]", b"\x10" + b"\0" * 7 + b'{"__metadata__":', b"\0" * 8]
)
def test_what_is_no_model_names_no_base(head: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes(head)
    assert model_file(tmp_path / "m.safetensors", OWN_MODEL, bytes(32)).base is None
