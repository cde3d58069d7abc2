"""The encoder of a model, run in NumPy: it finds the code z of a block for the sender.

The encoder is a small float network in a file beside the model, NAME.encoder.safetensors. Without this file no code is sent. The
receiver does not need it: a code changes the size of a file, never the decoded bytes. `Encoder.code` computes the same as
`nncomp.training.float_encoder`, which is trained. Knows nothing of coding.
"""

# N tokens read, V tokens, W width, C dimensions of the code, K digits

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nncomp.errors import ModelError

SPAN, SPANS = 256, 16  # tokens of a span, and spans that are read of a text with more than SPAN * SPANS tokens
_FORMAT = "nncomp-encoder-1"
_MAX_BYTES = 1 << 28

Floats = NDArray[np.float32]


def sample(ids_N: NDArray[Any]) -> NDArray[np.int64]:
    """Return the tokens of a text that the encoder reads, at most SPAN * SPANS, int64: all, or spans evenly spaced.

    >>> sample(np.arange(1 << 20))[[0, 255, 256, -1]].tolist()
    [0, 255, 69888, 1048575]
    """
    if len(ids_N) <= SPAN * SPANS:
        return ids_N.astype(np.int64)
    starts = [(len(ids_N) - SPAN) * i // (SPANS - 1) for i in range(SPANS)]
    return np.concatenate([ids_N[start : start + SPAN] for start in starts]).astype(np.int64)


def shapes(vocab_size: int, dimensions: int, width: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of each array of an encoder, all float32."""
    wide = 2 * width
    return {
        "embedding": (vocab_size, width),
        "pair_in.weight": (wide, wide),
        "pair_in.bias": (wide,),
        "mix_in.weight": (wide, wide),
        "mix_in.bias": (wide,),
        "code_out.weight": (dimensions, wide),
        "code_out.bias": (dimensions,),
        "mean": (dimensions,),
        "deviation": (dimensions,),
    }


@dataclass(frozen=True, eq=False)
class Encoder:
    """The sizes of an encoder (`vocab_size`, `dimensions`, `levels`: digits, `width`) and its arrays; they are checked."""

    sizes: dict[str, int]
    arrays: dict[str, Floats] = field(repr=False)

    def __post_init__(self) -> None:
        s = self.sizes
        if not {"vocab_size", "dimensions", "levels", "width"} <= s.keys():
            raise ModelError("A size of the encoder is missing.")
        for name, shape in shapes(s["vocab_size"], s["dimensions"], s["width"]).items():
            array = self.arrays.get(name, np.zeros(0, np.float32))
            if array.dtype != np.float32 or array.shape != shape or not np.isfinite(array).all():
                raise ModelError(f"The encoder's array {name} is {array.dtype} {array.shape}, not finite float32 {shape}.")

    @np.errstate(all="ignore")  # a damaged encoder may overflow: then the code is bad, and still a code
    def code(self, ids_N: NDArray[Any]) -> NDArray[np.int64]:
        """Return the code of a text (at least one token), shape (C,) int64."""
        a, ids = self.arrays, sample(ids_N)
        x = a["embedding"][ids]
        pairs = np.concatenate([x, np.concatenate([np.zeros_like(x[:1]), x[:-1]])], 1)
        pooled = _squared_relu(pairs @ a["pair_in.weight"].T + a["pair_in.bias"]).mean(0)
        pooled = (pooled - pooled.mean()) / np.sqrt(pooled.var() + np.float32(1e-5))
        mixed = pooled + _squared_relu(pooled @ a["mix_in.weight"].T + a["mix_in.bias"])
        value = mixed @ a["code_out.weight"].T + a["code_out.bias"]
        standard = (value - a["mean"]) / np.maximum(a["deviation"], np.float32(1e-4))
        top = self.sizes["levels"] - 1
        digits_C: NDArray[np.int64] = np.floor((np.tanh(np.nan_to_num(standard)) + 1) * (top / 2) + 0.5).astype(np.int64)
        return np.clip(digits_C, 0, top)


def _squared_relu(x: Any) -> Any:
    return np.square(np.maximum(x, 0))


def encoder_path(model: Path) -> Path:
    """Return where the encoder of a model is, if there is one.

    >>> encoder_path(Path("models/own.safetensors")).name
    'own.encoder.safetensors'
    """
    return model.with_name(f"{model.name.removesuffix('.safetensors')}.encoder.safetensors")


def open_encoder(model: Path, sizes: dict[str, int]) -> Encoder | None:
    """Return the encoder beside a model of these sizes; None if the model takes no code or has no encoder.

    Raises ModelError when the encoder is damaged or belongs to another model.
    """
    path = encoder_path(model)
    if not sizes.get("code_dimensions") or not path.is_file():
        return None
    encoder = load_encoder(path)
    expected = sizes["vocab_size"], sizes["code_dimensions"], sizes["code_levels"]
    if tuple(encoder.sizes[name] for name in ("vocab_size", "dimensions", "levels")) != expected:
        raise ModelError(f"The encoder {path} does not belong to the model {model}; remove the encoder, and no code is sent.")
    return encoder


def save_encoder(encoder: Encoder, path: Path) -> None:
    """Write an encoder to its file."""
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(array) for name, array in encoder.arrays.items()}
    data = save(arrays, metadata={"format": _FORMAT, "sizes": json.dumps(encoder.sizes)})
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(data)
    temporary.replace(path)


def load_encoder(path: Path) -> Encoder:
    """Read and check an encoder's file. Raises ModelError, naming what is wrong."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ModelError(f"The encoder {path} has {path.stat().st_size:,} bytes; no encoder is that large.")
        data = path.read_bytes()
        arrays = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")].decode())["__metadata__"]
        sizes = json.loads(header["sizes"])
        if header["format"] != _FORMAT or not all(type(size) is int and 0 < size < 1 << 20 for size in sizes.values()):
            raise ValueError("it has another format or other sizes")
        return Encoder(sizes, arrays)
    except OSError as error:
        raise ModelError(f"The encoder {path} cannot be read: {error.strerror}.") from error
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ModelError(f"{path} is not an encoder of nncomp ({error}); remove the file, and no code is sent.") from error
