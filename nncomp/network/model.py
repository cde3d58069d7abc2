"""A model: the arrays of the integer network, their bounds, and the safetensors file that holds them.

A model file comes from outside. Every size, type and value is checked: within the bounds no integer of the network overflows
(docs/FORMAT.md, "Network"). Knows nothing of training or of coding.
"""

# V tokens, G groups, S tokens a group, D width, N layers, E state width, F mlp width, H group mlp width, M merges

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nncomp.errors import ModelError
from nncomp.machine.forks import once
from nncomp.network.base_model import joined, own_tensors
from nncomp.network.code import CodeTable, check_code, code_table
from nncomp.network.ngram_file import NgramTable, parse_ngrams, write_whole
from nncomp.network.registry import NGRAMS, ModelFile, open_model
from nncomp.network.tensors import read_tensors, written
from nncomp.network.vocabulary import Vocabulary

MODEL_FORMAT = "nncomp-model-1"
TRAINED_ON = "training.documents"  # an extra array: the first 8 bytes of the SHA-256 of each document, uint64, sorted
TABLE_STEPS = 64  # entries of the sigmoid and silu tables for one unit of their argument
TABLE_HALF = 1024  # the tables cover arguments from -16 to 16
EXP2_STEPS = 1024  # entries of the exp2 table for one halving
SCALE_SHIFT = 20  # a product becomes (acc * scale + bias) >> 20
SCALE_HALF = 1 << (SCALE_SHIFT - 1)  # added where it is rounded
STATE_SHIFT = 10  # the same for the product that gives c
NORM_SHIFT = 28
OUTPUT_SHIFT = 32  # of the state's output on its way to int8
MIN_NORM = 64  # the least root mean square that a norm divides by
STATE_BITS = 20  # fraction bits of c and h
STATE_MAX = 1 << 26
RESIDUAL_BITS = 12  # fraction bits of the residual stream
RESIDUAL_MAX = 1 << 23
LOGIT_BITS = 10  # fraction bits of a logit, in doublings of probability
LOGIT_MAX = 1 << 20
FREQUENCY_BITS = 23
MAX_WIDTH, MAX_LAYERS = 4096, 64
_BIAS_MAX = 1 << 52
_NO_FILES: dict[str, Any] = {}

_I8, _I32, _I64, _U8 = np.int8, np.int32, np.int64, np.uint8


class Arrays(NamedTuple):
    """All arrays of the network, C-contiguous; layers are stacked along the first axis."""

    embedding: NDArray[np.int8]  # V D
    embedding_scale: NDArray[np.int32]  # V
    shift: NDArray[np.uint8]  # N D, 0..128
    gates_weight: NDArray[np.int8]  # N 3E D
    gates_scale: NDArray[np.int32]  # N 3E
    gates_bias: NDArray[np.int64]  # N 3E
    state_scale: NDArray[np.int32]  # N
    state_out_weight: NDArray[np.int8]  # N D E
    state_out_scale: NDArray[np.int32]  # N D
    mlp_in_weight: NDArray[np.int8]  # N F D
    mlp_in_scale: NDArray[np.int32]  # N F
    mlp_out_weight: NDArray[np.int8]  # N D F
    mlp_out_scale: NDArray[np.int32]  # N D
    group_in_weight: NDArray[np.int8]  # H D
    group_in_scale: NDArray[np.int32]  # H
    group_out_weight: NDArray[np.int8]  # G H
    group_out_scale: NDArray[np.int32]  # G
    group_out_bias: NDArray[np.int64]  # G
    token_weight: NDArray[np.int8]  # V D
    token_scale: NDArray[np.int32]  # V
    token_bias: NDArray[np.int64]  # V
    sigmoid: NDArray[np.int32]  # 2048, 2**-20
    silu: NDArray[np.int32]  # 2048, 2**-16
    exp2: NDArray[np.int32]  # 1024, 2**-23


