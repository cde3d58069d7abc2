"""The models of the golden files: made once, then read from their files. Untrained, small."""

from __future__ import annotations

import hashlib
import lzma
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).resolve().parent
SMALL = "small.safetensors"  # 512 tokens, a few contexts and sets of weight rows; as all of them with plain start values
EXTREME = "extreme.safetensors"  # 256 tokens, every number anywhere within its bounds
CODED = "coded.safetensors"  # 256 tokens, with codes
FEW = "few.safetensors"  # 256 tokens, some of the contexts and sets of weight rows
REACH = "reach.safetensors"  # 256 tokens, contexts of each source and each reach
WORDS = "words.safetensors"  # 256 tokens, contexts of three words
GRAMS = "grams.safetensors"  # 256 tokens, with the n-gram table
TWO = "two.safetensors"  # 256 tokens, a second network, that of FEW, and the n-gram table
NAMES = SMALL, EXTREME, CODED, FEW, REACH, WORDS, GRAMS, TWO
NGRAMS = "ngrams.safetensors"  # the n-gram table: sequences of bytes of the texts, with any class


def model_bytes(name: str) -> bytes:
    """Return the model file `name` of the golden files."""
    return lzma.decompress((FOLDER / f"{name}.xz").read_bytes())


def named_bytes(name: str) -> list[bytes]:
    """Return the files that a golden model names: that of its n-gram table and that of its second network."""
    return [model_bytes(each) for each in {GRAMS: (NGRAMS,), TWO: (NGRAMS, FEW)}.get(name, ())]


def by_hash(*files: bytes) -> dict[str, bytes]:
    """Return the bytes of files by their SHA-256, hexadecimal, as `parse_model` takes those that a model file may name."""
    return {hashlib.sha256(data).hexdigest(): data for data in files}


def make_missing(folder: Path = FOLDER) -> None:
    """Write the model files that are not there, as .xz."""
    from nncomp.network.model import save_model
    from tests.models import small_model

    makers: tuple[Callable[[], Any], ...] = (small_model, _extreme, _coded, _few, _reach, _words, _grams, _two)
    if not (folder / f"{NGRAMS}.xz").exists():
        _write_ngrams(folder / NGRAMS)
        _pack(folder / NGRAMS)
    for name, make in zip(NAMES, makers, strict=True):
        if not (folder / f"{name}.xz").exists():
            save_model(make(), folder / name, None, model_bytes(FEW) if name == TWO else None)
            _pack(folder / name)


def _pack(path: Path) -> None:
    """Replace a file by its .xz."""
    path.with_name(f"{path.name}.xz").write_bytes(lzma.compress(path.read_bytes(), preset=9 | lzma.PRESET_EXTREME))
    path.unlink()


def _write_ngrams(path: Path) -> None:
    """Write a table of 90 lines with sequences of two to five bytes of the texts, the byte that follows, and any class."""
    from nncomp.mixing.ngram_table import CLASSES, ORDERS
    from nncomp.network.ngram_file import save_ngrams
    from nncomp.training.count_ngrams import Entries, context_keys, table
    from tests.golden.good_files import MIXED

    rng, ids = np.random.default_rng(12), np.frombuffer(MIXED, np.uint8).astype(np.uint16)
    keys = np.concatenate([context_keys(ids, order) >> np.uint64(8) for order in ORDERS])
    tokens = np.concatenate([ids[order:] for order in ORDERS])
    chosen = rng.permutation(len(keys))[:1500]
    odds = 2.0 ** rng.uniform(-4, 7, len(chosen))
    entries = Entries(keys[chosen], tokens[chosen], odds / (1 + odds), rng.random(len(chosen)))
    lines = table(entries, 90, 8)
    assert len(set((lines[lines > 0] >> 19 & CLASSES - 1).tolist())) == CLASSES
    save_ngrams(lines, 256, {"note": "for tests"}, path)


def _coded() -> Any:
    """Return an untrained model of 256 tokens with 5 codes, each of much effect."""
    from nncomp.network.vocabulary import byte_vocabulary
    from nncomp.training.float_network import NetworkShape
    from tests.models import small_decoder, small_export, with_codes

    shape = NetworkShape(256, 16, 16, 2, 24, 20, 12, 10)
    return with_codes(small_export(small_decoder(7, shape), byte_vocabulary(), "untrained, with codes, for tests"), 5, 7)


def _few() -> Any:
    """Return an untrained model of 256 tokens that uses some of the parts of mixing, with plain start values."""
    from nncomp.training.mixing_start import plain_values

    return _with_start(plain_values((0, 2, 9, 14, 17, 19), (0, 2)), "untrained, with little mixing, for tests")


