"""The elementwise parts of a layer, each with a gradient of its own, which passes over memory fewer times than autograd.

Half of a training step on a CPU is such passes. The docstrings define the functions; tests compare values and gradients.
"""

# T steps, L lanes, D width

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_EPSILON = 1e-6  # of the norm


class _SquaredRelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        positive: Tensor = x.clamp_min(0)
        ctx.save_for_backward(positive)
        return positive * positive

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (positive,) = ctx.saved_tensors
        gradient: Tensor = grads[0] * positive
        return gradient.mul_(2)


def squared_relu(x: Tensor) -> Tensor:
    """Return max(x, 0) ** 2."""
    result: Tensor = _SquaredRelu.apply(x)  # type: ignore[no-untyped-call]
    return result


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.float()
        size = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        factor = (size.square() / x.shape[-1] + _EPSILON).rsqrt()
        y: Tensor = x * factor
        ctx.save_for_backward(y, factor)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        y, factor = ctx.saved_tensors
        along = (grads[0] * y).mean(-1, keepdim=True)
        gradient: Tensor = torch.addcmul(grads[0], y, along, value=-1)
        return gradient.mul_(factor)


def norm(x: Tensor) -> Tensor:
    """Return x divided by its root mean square over the last axis, float32 (RMSNorm without gain; the gain is in the weights)."""
    result: Tensor = _Norm.apply(x)  # type: ignore[no-untyped-call]
    return result


class _Shift(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y_TLD: Tensor, first_LD: Tensor, shift_D: Tensor) -> Tensor:
        ctx.save_for_backward(y_TLD, first_LD, shift_D)
        u = y_TLD * (1 - shift_D)
        u[1:].addcmul_(y_TLD[:-1], shift_D)
        u[0].addcmul_(first_LD, shift_D)
        return u

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, Tensor]:
        y, first, shift = ctx.saved_tensors
        du = grads[0]
        dy = du * (1 - shift)
        dy[:-1].addcmul_(du[1:], shift)
        moved = (y[:-1] - y[1:]).mul_(du[1:]).sum((0, 1)) + (du[0] * (first - y[0])).sum(0)
        return dy, None, moved


def shift_lanes(y_TLD: Tensor, first_LD: Tensor, shift_D: Tensor) -> Tensor:
    """Return y[t] + (y[t-1] - y[t]) * shift, where `first` comes before the first step. `first` gets no gradient."""
    result: Tensor = _Shift.apply(y_TLD, first_LD, shift_D)  # type: ignore[no-untyped-call]
    return result
