"""What a training minimises: the cross-entropy, the loss of a mixture, or the distance of each token's loss from an estimate.

For the mixture see `nncomp.training.mixture`. The estimates of the distances are entropies of the training text's tokens
(arXiv 2511.10618), in a file that `nncomp entropy --per-token` writes. They are spread over the bytes of the text, so the
training may use other tokens. Knows nothing of networks.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from nncomp.errors import DataError
from nncomp.network.vocabulary import Vocabulary
from nncomp.training.text_files import Document, shuffled_pieces

CROSS_ENTROPY, MIXTURE = "cross-entropy", "mixture"
DISTANCES: dict[str, Callable[[Tensor], Tensor]] = {
    "hinge": F.relu,  # no gradient for a loss at or below the estimate
    "absolute": lambda excess: excess.abs(),  # a loss below the estimate is raised
    MIXTURE: lambda excess: -F.softplus(-excess),  # the loss of the mean of both probabilities, up to a constant
}


def distance(objective: str, losses: Tensor, estimates: Tensor) -> Tensor:
    """Return the summed distance of the losses of tokens from their estimates, all in nats.

    >>> import torch
    >>> losses, estimates = torch.tensor([3.0, 1.0, 2.0]), torch.tensor([1.0, 2.0, 2.0])
    >>> float(distance("hinge", losses, estimates)), float(distance("absolute", losses, estimates))
    (2.0, 3.0)
    >>> both = torch.tensor([0.5, 0.25]), torch.tensor([0.5, 0.75])  # probabilities of the network and of mixing
    >>> distance("mixture", -both[0].log(), -both[1].log()) - (both[1] / (both[0] + both[1])).log().sum()  # either way
    tensor(0.)
    """
    return DISTANCES[objective](losses - estimates).sum()


def read_estimates(path: Path, documents: list[Document]) -> NDArray[np.float64]:
    """Return the estimated bits of the first 0, 1, 2, ... bytes of the documents, taken as one text, from a file of estimates.

    The bits of a token are spread evenly over its bytes. Raises DataError for a file of another text or of another kind.
    """
    text = b"".join(document.text for document in documents)
    offsets, bits = [0], [0.0]
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    unit = json.loads(line)
                    start, size, shown, chain_bits = unit["offset"], unit["bytes"], unit["text"], float(unit["chain_bits"])
                    is_one = type(size) is int and size > 0 and math.isfinite(chain_bits)
                except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
                    is_one = False
                if not is_one:
                    raise DataError(f"{path}: line {number} is no estimate; nncomp entropy --per-token writes such a file.")
                if start != offsets[-1] or text[start : start + size].decode(errors="replace") != shown:
                    raise DataError(
                        f"{path}: line {number} is of another text; the estimates must be of the training text, byte for byte "
                        "(of several documents: one after the other)."
                    )
                offsets.append(start + size)
                bits.append(chain_bits)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    if offsets[-1] != len(text):
        raise DataError(f"{path} ends after {offsets[-1]:,} bytes, and the training text has {len(text):,}.")
    result: NDArray[np.float64] = np.interp(np.arange(len(text) + 1), offsets, np.cumsum(bits))
    return result


def token_estimates(
    summed_bits: NDArray[np.float64], documents: list[Document], vocabulary: Vocabulary, seed: int
) -> NDArray[np.float32]:
    """Return the estimate of each token that `encode_pieces` gives with the same seed, in nats, float32."""
    sizes, parts = np.diff(vocabulary.offsets), []
    for start, piece in shuffled_pieces(documents, seed):
        ends = start + np.cumsum(np.concatenate([[0], sizes[vocabulary.encode(piece)]]))
        parts.append(np.diff(summed_bits[ends]) * math.log(2))
    return np.concatenate(parts).astype(np.float32)
