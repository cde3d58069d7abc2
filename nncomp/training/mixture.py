"""The losses of mixing alone on the training text, for the objective "mixture".

In a file the probability of a token is a mixture of two: p from the network, and q from the statistics of the file itself. The
objective is the loss of the simplest mixture, -log((p + q) / 2). Its gradient is that of the cross-entropy times p / (p + q),
near zero where q is much larger than p. So the network learns what mixing cannot know. q comes from mixing with a network that
gives all tokens the same probability, in a block of neighbouring documents.
"""

# N tokens of the text, V tokens of the vocabulary

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nncomp.blocks.levels import lines_log2
from nncomp.blocks.token_payload import predict_tokens
from nncomp.errors import DataError
from nncomp.format.payloads import TokensHead
from nncomp.network.engine import Network
from nncomp.network.model import EXP2_STEPS, FREQUENCY_BITS, Arrays, Model, expected_arrays
from nncomp.network.vocabulary import Vocabulary
from nncomp.range_coder import PROBABILITY_ONE
from nncomp.stream.workers import run_in_order
from nncomp.training.mixing_start import first_values
from nncomp.training.prepared_text import read_array

BLOCK_BYTES = 200_000  # neighbouring documents are predicted together, like one file
_LEARNED_FROM = 1_500_000  # bytes of the text that the start values of mixing are learned on
_GROUPS, _WIDTH = 128, 64

Values = dict[str, NDArray[Any]]


def silent_model(vocabulary: Vocabulary) -> Model:
    """Return a small model whose network gives all tokens the same probability."""
    v = len(vocabulary.tokens)
    sizes = {
        "vocab_size": v,
        "group_count": min(_GROUPS, v // 2),
        "width": _WIDTH,
        "layer_count": 1,
        "state_width": _WIDTH,
        "mlp_width": _WIDTH,
        "group_mlp_width": _WIDTH,
        "start_token": 0,
    }
    shapes = expected_arrays(v, sizes["group_count"], _WIDTH, 1, _WIDTH, _WIDTH, _WIDTH)
    arrays = Arrays(**{name: np.zeros(dims, dtype) for name, (dtype, dims) in shapes.items()})
    return Model(arrays._replace(exp2=np.full(EXP2_STEPS, 1 << FREQUENCY_BITS, np.int32)), vocabulary, sizes)


def token_losses(model: Network, ids: NDArray[np.integer[Any]], start: Values) -> tuple[NDArray[np.float32], Values]:
    """Return the loss of each token of a piece in nats, shape (N,), and the values that mixing ended with after `start`."""
    vocabulary = model.model.vocabulary
    text = b"".join(vocabulary.tokens[i] for i in ids.tolist())
    p = predict_tokens(model, text, start, TokensHead(0, lines_log2(len(text))), lane_ids=[ids.astype(np.int32)])
    p1 = p.p1.astype(np.float64) / PROBABILITY_ONE
    losses = -np.log(np.where(p.decisions != 0, p1, 1 - p1)).reshape(-1, vocabulary.bits).sum(1)
    return losses.astype(np.float32), p.learned


@dataclass(frozen=True)
class _Piece:
    """The work on one piece of the text: its losses under mixing alone, after some start values."""

    vocabulary: Vocabulary
    ids: NDArray[np.uint16]
    start: Values
    raw_bytes: int

    @property
    def input_bytes(self) -> int:
        return self.raw_bytes

    def losses(self) -> NDArray[np.float32]:
        return token_losses(Network(silent_model(self.vocabulary)), self.ids, self.start)[0]


def mixing_losses(
    vocabulary: Vocabulary,
    ids: NDArray[np.uint16],
    ends: NDArray[np.int64],
    report: Callable[[str], None],
    workers: int = 0,
) -> NDArray[np.float32]:
    """Return the loss of each token under mixing alone, in nats, shape (N,); `ends` are those of the pieces in `ids`.

    With `workers`, so many processes share the pieces; the losses are the same.
    """
    model, values = Network(silent_model(vocabulary)), first_values()
    spans = list(zip([0, *ends.tolist()[:-1]], ends.tolist(), strict=True))
    size_V, learned_bytes = np.diff(vocabulary.offsets), 0
    for low, high in spans:
        if learned_bytes >= _LEARNED_FROM:
            break
        _, values = token_losses(model, ids[low:high], values)
        learned_bytes += int(size_V[ids[low:high]].sum())
    losses = np.zeros(len(ids), np.float32)
    parts = (np.array(ids[low:high]) for low, high in spans)
    pieces = (_Piece(vocabulary, part, values, int(size_V[part].sum())) for part in parts)
    for number, ((low, high), found) in enumerate(zip(spans, run_in_order(pieces, _Piece.losses, workers), strict=True)):
        losses[low:high] = found
        if number % max(1, len(spans) // 10) == 0:
            report(f"losses of mixing alone: {high / len(ids):.0%} of the text")
    report(f"mixing alone: {float(losses.sum(dtype=np.float64)) / math.log(2) / len(ids):.3f} bits a token")
    return losses


def known_losses(
    folder: Path, vocabulary: Vocabulary, ids: NDArray[np.uint16], ends: NDArray[np.int64], report: Callable[[str], None]
) -> NDArray[np.float32]:
    """Return what `mixing_losses` returns, computed by as many processes as torch takes threads.

    The first call writes `mixing.npy` to the run's folder; later calls read the file.

    Raises DataError when the file cannot be written.
    """
    path, temporary = folder / "mixing.npy", folder / "mixing.part.npy"
    with suppress(OSError, DataError):
        found: NDArray[np.float32] = read_array(path, np.float32)
        if len(found) == len(ids):
            return found
    try:
        workers = torch.get_num_threads() if torch.get_num_threads() > 1 and len(ends) > 1 else 0
        np.save(temporary, mixing_losses(vocabulary, ids, ends, report, workers))
        temporary.replace(path)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}.") from error
    result: NDArray[np.float32] = np.load(path, mmap_mode="r")
    return result
