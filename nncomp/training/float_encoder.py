"""The encoder: reads the tokens of a text and says a code z of it, a level for each of a few dimensions.

Float, and the sender's own matter: the receiver only ever sees the levels. Tokens in pairs, embedded, one product, squared
ReLU, the mean over the text, one more layer; then each dimension is bounded and rounded to its levels (finite scalar
quantisation, Mentzer et al. 2023, arXiv:2309.15505), with the gradient of linear interpolation between levels.
`nncomp.network.encoder` runs it without torch, and says which tokens of a long text it reads.
"""

# G groups (texts), N tokens read of each, V tokens, W width, C dimensions of the code, K levels

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

NO_TOKEN = -1
_MEMORY = 0.98  # of the running mean and deviation of each dimension


@dataclass(frozen=True)
class EncoderConfig:
    """Shape of an encoder; stored with its weights."""

    vocab_size: int
    dimensions: int
    levels: int
    width: int = 128

    def to_json(self) -> dict[str, int]:
        return asdict(self)


def between_levels(position_GC: Tensor, levels: int) -> Tensor:
    """Return how near each level is to a place from 0 to K - 1, shape (G, C, K): two levels side by side share 1.

    >>> between_levels(torch.tensor([[0.25]]), 3).tolist()
    [[[0.75, 0.25, 0.0]]]
    """
    return (1 - (position_GC[..., None] - torch.arange(levels, device=position_GC.device)).abs()).clamp_min(0)


class Encoder(nn.Module):
    """From the tokens of texts to their codes; see the module docstring."""

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
        """Return what is read in each text before it is bounded, shape (G, C), float32."""
        known = (ids_GN != NO_TOKEN)[..., None]
        x = F.embedding(ids_GN.clamp_min(0), self.embedding) * known
        y = F.relu(self.pair_in(torch.cat([x, F.pad(x[:, :-1], (0, 0, 1, 0))], -1))) ** 2
        pooled = (y * known).float().sum(1) / known.sum(1).clamp_min(1)
        pooled = F.layer_norm(pooled, pooled.shape[-1:])
        result: Tensor = self.code_out(pooled + F.relu(self.mix_in(pooled)) ** 2)
        return result.float()

    def position(self, ids_GN: Tensor) -> Tensor:
        """Return the place of each text on the scale of levels, from 0 to K - 1, shape (G, C).

        Centred on what it read in training, so that all levels are used from the first.
        """
        value = self.read(ids_GN)
        if self.training:
            with torch.no_grad():
                self.mean.lerp_(value.mean(0), 1 - _MEMORY)
                self.deviation.lerp_((value - self.mean).square().mean(0).sqrt(), 1 - _MEMORY)
        standard = (value - self.mean) / self.deviation.clamp_min(1e-4)
        return (torch.tanh(standard) + 1) * ((self.config.levels - 1) / 2)

    def forward(self, ids_GN: Tensor) -> Tensor:
        """Return the choice of levels, one-hot, shape (G, C, K) float32, with the gradient of interpolating between levels."""
        position = self.position(ids_GN)
        near = between_levels(position, self.config.levels)
        chosen = F.one_hot(torch.floor(position + 0.5).long(), self.config.levels).float()
        return chosen + near - near.detach()

    @torch.no_grad()
    def indices(self, ids_GN: Tensor) -> Tensor:
        """Return the levels, shape (G, C) int64: what is sent."""
        return torch.floor(self.position(ids_GN) + 0.5).long()
