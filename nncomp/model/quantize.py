"""Fake quantisation: float tensors that take only the values the integer network can represent.

Gradients pass straight through the rounding; they are cut where a value is clipped (Bengio et al. 2013,
arXiv:1308.3432). Knows nothing of layers. The integer side is `nncomp.exact`.
"""

from __future__ import annotations

import torch
from torch import Tensor

INT8_MAX = 127
NORM_STEPS = 16  # a normalised activation y is coded as round(y * 16): |y| <= 7.94


def round_straight_through(x: Tensor) -> Tensor:
    """Return round(x), half away from floor, with the gradient of the identity."""
    return x + (torch.floor(x + 0.5) - x).detach()


def fake_int8(x: Tensor, scale: Tensor | float) -> Tensor:
    """Return x rounded to a multiple of `scale` within +-127 * scale."""
    return round_straight_through(torch.clamp(x / scale, -INT8_MAX, INT8_MAX)) * scale


def row_scale(weight_NK: Tensor) -> Tensor:
    """Return the scale of each row, shape (N, 1), so that its largest weight becomes 127."""
    return weight_NK.detach().abs().amax(1, keepdim=True).clamp_min(1e-8) / INT8_MAX


def fake_int8_rows(weight_NK: Tensor) -> Tensor:
    """Return the weight as int8 with one scale per row would hold it."""
    return fake_int8(weight_NK, row_scale(weight_NK))