def expected_arrays(v: int, g: int, d: int, n: int, e: int, f: int, h: int) -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Return dtype and shape of every array for the given sizes."""
    table = 2 * TABLE_HALF
    return {
        "embedding": (_I8, (v, d)),
        "embedding_scale": (_I32, (v,)),
        "shift": (_U8, (n, d)),
        "gates_weight": (_I8, (n, 3 * e, d)),
        "gates_scale": (_I32, (n, 3 * e)),
        "gates_bias": (_I64, (n, 3 * e)),
        "state_scale": (_I32, (n,)),
        "state_out_weight": (_I8, (n, d, e)),
        "state_out_scale": (_I32, (n, d)),
        "mlp_in_weight": (_I8, (n, f, d)),
        "mlp_in_scale": (_I32, (n, f)),
        "mlp_out_weight": (_I8, (n, d, f)),
        "mlp_out_scale": (_I32, (n, d)),
        "group_in_weight": (_I8, (h, d)),
        "group_in_scale": (_I32, (h,)),
        "group_out_weight": (_I8, (g, h)),
        "group_out_scale": (_I32, (g,)),
        "group_out_bias": (_I64, (g,)),
        "token_weight": (_I8, (v, d)),
        "token_scale": (_I32, (v,)),
        "token_bias": (_I64, (v,)),
        "sigmoid": (_I32, (table,)),
        "silu": (_I32, (table,)),
        "exp2": (_I32, (EXP2_STEPS,)),
    }


def _check_sizes(sizes: dict[str, int], vocabulary: Vocabulary) -> None:
    v, g = sizes["vocab_size"], sizes["group_count"]
    widths = [sizes[name] for name in ("width", "state_width", "mlp_width", "group_mlp_width")]
    if v != vocabulary.size or g < 2 or g & (g - 1) or not 2 <= v // g <= 256 or g > 256:
        raise ModelError(f"The model claims {v} tokens in {g} groups, which does not fit its vocabulary.")
    if any(not 1 <= w <= MAX_WIDTH for w in widths) or not 1 <= sizes["layer_count"] <= MAX_LAYERS:
        raise ModelError(f"The model claims sizes beyond the limits of the format: {sizes}.")
    if not 0 <= sizes["start_token"] < v:
        raise ModelError("The model's start token is not one of its tokens.")


def _check_values(arrays: Arrays) -> None:
    a = arrays
    bounds: list[tuple[str, NDArray[Any], int, int]] = [
        ("shift", a.shift, 0, 128),
        ("sigmoid", a.sigmoid, 0, 1 << STATE_BITS),
        ("silu", a.silu, -(1 << 20), 1 << 20),
        ("exp2", a.exp2, 1, 1 << FREQUENCY_BITS),
        *((name, getattr(a, name), -_BIAS_MAX, _BIAS_MAX) for name in ("gates_bias", "group_out_bias", "token_bias")),
        *((name, getattr(a, name), -127, 127) for name in Arrays._fields if getattr(a, name).dtype == _I8),
        *((name, getattr(a, name), 0, (1 << 31) - 1) for name in Arrays._fields if name.endswith("_scale")),
    ]
    for name, values, low, high in bounds:
        if values.min() < low or values.max() > high:
            raise ModelError(f"The model's array {name} leaves its bounds {low}..{high}; the model file is damaged.")


def _check_second(second: Model, model: Model) -> None:
    ours, others = model.vocabulary, second.vocabulary
    is_same = np.array_equal(ours.offsets, others.offsets) and np.array_equal(ours.text, others.text)
    have_same_sizes = all(model.sizes[name] == second.sizes[name] for name in ("group_count", "start_token"))
    if second.second is not None or not is_same or not have_same_sizes:
        raise ModelError("The second network of the model has other tokens or groups, or another network beside it.")


@dataclass(frozen=True, eq=False)
class Model:
    """A network, its vocabulary, and the record of how it was made; perhaps a second network and an n-gram table."""

    arrays: Arrays
    vocabulary: Vocabulary
    sizes: dict[str, int]
    record: dict[str, Any] = field(repr=False, default_factory=dict)
    extra: dict[str, NDArray[Any]] = field(repr=False, default_factory=dict)  # arrays of other parts (mixing)
    code: CodeTable | None = field(repr=False, default=None)
    second: Model | None = field(repr=False, default=None)  # whose network predicts too, for the same tokens and groups
    ngrams: NgramTable | None = field(repr=False, default=None)  # of the same tokens

    def __post_init__(self) -> None:
        _check_sizes(self.sizes, self.vocabulary)
        if self.second:
            _check_second(self.second, self)
        if self.ngrams and self.ngrams.vocab_size != self.vocabulary.size:
            raise ModelError(f"The n-gram table of the model is for {self.ngrams.vocab_size} tokens, not for its own.")
        s = self.sizes
        names = ("vocab_size", "group_count", "width", "layer_count", "state_width", "mlp_width", "group_mlp_width")
        for name, (dtype, dims) in expected_arrays(*(s[name] for name in names)).items():
            array = getattr(self.arrays, name)
            if array.dtype != dtype or array.shape != dims:
                raise ModelError(
                    f"The model's array {name} is {array.dtype} {array.shape}, not {np.dtype(dtype)} {dims}; "
                    "the model file is damaged."
                )
        _check_values(self.arrays)
        check_code(self.code, s)

    @once
    def group_size(self) -> int:
        return self.sizes["vocab_size"] // self.sizes["group_count"]

    @property
    def networks(self) -> int:
        """How many networks predict: one or two."""
        return 1 if self.second is None else 2


def was_trained_on(model: Model, text: bytes) -> bool:
    """Return whether the text is one of the documents that the model was trained on; it keeps their hashes."""
    known = model.extra.get(TRAINED_ON)
    first = int.from_bytes(hashlib.sha256(text).digest()[:8], "little")
    if known is not None and known.dtype == np.uint64 and bool(np.isin(np.uint64(first), known)):
        return True
    return model.second is not None and was_trained_on(model.second, text)


def save_model(model: Model, path: Path, base: bytes | None = None, second: bytes | None = None) -> str:
    """Write the model to `path` and return the SHA-256 of the file, hexadecimal.

    Beside a `base` (the bytes of its file) only what the base lacks is written. `second` are the bytes of the file of the model's
    second network, which the new file only names, as it does the n-gram table. Where no reader would find that, it is written
    beside the model.
    """
    from safetensors.numpy import load

    tokens = model.vocabulary.tokens
    tensors: dict[str, NDArray[Any]] = {name: np.ascontiguousarray(a) for name, a in model.arrays._asdict().items()}
    tensors["token_text"] = model.vocabulary.text
    tensors["token_lengths"] = np.array([len(token) for token in tokens], dtype=np.uint8)
    tensors["merges"] = np.array(model.vocabulary.merges, dtype=np.uint16).reshape(-1, 2)
    if model.code is not None:
        tensors |= {f"code_{name}": np.ascontiguousarray(a) for name, a in model.code._asdict().items()}
    tensors |= {f"extra.{name}": np.ascontiguousarray(a) for name, a in model.extra.items()}
    header = {"format": MODEL_FORMAT, "sizes": json.dumps(model.sizes), "record": json.dumps(model.record)}
    if base is not None:
        of_base = load(base)
        more = {n: a for n, a in tensors.items() if n.startswith("extra.") and not _is_same(a, of_base.get(n))}
        more |= {n: a for n, a in tensors.items() if n.startswith("code_")}
        tensors = own_tensors(tensors, of_base) | more
        header["base"] = hashlib.sha256(base).hexdigest()
    if model.second is not None:
        assert second is not None
        header["second"] = hashlib.sha256(second).hexdigest()
    if model.ngrams is not None:
        header["ngrams"] = model.ngrams.content_hash
    data = written(tensors, header)
    write_whole(data, path)
    if model.ngrams is not None and model.ngrams.data and open_model(path).ngrams is None:
        write_whole(model.ngrams.data, path.with_name(f"{NGRAMS}-{model.ngrams.content_hash[:8]}.safetensors"))
    return hashlib.sha256(data).hexdigest()


def _is_same(a: NDArray[Any], b: NDArray[Any] | None) -> bool:
    return b is not None and a.dtype == b.dtype and np.array_equal(a, b)


def read_model(file: ModelFile) -> Model:
    """Read and check a model, with the files that it names. Raises ModelError, naming what is wrong."""
    return parse_model(file.read(), str(file.path), file.read_named())


def parse_model(data: Any, name: str, others: Mapping[str, Any] = _NO_FILES) -> Model:
    """Return the model in the bytes of a model file and of the files that it names: its base, its second network's, its n-gram
    table's. Raises ModelError.

    `name` is for messages. `others` are the bytes of files by their SHA-256, hexadecimal. The bytes of a file are anything with
    a buffer. The model's arrays are views of it, so it must stay as it is.
    """
    return _parse(data, name, others, is_second=False)


def _parse(data: Any, name: str, others: Mapping[str, Any], is_second: bool) -> Model:
    try:
        tensors, header = read_tensors(data)
        kind, sizes_text, record = header["format"], header["sizes"], json.loads(header["record"])
        sizes = json.loads(sizes_text)
        if not all(type(size) is int for size in sizes.values()):
            raise ValueError("its sizes are not all integers")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ModelError(f"{name} is not an nncomp model: {error}.") from error
    if is_second and ("base" in header or "second" in header):
        raise ModelError(f"{name} names other files itself, as no second network may.")
    if kind != MODEL_FORMAT:
        raise ModelError(f"{name} is a model of the kind {kind!r}; this version reads {MODEL_FORMAT!r}.")
    try:
        if "base" in header:
            tensors = joined(tensors, _tensors_of_base(_named(header["base"], others, f"The base of the model {name}"), name))
        arrays = Arrays(**{field_name: tensors[field_name] for field_name in Arrays._fields})
        vocabulary = _read_vocabulary(tensors)
        extra = {key.removeprefix("extra."): value for key, value in tensors.items() if key.startswith("extra.")}
        code, second, ngrams = code_table(tensors, sizes), None, None
        if "second" in header:
            which = f"The second network of the model {name}"
            second = _parse(_named(header["second"], others, which), which, others, is_second=True)
        if "ngrams" in header and not is_second:  # of a second network only its predictions are used
            ngrams = parse_ngrams(_named(header["ngrams"], others, f"The n-gram table of the model {name}"), header["ngrams"])
        return Model(arrays, vocabulary, sizes, record, extra, code, second, ngrams)
    except KeyError as error:
        raise ModelError(f"{name} lacks the array or size {error}; the model file is damaged or of another version.") from error


def _named(claimed: str, others: Mapping[str, Any], which: str) -> Any:
    """Return the bytes of a file that a model file names. `which` says which file of which model is meant, for the message."""
    if claimed not in others:
        raise ModelError(
            f"{which} was not found, or is damaged: its SHA-256 is {claimed!r:.80}. Such files come with nncomp (then install it "
            "again); an n-gram table may be beside the model, too, as ngrams*.safetensors."
        )
    return others[claimed]


def _tensors_of_base(data: Any, name: str) -> dict[str, NDArray[Any]]:
    try:
        tensors, header = read_tensors(data)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{name} builds on a file that is not a model: {error}.") from error
    if "base" in header:
        raise ModelError(f"{name} builds on a model that builds on another one, as no base may.")
    return tensors


def _read_vocabulary(tensors: dict[str, NDArray[Any]]) -> Vocabulary:
    text, lengths, merges = tensors["token_text"], tensors["token_lengths"], tensors["merges"]
    types_are_right = text.dtype == _U8 and lengths.dtype == _U8 and merges.dtype == np.uint16
    if not types_are_right or (text.ndim, lengths.ndim, merges.ndim) != (1, 1, 2) or merges.shape[1] != 2:
        raise ModelError("The model's vocabulary arrays have the wrong type or shape; the model file is damaged.")
    return Vocabulary.of_arrays(text, lengths, merges)
