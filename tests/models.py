"""Small models for tests: untrained, quick to make, the same every time; and what reads a model or a corpus at once."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nncomp.blocks.token_payload import start_extra
from nncomp.mixing.ngram_table import ORDERS
from nncomp.network.base_model import LAYERS
from nncomp.network.code import CodeTable
from nncomp.network.model import Arrays, Model, read_model, save_model
from nncomp.network.ngram_file import NgramTable
from nncomp.network.registry import ModelFile, open_model
from nncomp.network.vocabulary import Vocabulary, train_vocabulary
from nncomp.training.checkpoint import read_checkpoint
from nncomp.training.corpus import find_corpus
from nncomp.training.count_ngrams import Entries, context_keys, table
from nncomp.training.export import export
from nncomp.training.float_network import FloatNetwork, NetworkShape, load_config
from nncomp.training.mixing_start import plain_values
from nncomp.training.text_files import Document, Report, encode_pieces

TEXT = "".join(
    f"The {adjective} {noun} number {i} went over the hill, and <b>{noun}</b> said: {i * 37 % 1009}.\n"
    for i, (adjective, noun) in enumerate(
        zip(["old", "quick", "blue", "last"] * 100, ["fox", "river", "engine"] * 134, strict=False)
    )
).encode()
SHAPE = NetworkShape(
    vocab_size=512, group_count=16, width=32, layer_count=2, state_width=48, mlp_width=64, group_mlp_width=32, start_token=10
)


def load_model(path: Path) -> Model:
    """Read and check a model file, with the files that it names."""
    return read_model(open_model(path))


def read_documents(location: str, report: Report = lambda line: None) -> list[Document]:
    """Return all documents at a location, in memory."""
    return list(find_corpus(location, report).documents())


def encode_shuffled(documents: list[Document], vocabulary: Vocabulary, seed: int) -> NDArray[np.uint16]:
    """Return the tokens of all documents in random order, as a training run takes them, uint16."""
    return np.concatenate(encode_pieces(documents, vocabulary, seed))


def load_checkpoint(path: Path) -> tuple[FloatNetwork, dict[str, Any]]:
    """Return the network of a checkpoint and the rest of the document."""
    document = read_checkpoint(path)
    network = FloatNetwork(load_config(document["config"]))
    network.load_state_dict(document.pop("network"))
    return network, document


@functools.cache
def small_vocabulary() -> Vocabulary:
    return train_vocabulary([TEXT], SHAPE.vocab_size)


def small_decoder(seed: int = 0, shape: NetworkShape = SHAPE) -> FloatNetwork:
    """Return an untrained decoder with observed activation scales."""
    torch.manual_seed(seed)
    decoder = FloatNetwork(shape)
    decoder.set_quantization("observe")
    ids = torch.randint(0, shape.vocab_size, (40, 8))
    with torch.no_grad():
        decoder(ids[:-1], ids[1:], decoder.initial_state(8))
    decoder.set_quantization("off")
    return decoder


def small_start() -> dict[str, NDArray[Any]]:
    """Return plain start values of mixing with a few contexts and selectors."""
    return plain_values((0, 1, 2, 7, 12, 14, 17, 19), (0, 1))


def small_export(decoder: FloatNetwork, vocabulary: Vocabulary, note: str) -> Model:
    """Return the integer model of a decoder with `small_start`."""
    return replace(export(decoder, vocabulary, {"note": note}), extra=start_extra(small_start()))


@functools.cache
def small_model(seed: int = 0) -> Model:
    return small_export(small_decoder(seed), small_vocabulary(), "untrained, for tests")


@functools.cache
def small_ngrams() -> NgramTable:
    """Return an n-gram table for the small vocabulary: what follows in TEXT, with any class."""
    rng, ids = np.random.default_rng(9), small_vocabulary().encode(TEXT[:12000]).astype(np.uint16)
    keys = np.concatenate([context_keys(ids, order) >> np.uint64(8) for order in ORDERS])
    tokens, odds = np.concatenate([ids[order:] for order in ORDERS]), 2.0 ** rng.uniform(-4, 7, len(keys))
    entries = table(Entries(keys, tokens, odds / (1 + odds), rng.random(len(keys))), 100, small_vocabulary().bits)
    entries.flags.writeable = False
    return NgramTable(entries, SHAPE.vocab_size, "0" * 64, {})


NARROW = replace(SHAPE, width=16, layer_count=1, state_width=16, mlp_width=32, group_mlp_width=16)


@functools.cache
def two_networks() -> Model:
    """Return the small model with codes and a narrower second network."""
    start = start_extra(plain_values((0, 1, 2, 7, 12, 14, 17, 19), (0, 1), networks=2))
    second = small_export(small_decoder(7, NARROW), small_vocabulary(), "untrained, for tests")
    return replace(coded_model(), extra=start, second=second)


def write_grown(path: Path) -> ModelFile:
    """Write a model that goes on from `default`: one layer more, the same as the first. Return its file."""
    base = open_model("default")
    model = read_model(base)
    arrays = model.arrays._asdict()
    arrays |= {name: np.concatenate([arrays[name], arrays[name][:1]]) for name in LAYERS}
    sizes = model.sizes | {"layer_count": model.sizes["layer_count"] + 1, "code_entries": 0}  # the codes are of the base's layers
    save_model(replace(model, arrays=Arrays(**arrays), sizes=sizes, code=None), path, bytes(base.read()))
    return open_model(path)


def with_codes(model: Model, entries: int, seed: int, size: int = 1 << 14) -> Model:
    """Return the model with a table of codes, random numbers within +-size."""
    random, s = np.random.default_rng(seed), model.sizes
    shapes = (entries, s["width"]), (entries, s["layer_count"], s["state_width"]), (entries, s["width"])
    table = CodeTable(*(random.integers(-size, size + 1, shape).astype(np.int16) for shape in shapes))
    return replace(model, sizes=s | {"code_entries": entries}, code=table)


@functools.cache
def coded_model(seed: int = 0) -> Model:
    """Return the small model with five codes, each of much effect."""
    return with_codes(small_model(seed), 5, seed)


def extreme_code(model: Model, seed: int, entries: int) -> Model:
    """Return the model with codes of the largest numbers within their bounds, and some others."""
    random = np.random.default_rng(seed)
    plain = with_codes(model, entries, seed, 32767)
    assert plain.code is not None
    extremes = [np.where(random.random(a.shape) < 0.7, random.choice([-32767, 32767], a.shape), a) for a in plain.code]
    return replace(plain, code=CodeTable(*(array.astype(np.int16) for array in extremes)))


def extreme_model(seed: int) -> Model:
    """Return a model whose arrays take any value within the bounds of the format, the extremes often."""
    random = np.random.default_rng(seed)
    model = small_model()
    arrays = {}
    for name, array in model.arrays._asdict().items():
        if array.dtype == np.int8:
            choice = random.choice(np.array([-127, 127, 0, 1], np.int8), size=array.shape)
            arrays[name] = np.where(random.random(array.shape) < 0.5, choice, random.integers(-127, 128, array.shape))
        elif name.endswith("_scale"):
            arrays[name] = random.integers(0, 2 ** random.integers(1, 32, array.shape))
        elif name.endswith("_bias"):
            arrays[name] = random.integers(-1, 2, array.shape) * 2 ** random.integers(0, 53, array.shape)
        elif name == "shift":
            arrays[name] = random.integers(0, 129, array.shape)
        else:
            arrays[name] = array
        arrays[name] = np.ascontiguousarray(arrays[name].astype(array.dtype))
    return replace(model, arrays=type(model.arrays)(**arrays))
