"""The encoder reads the tokens of a text and returns a code: one digit for each of a few dimensions.

The encoder computes in float. Its layers: pairs of
embedded tokens, one product, squared ReLU, the mean over the text, one more layer. Then each dimension is bounded and rounded
to a digit (finite scalar quantisation, Mentzer et al. 2023, arXiv:2309.15505). The gradient is that of linear interpolation
between neighbouring digits. `sample` picks the tokens that are read of a long text. For the experiments of docs/PAPER.md.
"""

# G groups (texts), N tokens read of each, V tokens, W width, C dimensions of the code (digits), K values of a digit

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

NO_TOKEN = -1
SPAN, SPANS = 256, 16  # tokens of a span, and spans that are read of a text with more than SPAN * SPANS tokens
_MEMORY = 0.98  # of the running mean and deviation of each dimension


@dataclass(frozen=True)
class EncoderConfig:
    """The sizes of an encoder."""

    vocab_size: int
    dimensions: int
    values: int
    width: int = 128


def sample(ids_N: NDArray[Any]) -> NDArray[np.int64]:
    """Return the tokens of a text that the encoder reads, at most SPAN * SPANS, int64: all, or spans evenly spaced.

    >>> sample(np.arange(1 << 20))[[0, 255, 256, -1]].tolist()
    [0, 255, 69888, 1048575]
    """
    if len(ids_N) <= SPAN * SPANS:
        return ids_N.astype(np.int64)
    starts = [(len(ids_N) - SPAN) * i // (SPANS - 1) for i in range(SPANS)]
    return np.concatenate([ids_N[start : start + SPAN] for start in starts]).astype(np.int64)


def shares_of_values(position_GC: Tensor, values: int) -> Tensor:
    """Return the share of each value at a position from 0 to K - 1, shape (G, C, K): the two nearest values share 1.

    >>> shares_of_values(torch.tensor([[0.25]]), 3).tolist()
    [[[0.75, 0.25, 0.0]]]
    """
    return (1 - (position_GC[..., None] - torch.arange(values, device=position_GC.device)).abs()).clamp_min(0)


class Encoder(nn.Module):
    """The encoder; see the module docstring."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        w = config.width
        self.embedding = nn.Parameter(torch.randn(config.vocab_size, w) * 0.5)
        self.pair_in = nn.Linear(2 * w, 2 * w)
        self.mix_in = nn.Linear(2 * w, 2 * w)
        self.code_out = nn.Linear(2 * w, config.dimensions)
        self.register_buffer("mean", torch.zeros(config.dimensions))
        self.register_buffer("deviation", torch.ones(config.dimensions))

    def read(self, ids_GN: Tensor) -> Tensor:
        """Return the output of the last layer for each text, not yet bounded, shape (G, C), float32."""
        known = (ids_GN != NO_TOKEN)[..., None]
        x = F.embedding(ids_GN.clamp_min(0), self.embedding) * known
        y = F.relu(self.pair_in(torch.cat([x, F.pad(x[:, :-1], (0, 0, 1, 0))], -1))) ** 2
        pooled = (y * known).float().sum(1) / known.sum(1).clamp_min(1)
        pooled = F.layer_norm(pooled, pooled.shape[-1:])
        result: Tensor = self.code_out(pooled + F.relu(self.mix_in(pooled)) ** 2)
        return result.float()

    def position(self, ids_GN: Tensor) -> Tensor:
        """Return the position of each text in each dimension, from 0 to K - 1, shape (G, C); the digit is the nearest integer.

        A running mean and deviation of the training's texts centre the positions, so that all values are in use from the
        first step.
        """
        value = self.read(ids_GN)
        if self.training:
            with torch.no_grad():
                self.mean.lerp_(value.mean(0), 1 - _MEMORY)
                self.deviation.lerp_((value - self.mean).square().mean(0).sqrt(), 1 - _MEMORY)
        standard = (value - self.mean) / self.deviation.clamp_min(1e-4)
        return (torch.tanh(standard) + 1) * ((self.config.values - 1) / 2)

    def forward(self, ids_GN: Tensor) -> Tensor:
        """Return the digits, one-hot, shape (G, C, K) float32, with the gradient of interpolation between values."""
        position = self.position(ids_GN)
        near = shares_of_values(position, self.config.values)
        chosen = F.one_hot(torch.floor(position + 0.5).long(), self.config.values).float()
        return chosen + near - near.detach()

    @torch.no_grad()
    def digits(self, ids_GN: Tensor) -> Tensor:
        """Return the digits that are sent, shape (G, C) int64."""
        return torch.floor(self.position(ids_GN) + 0.5).long()
