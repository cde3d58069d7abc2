"""*Model file*: a safetensors file to checked arrays, and the vocabulary in it (*Tokens*)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checks.independent.refused import RefusedError, demand

_DTYPES = {"I8": "<i1", "U8": "<u1", "I16": "<i2", "U16": "<u2", "I32": "<i4", "U32": "<u4", "I64": "<i8", "U64": "<u8"}
_SIZES = ("vocab_size", "group_count", "width", "state_width", "mlp_width", "group_mlp_width", "layer_count", "start_token")
_MIXING = "extra.mixing."


@dataclass
class Model:
    """Sizes by their names, arrays by theirs (those of mixing without the prefix; those of a code, or none), the tokens'
    strings, and the entries of the n-gram table."""

    sizes: dict[str, int]
    arrays: dict[str, NDArray[Any]]
    mixing: dict[str, NDArray[Any]]
    code: dict[str, NDArray[Any]]
    tokens: list[bytes]
    merges: list[tuple[int, int]]
    ngrams: NDArray[Any]
    second: Model | None = None


def read_safetensors(data: bytes) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
    """Return the metadata and the tensors: 8 bytes with the header's length, a header in JSON, the tensors' bytes."""
    demand(len(data) >= 8, "not a safetensors file")
    header_end = 8 + int.from_bytes(data[:8], "little")
    demand(header_end <= len(data), "a safetensors header that is longer than the file")
    demand(header_end <= 8 + 2**20, "a safetensors header that is too long")
    try:
        header = json.loads(data[8:header_end])
    except ValueError as error:
        raise RefusedError("a safetensors header that is not JSON") from error
    demand(isinstance(header, dict), "a safetensors header that is no object")
    metadata = header.pop("__metadata__", {})
    tensors = {}
    end = header_end
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        start, stop = (header_end + offset for offset in entry["data_offsets"])
        demand(start == end and entry["dtype"] in _DTYPES, f"tensor {name} is not where or what it must be")
        flat = np.frombuffer(data[start:stop], _DTYPES[entry["dtype"]])
        demand(start % flat.itemsize == 0, f"tensor {name} does not begin at a multiple of the bytes of its elements")
        demand(flat.size == int(np.prod(entry["shape"], dtype=object)), f"tensor {name} is not as long as its shape says")
        tensors[name] = flat.reshape(entry["shape"])
        end = stop
    demand(end == len(data), "bytes after the last tensor")
    return metadata, tensors


_LAYERS = "shift", "gates_", "state_", "mlp_"  # how tensors begin that have a part for each layer


def _with_base(tensors: dict[str, NDArray[Any]], base: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the tensors of a model that goes on from another."""
    found = {name: tensor for name, tensor in base.items() if not name.startswith("code_")} | tensors
    for name in (name for name in base if name.startswith(_LAYERS)):
        demand(name in tensors, f"{name} is missing")
        kinds = [(tensor.dtype, tensor.ndim, tensor.shape[1:]) for tensor in (tensors[name], base[name])]
        demand(kinds[0] == kinds[1], f"{name} does not fit on the base's")
        found[name] = np.concatenate([base[name], tensors[name]])
    return found


def parse_model(data: bytes, *others: bytes) -> Model:
    """Return the model of a file's bytes and of those of the files that it names; what is not as the page says is refused."""
    metadata, _ = read_safetensors(data)
    model = _parse_alone(data, others)
    if "second" in metadata:
        model.second = _second(_named(metadata["second"], others), model)
    if "ngrams" in metadata:
        model.ngrams = _ngrams(_named(metadata["ngrams"], others), model.sizes["vocab_size"])
    return model


def _parse_alone(data: bytes, others: Sequence[bytes]) -> Model:
    """Return the model of a file and of its base, without a second network and with an empty n-gram table."""
    metadata, tensors = read_safetensors(data)
    demand(metadata.get("format") == "nncomp-model-1", "not an nncomp-model-1")
    if "base" in metadata:
        base_metadata, base = read_safetensors(_named(metadata["base"], others))
        demand("base" not in base_metadata, "a base that has a base")
        tensors = _with_base(tensors, base)
    claimed = json.loads(metadata["sizes"])
    sizes = _checked_sizes(claimed)
    arrays = {}
    for name, (dtype, shape, bound) in _expected(sizes).items():
        arrays[name] = _checked(tensors, name, dtype, shape, bound)
    expected = _expected_of_mixing(tensors, 2 if "second" in metadata else 1)
    mixing = {name: tensors[_MIXING + name] for name in ("contexts", "row_sets")}  # they were looked at there
    for name, (dtype, shape, bound) in expected.items():
        mixing[name] = _checked(tensors, _MIXING + name, dtype, shape, bound)
    code = {}
    for name, (dtype, shape, bound) in _expected_of_code(claimed, sizes).items():
        code[name] = _checked(tensors, name, dtype, shape, bound)
    tokens = _vocabulary(tensors, sizes["vocab_size"])
    return Model(sizes, arrays, mixing, code, tokens, _merges(tensors, sizes["vocab_size"]), np.zeros((1, 16), np.int64))