def _reach() -> Any:
    """Return the same with contexts of each reach and of each source."""
    from nncomp.mixing.token_contexts import SOURCES, context
    from nncomp.training.mixing_start import plain_values

    chosen = sorted(context(source, source % 8) for source in range(SOURCES))
    values = plain_values(tuple(chosen), (0, 1, 3, 4))
    return _with_start(values, "untrained, with contexts of each reach, for tests")


def _words() -> Any:
    """Return the same with the contexts of three words and of two with one between left out."""
    from nncomp.training.mixing_start import plain_values

    values = plain_values((0, 1, 12, 23, 24), (1, 3))
    return _with_start(values, "untrained, with contexts of three words, for tests")


def _grams() -> Any:
    """Return the same with the n-gram table."""
    from nncomp.training.mixing_start import plain_values

    values = plain_values((0, 1, 3, 10, 17), (0, 1, 3))
    return _with_ngrams(_with_start(values, "untrained, with n-grams, for tests", 8))


def _two() -> Any:
    """Return the same with a second network and the n-gram table."""
    from nncomp.network.model import parse_model
    from nncomp.training.mixing_start import plain_values

    values = plain_values((0, 1, 2, 12, 19), (0, 1, 4), networks=2)
    model = _with_start(values, "untrained, of two networks, for tests", 6)
    return _with_ngrams(replace(model, second=parse_model(model_bytes(FEW), FEW)))


def _with_ngrams(model: Any) -> Any:
    from hashlib import sha256

    from nncomp.network.ngram_file import parse_ngrams

    data = model_bytes(NGRAMS)
    return replace(model, ngrams=parse_ngrams(data, sha256(data).hexdigest()))


def _with_start(values: dict[str, Any], note: str, seed: int = 5) -> Any:
    from nncomp.blocks.token_payload import start_extra
    from nncomp.network.vocabulary import byte_vocabulary
    from nncomp.training.export import export
    from nncomp.training.float_network import NetworkShape
    from tests.models import small_decoder

    decoder = small_decoder(seed, NetworkShape(256, 16, 16, 1, 16, 16, 12))
    return replace(export(decoder, byte_vocabulary(), {"note": note}), extra=start_extra(values))


def _extreme() -> Any:
    """Return a model of 256 tokens, one layer of width 16, whose numbers are anywhere within their bounds, often at them."""
    from nncomp.blocks.token_payload import start_extra
    from nncomp.network.model import Arrays, Model, expected_arrays
    from nncomp.network.vocabulary import byte_vocabulary
    from nncomp.training.mixing_start import plain_values

    rng = np.random.default_rng(13)

    def anywhere(array: Any, low: int, high: int) -> Any:
        few = rng.integers(low, high + 1, 16)  # few values, so that the file is small
        return np.where(rng.random(array.shape) < 0.2, rng.choice([low, high], array.shape), rng.choice(few, array.shape))

    arrays = {}
    for name, (dtype, shape) in expected_arrays(256, 16, 16, 1, 24, 20, 12).items():
        low, high = _bounds(name)
        arrays[name] = anywhere(np.zeros(shape), low, high).astype(dtype)
    values = plain_values(tuple(range(20)))
    for name, array in values.items():
        if name in ("contexts", "row_sets"):
            continue
        low, high = {"weights": (-(1 << 19), 1 << 19), "final_weights": (-(1 << 19), 1 << 19)}.get(name, (0, (1 << 22) - 1))
        values[name] = anywhere(array, low, (1 << 32) - 1 if array.dtype == np.uint32 else high).astype(array.dtype)
        if name == "weights":  # most rows as they are without training: what is far off predicts nothing
            values[name] = np.where(np.arange(len(array))[:, None] % 8 < 7, array, values[name])
    sizes = {"vocab_size": 256, "group_count": 16, "width": 16, "layer_count": 1, "start_token": 0}
    sizes |= {"state_width": 24, "mlp_width": 20, "group_mlp_width": 12}
    return Model(
        Arrays(**arrays), byte_vocabulary(), sizes, {"note": "anything within the bounds, for tests"}, start_extra(values)
    )


def _bounds(name: str) -> tuple[int, int]:
    if name.endswith("_weight") or name == "embedding":
        return -127, 127
    if name.endswith("_scale"):
        return 0, (1 << 20) if name != "state_scale" else (1 << 31) - 1
    if name.endswith("_bias"):
        return -(1 << 36), 1 << 36
    return {"shift": (0, 128), "sigmoid": (0, 1 << 20), "silu": (-(1 << 20), 1 << 20), "exp2": (1, 1 << 23)}[name]
