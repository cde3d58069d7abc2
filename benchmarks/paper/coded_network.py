"""A network with a code: the tables that turn a code into its initial states and inputs, and the price of a code.

A code has C digits, each of K values. Each value of each digit has a row in two tables. The sum of the digits' rows in the
first table is added to the input of each step; the sum in the second table is the initial state of each layer. The prior gives
each value a probability. A code costs -log2 of its probability. For the experiments of docs/PAPER.md: such a code has no place in
a file. Knows nothing of where a code comes from (`benchmarks.paper.float_encoder`).
"""

# G groups (texts with a code each), C dimensions of the code (digits), K values of a digit, D width, N layers, E state width

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from nncomp.training.fake_int8 import round_straight_through
from nncomp.training.float_network import FloatNetwork
from nncomp.training.shapes import NetworkShape

CODE_STEPS = 1 << 12  # with rounding, entries of the tables are multiples of 1 / 4096
CODE_MAX = (1 << 15) - 1  # the largest multiple


@dataclass(frozen=True)
class CodedShape(NetworkShape):
    """The sizes of a network with a code."""

    code_dimensions: int = 0
    code_levels: int = 0  # values of a digit of the code


def coded(shape: NetworkShape, code_dimensions: int, code_levels: int) -> CodedShape:
    """Return a shape with a code."""
    return CodedShape(**asdict(shape), code_dimensions=code_dimensions, code_levels=code_levels)


class CodeTables(nn.Module):
    """The tables of a network's code, and the prior: a probability for each value of each digit."""

    def __init__(self, dimensions: int, values: int, width: int, layers: int, state_width: int) -> None:
        super().__init__()
        slope = torch.linspace(-1, 1, values)[:, None]  # at first the rows of a digit's values lie on a line, in order
        self.input = nn.Parameter(slope * torch.randn(dimensions, 1, width) * (0.3 / dimensions**0.5))
        start = slope[:, None] * torch.randn(dimensions, 1, layers, state_width) * (0.1 / dimensions**0.5)
        self.state = nn.Parameter(start)
        self.prior = nn.Parameter(torch.zeros(dimensions, values))
        self.quantized = False

    def effective(self, table: Tensor) -> Tensor:
        """Return a table; once quantisation is on, rounded."""
        if not self.quantized:
            return table
        return round_straight_through(torch.clamp(table * CODE_STEPS, -CODE_MAX, CODE_MAX)) / CODE_STEPS

    def forward(self, choice_GCK: Tensor) -> tuple[Tensor, Tensor]:
        """Return the added input, shape (G, D), and the initial states, shape (N, G, E), of one-hot digits (float32)."""
        with torch.autocast(choice_GCK.device.type, enabled=False):
            row = torch.einsum("gck,ckd->gd", choice_GCK, self.effective(self.input))
            return row, torch.einsum("gck,ckne->nge", choice_GCK, self.effective(self.state))

    def bits(self, choice_GCK: Tensor) -> Tensor:
        """Return the price of each code under the prior, in bits, shape (G,)."""
        cost = -F.log_softmax(self.prior.float(), -1) / math.log(2)
        return (choice_GCK * cost).sum((1, 2))


def one_hot(digits_GC: Tensor, values: int) -> Tensor:
    """Return digits as `CodeTables` takes them, one-hot, shape (G, C, K) float32."""
    return F.one_hot(digits_GC, values).float()


class CodedNetwork(FloatNetwork):
    """A network with the tables of its code."""

    config: CodedShape

    def __init__(self, config: CodedShape) -> None:
        super().__init__(config)
        self.code = CodeTables(config.code_dimensions, config.code_levels, config.width, config.layer_count, config.state_width)

    def set_quantization(self, mode: str) -> None:
        super().set_quantization(mode)
        self.code.quantized = mode == "on"
