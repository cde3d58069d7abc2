"""What a decoder makes of a code z: one row of a table for each (dimension, level), added up; and the price of z.

A code is one level for each of n dimensions. The sums are the decoder's initial states, and a vector that is added to the
input of each step. The prior says how likely each level is: -log2 of that is what the code costs, in the loss and in the file.
Knows nothing of where a code comes from (`nncomp.training.float_encoder`).
"""

# G groups (texts with a code each), C dimensions of the code, K levels, D width, N layers, E state width

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from nncomp.training.fake_int8 import round_straight_through

CODE_STEPS = 1 << 12  # entries of the tables are multiples of 1 / 4096
CODE_MAX = (1 << 15) - 1  # and so many of these at most


class CodeTables(nn.Module):
    """The tables of a decoder's code, and its factorised categorical prior."""

    def __init__(self, dimensions: int, levels: int, width: int, layers: int, state_width: int) -> None:
        super().__init__()
        slope = torch.linspace(-1, 1, levels)[:, None]  # at first the rows of a dimension lie on a line, in order
        self.input = nn.Parameter(slope * torch.randn(dimensions, 1, width) * (0.3 / dimensions**0.5))
        start = slope[:, None] * torch.randn(dimensions, 1, layers, state_width) * (0.1 / dimensions**0.5)
        self.state = nn.Parameter(start)
        self.prior = nn.Parameter(torch.zeros(dimensions, levels))
        self.quantized = False

    def effective(self, table: Tensor) -> Tensor:
        """Return a table as the integer model holds it once quantisation is on."""
        if not self.quantized:
            return table
        return round_straight_through(torch.clamp(table * CODE_STEPS, -CODE_MAX, CODE_MAX)) / CODE_STEPS

    def forward(self, choice_GCK: Tensor) -> tuple[Tensor, Tensor]:
        """Return the added input, shape (G, D), and the initial states, shape (N, G, E), of one-hot choices (float32)."""
        with torch.autocast(choice_GCK.device.type, enabled=False):
            row = torch.einsum("gck,ckd->gd", choice_GCK, self.effective(self.input))
            return row, torch.einsum("gck,ckne->nge", choice_GCK, self.effective(self.state))

    def bits(self, choice_GCK: Tensor) -> Tensor:
        """Return the price of each code under the prior, in bits, shape (G,)."""
        cost = -F.log_softmax(self.prior.float(), -1) / math.log(2)
        return (choice_GCK * cost).sum((1, 2))


def one_hot(indices_GC: Tensor, levels: int) -> Tensor:
    """Return the choices that `CodeTables` takes, shape (G, C, K) float32, of given levels."""
    return F.one_hot(indices_GC, levels).float()
