"""The models of the golden files: made once, then read from their files. Untrained, small."""

from __future__ import annotations

import lzma
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).resolve().parent
SMALL = "small.safetensors"  # 512 tokens, plain start values of mixing
EXTREME = "extreme.safetensors"  # 256 tokens, every number anywhere within its bounds, start values of mixing; kept as .xz
CODED = "coded.safetensors"  # 256 tokens, can be told a code; kept as .xz
FEW = "few.safetensors"  # 256 tokens, uses some of the contexts and sets of weight rows; kept as .xz
REACH = "reach.safetensors"  # 256 tokens, contexts of each source and each reach, joint probabilities; kept as .xz
WORDS = "words.safetensors"  # 256 tokens, contexts of three words; kept as .xz
NAMES = SMALL, EXTREME, CODED, FEW, REACH, WORDS


def model_bytes(name: str) -> bytes:
    """Return the model file `name` of the golden files."""
    path = FOLDER / name
    return path.read_bytes() if path.exists() else lzma.decompress((FOLDER / f"{name}.xz").read_bytes())


def make_missing(folder: Path = FOLDER) -> None:
    """Write the model files that are not there."""
    from nncomp.network.model import save_model
    from tests.models import small_model

    if not (folder / SMALL).exists():
        save_model(small_model(), folder / SMALL)
    for name, make in ((EXTREME, _extreme), (CODED, _coded), (FEW, _few), (REACH, _reach), (WORDS, _words)):
        if not (folder / f"{name}.xz").exists():
            save_model(make(), folder / name)
            packed = lzma.compress((folder / name).read_bytes(), preset=9 | lzma.PRESET_EXTREME)
            (folder / f"{name}.xz").write_bytes(packed)
            (folder / name).unlink()


def _coded() -> Any:
    """Return an untrained model of 256 tokens with a code of 3 dimensions with 5 levels, all of it of some size."""
    from nncomp.network.vocabulary import byte_vocabulary
    from nncomp.training.export import export
    from nncomp.training.float_network import NetworkShape
    from tests.models import coded_decoder

    shape = NetworkShape(256, 16, 16, 2, 24, 20, 12, 10, code_dimensions=3, code_levels=5)
    return export(coded_decoder(7, shape), byte_vocabulary(), {"note": "untrained, with a code, for tests"})


def _few() -> Any:
    """Return an untrained model of 256 tokens that uses some of the parts of mixing, with plain start values."""
    from nncomp.mixing.start_values import start_values

    return _with_start(start_values((0, 2, 9, 14, 17, 19), (0, 2)), "untrained, with little mixing, for tests")


def _reach() -> Any:
    """Return the same with contexts of each reach, of each source there was then, and joint probabilities, plain start values."""
    from nncomp.mixing.start_values import start_values
    from nncomp.mixing.token_contexts import context

    chosen = sorted(context(source, source % 8) for source in range(23))
    values = start_values(tuple(chosen), (0, 1, 3), is_joint=True)
    return _with_start(values, "untrained, with contexts of each reach, for tests")


def _words() -> Any:
    """Return the same with the contexts of three words and of two with one between left out."""
    from nncomp.mixing.start_values import start_values
    from nncomp.mixing.token_contexts import context

    values = start_values(tuple(sorted(context(source, 0) for source in (0, 1, 12, 23, 24))), (1, 3), is_joint=True)
    return _with_start(values, "untrained, with contexts of three words, for tests")


def _with_start(values: dict[str, Any], note: str) -> Any:
    from nncomp.blocks.token_payload import start_extra
    from nncomp.network.vocabulary import byte_vocabulary
    from nncomp.training.export import export
    from nncomp.training.float_network import NetworkShape
    from tests.models import small_decoder

    decoder = small_decoder(5, NetworkShape(256, 16, 16, 1, 16, 16, 12))
    return replace(export(decoder, byte_vocabulary(), {"note": note}), extra=start_extra(values))


def _extreme() -> Any:
    """Return a model of 256 tokens, one layer of width 16, whose numbers are anywhere within their bounds, often at them."""
    from nncomp.mixing.start_values import start_values
    from nncomp.network.model import Arrays, Model, expected_arrays
    from nncomp.network.vocabulary import byte_vocabulary

    rng = np.random.default_rng(11)

    def anywhere(array: Any, low: int, high: int) -> Any:
        few = rng.integers(low, high + 1, 16)  # few values, so that the file is small
        return np.where(rng.random(array.shape) < 0.2, rng.choice([low, high], array.shape), rng.choice(few, array.shape))

    arrays = {}
    for name, (dtype, shape) in expected_arrays(256, 16, 16, 1, 24, 20, 12).items():
        low, high = _bounds(name)
        arrays[name] = anywhere(np.zeros(shape), low, high).astype(dtype)
    values = {}
    for name, array in start_values().items():
        low, high = {"weights": (-(1 << 20), 1 << 20), "final_weights": (-(1 << 20), 1 << 20)}.get(name, (0, (1 << 22) - 1))
        values[f"mixing.{name}"] = anywhere(array, low, (1 << 32) - 1 if array.dtype == np.uint32 else high).astype(array.dtype)
        if name == "weights":  # most rows as they are without training: what is far off predicts nothing
            values[f"mixing.{name}"] = np.where(np.arange(len(array))[:, None] % 8 < 7, array, values[f"mixing.{name}"])
    sizes = {"vocab_size": 256, "group_count": 16, "width": 16, "layer_count": 1, "start_token": 0}
    sizes |= {"state_width": 24, "mlp_width": 20, "group_mlp_width": 12}
    return Model(Arrays(**arrays), byte_vocabulary(), sizes, {"note": "anything within the bounds, for tests"}, values)


def _bounds(name: str) -> tuple[int, int]:
    if name.endswith("_weight") or name == "embedding":
        return -127, 127
    if name.endswith("_scale"):
        return 0, (1 << 20) if name != "state_scale" else (1 << 31) - 1
    if name.endswith("_bias"):
        return -(1 << 36), 1 << 36
    return {"shift": (0, 128), "sigmoid": (0, 1 << 20), "silu": (-(1 << 20), 1 << 20), "exp2": (1, 1 << 23)}[name]