def _named(claimed: str, others: Sequence[bytes]) -> bytes:
    found = [data for data in others if sha256(data).hexdigest() == claimed]
    demand(len(found) > 0, "not the other file that the file names")
    return found[0]


def _second(data: bytes, model: Model) -> Model:
    """Return the second network of a model; the n-gram table that its file may name has no meaning."""
    metadata, _ = read_safetensors(data)
    demand("base" not in metadata and "second" not in metadata, "a second network that names other files")
    second = _parse_alone(data, [])
    demand(second.tokens == model.tokens, "a second network with other tokens")
    same = (second.sizes[name] == model.sizes[name] for name in ("group_count", "start_token"))
    demand(all(same), "a second network with other groups")
    return second


def _ngrams(data: bytes, vocab_size: int) -> NDArray[Any]:
    """Return the entries of an n-gram table's file, (lines, 16)."""
    metadata, tensors = read_safetensors(data)
    demand(metadata.get("format") == "nncomp-ngrams-1", "not an nncomp-ngrams-1")
    demand(metadata.get("vocab_size") == str(vocab_size), "an n-gram table of another vocabulary")
    demand(list(tensors) == ["entries"], "an n-gram table has one tensor, entries")
    lines = len(tensors["entries"]) if tensors["entries"].ndim else 0
    demand(1 <= lines <= 2**22, "an n-gram table of too few lines, or too many")
    return _checked(tensors, "entries", "u4", (lines, 16), (0, 2**32 - 1))


def _merges(tensors: dict[str, NDArray[Any]], tokens: int) -> list[tuple[int, int]]:
    pairs = tensors.get("merges", np.zeros((0, 2), np.uint16))
    demand(pairs.ndim == 2 and pairs.shape[1] == 2, "merges that are no pairs")
    demand(pairs.size == 0 or int(pairs.max()) < tokens, "a merge of a token that there is not")
    return [(int(a), int(b)) for a, b in pairs]


