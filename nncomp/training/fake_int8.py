"""Fake quantisation: float tensors that take only the values the integer network can represent.

The rounding passes gradients on unchanged (Bengio et al. 2013, arXiv:1308.3432); a clipped value gets no gradient. Knows
nothing of layers. The integer side is `nncomp.network`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

INT8_MAX = 127
_PART = 1 << 16  # elements: 256 KiB
NORM_STEPS = 16  # a normalised activation y is coded as round(y * 16), so |y| <= 7.94


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.floor(x + 0.5)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


def round_straight_through(x: Tensor) -> Tensor:
    """Return floor(x + 0.5), with the gradient of the identity."""
    result: Tensor = _Round.apply(x)  # type: ignore[no-untyped-call]
    return result


def _parts(x: Tensor, is_whole: bool) -> tuple[Tensor, ...]:
    return (x,) if is_whole else torch.split(x.view(-1), _PART)


class _FakeInt8(torch.autograd.Function):
    """On a CPU it works on parts that stay in the cache of a core from one pass to the next."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor | float) -> Tensor:
        x = x.contiguous()
        result, inside = torch.empty_like(x), torch.empty_like(x, dtype=torch.bool)
        is_whole = x.is_cuda or (isinstance(scale, Tensor) and scale.dim() > 0)
        for given, steps, is_inside in zip(*(_parts(each, is_whole) for each in (x, result, inside)), strict=True):
            torch.div(given, scale, out=steps)
            torch.le(steps.abs(), INT8_MAX, out=is_inside)
            steps.clamp_(-INT8_MAX, INT8_MAX).add_(0.5).floor_().mul_(scale)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(inside)
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (inside,) = ctx.saved_tensors
        return grads[0] * inside, None


def fake_int8(x: Tensor, scale: Tensor | float) -> Tensor:
    """Return x rounded to a multiple of `scale` within +-127 * scale."""
    result: Tensor = _FakeInt8.apply(x, scale)  # type: ignore[no-untyped-call]
    return result


def row_scale(weight_NK: Tensor) -> Tensor:
    """Return the scale of each row, shape (N, 1), so that its largest weight becomes 127."""
    return weight_NK.detach().abs().amax(1, keepdim=True).clamp_min(1e-8) / INT8_MAX


def fake_int8_rows(weight_NK: Tensor) -> Tensor:
    """Return the weight rounded to int8 with one scale per row."""
    return fake_int8(weight_NK, row_scale(weight_NK))