def _checked_sizes(sizes: dict[str, int]) -> dict[str, int]:
    demand(all(isinstance(sizes.get(name), int) for name in _SIZES), "a size is missing or no integer")
    tokens, groups = sizes["vocab_size"], sizes["group_count"]
    demand(tokens in [2**bits for bits in range(8, 17)], "vocab_size")
    demand(groups in [2**bits for bits in range(1, 9)] and 2 <= tokens // groups <= 256, "group_count")
    for name in ("width", "state_width", "mlp_width", "group_mlp_width"):
        demand(1 <= sizes[name] <= 4096, name)
    demand(1 <= sizes["layer_count"] <= 64, "layer_count")
    demand(0 <= sizes["start_token"] < tokens, "start_token")
    return {name: sizes[name] for name in _SIZES}


_Expected = dict[str, tuple[str, tuple[int, ...], tuple[int, int]]]


def _expected(sizes: dict[str, int]) -> _Expected:
    """Return the type, shape and bounds of each tensor."""
    V, G, D, E, F, H, N, _ = (sizes[name] for name in _SIZES)
    weight, scale, bias = (-127, 127), (0, 2**31 - 1), (-(2**52), 2**52)
    found: _Expected = {
        "shift": ("u1", (N, D), (0, 128)),
        "state_scale": ("i4", (N,), scale),
        "sigmoid": ("i4", (2048,), (0, 2**20)),
        "silu": ("i4", (2048,), (-(2**20), 2**20)),
        "exp2": ("i4", (1024,), (1, 2**23)),
        "embedding": ("i1", (V, D), weight),
        "embedding_scale": ("i4", (V,), scale),
    }
    for name, rows, columns in (
        ("gates", (N, 3 * E), D),
        ("state_out", (N, D), E),
        ("mlp_in", (N, F), D),
        ("mlp_out", (N, D), F),
        ("group_in", (H,), D),
        ("group_out", (G,), H),
        ("token", (V,), D),
    ):
        found[f"{name}_weight"] = ("i1", (*rows, columns), weight)
        found[f"{name}_scale"] = ("i4", rows, scale)
        if name in ("gates", "group_out", "token"):
            found[f"{name}_bias"] = ("i8", rows, bias)
    return found


def _chosen(tensors: dict[str, NDArray[Any]], name: str, known: set[int]) -> int:
    """Return how many of the known parts of mixing are used."""
    demand(_MIXING + name in tensors, f"there is no tensor {_MIXING + name}")
    tensor = tensors[_MIXING + name]
    demand(tensor.dtype == np.uint8 and tensor.ndim == 1 and tensor.size >= 1, f"{name} is no list of parts")
    numbers = tensor.astype(np.int64)
    demand(set(numbers.tolist()) <= known and bool((numbers[1:] > numbers[:-1]).all()), f"{name}: unknown parts, or not upwards")
    return int(tensor.size)


def _expected_of_mixing(tensors: dict[str, NDArray[Any]], networks: int) -> _Expected:
    weights, packed = (-(2**19), 2**19), (0, 2**32 - 1)
    known = {32 * reach + source for reach in range(8) for source in range(25)}
    contexts, sets = _chosen(tensors, "contexts", known), _chosen(tensors, "row_sets", {0, 1, 2, 3, 4})
    return {
        "weights": ("i4", (2000, (2 * contexts + 9 + networks + 7) // 8 * 8), weights),
        "final_weights": ("i4", (17424, sets), weights),
        "histories": ("u4", (contexts * 256,), packed),
        "joint": ("u4", (contexts * 256 * 8,), packed),
        "records": ("u4", (contexts * 256,), packed),
        "record_joint": ("u4", (contexts * 256 * 8,), packed),
        "strength": ("u4", (2 * 64,), packed),
        "ngram_strength": ("u4", (32 * 16,), packed),
        "map_1": ("u4", (1024 * 4 ** (networks - 1) * 16,), packed),
    }


def _expected_of_code(claimed: dict[str, int], sizes: dict[str, int]) -> _Expected:
    K = claimed.get("code_entries", 0)
    demand(isinstance(K, int) and 0 <= K <= 255, "code_entries")
    if K == 0:
        return {}
    table = (-32767, 32767)
    return {
        "code_input": ("i2", (K, sizes["width"]), table),
        "code_state": ("i2", (K, sizes["layer_count"], sizes["state_width"]), table),
        "code_encoder": ("i2", (K, sizes["width"]), table),
    }


def _checked(
    tensors: dict[str, NDArray[Any]], name: str, dtype: str, shape: tuple[int, ...], bound: tuple[int, int]
) -> NDArray[Any]:
    demand(name in tensors, f"there is no tensor {name}")
    tensor = tensors[name]
    demand(tensor.dtype.str[1:] == dtype and tensor.shape == shape, f"tensor {name} is of another type or shape")
    low, high = bound
    demand(low <= int(tensor.min()) and int(tensor.max()) <= high, f"tensor {name} is out of its bounds")
    return tensor if dtype == "u4" else tensor.astype(np.int64)


def _vocabulary(tensors: dict[str, NDArray[Any]], count: int) -> list[bytes]:
    demand("token_text" in tensors and "token_lengths" in tensors, "there are no tokens")
    text, lengths = tensors["token_text"], tensors["token_lengths"]
    demand(text.dtype == np.uint8 and text.ndim == 1, "token_text is of another type or shape")
    demand(lengths.dtype == np.uint8 and lengths.shape == (count,), "token_lengths is of another type or shape")
    demand(int(lengths.min()) >= 1 and int(lengths.max()) <= 24, "a token is not of 1 to 24 bytes")
    demand(int(lengths.sum()) == len(text), "token_text is not as long as its tokens")
    ends = np.cumsum(lengths.astype(np.int64)).tolist()
    tokens = [text[start:end].tobytes() for start, end in pairwise([0, *ends])]
    demand(all(a < b for a, b in pairwise(tokens)), "the tokens are not in order")
    demand(sum(len(token) == 1 for token in tokens) == 256, "a single byte is no token")
    return tokens
