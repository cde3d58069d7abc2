"""The gated recurrence of a layer with its gates and its output, as one Triton kernel each way. For a GPU.

`recurrence.recur_naive` defines it. Torch's wheels for CUDA bring Triton, so no compiler is needed. Importing this module
needs Triton. Each program walks through all steps of some channels; no sum goes across channels, so the number of
programs changes no result.
"""

# T steps, L lanes, E state width

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_CHANNELS = 128  # of a program


@triton.jit(do_not_specialize=["steps"])  # type: ignore[untyped-decorator]
def _forward(gates, h0, h, out, steps, channels, width: tl.constexpr, size: tl.constexpr):  # type: ignore[no-untyped-def]
    n = tl.program_id(0) * size + tl.arange(0, size)
    is_in = n < channels
    gate = gates + (n // width) * (3 * width) + n % width
    state = tl.load(h0 + n, mask=is_in, other=0.0)
    tl.store(h + n, state, mask=is_in)
    for _ in range(steps):
        a = tl.load(gate, mask=is_in, other=0.0).to(tl.float32)
        c = tl.load(gate + width, mask=is_in, other=0.0).to(tl.float32)
        g = tl.load(gate + 2 * width, mask=is_in, other=0.0).to(tl.float32)
        state += tl.sigmoid(a) * (c - state)
        h += channels
        tl.store(h + n, state, mask=is_in)
        tl.store(out + n, (state * g * tl.sigmoid(g)).to(out.dtype.element_ty), mask=is_in)
        gate += 3 * channels
        out += channels


@triton.jit(do_not_specialize=["steps"])  # type: ignore[untyped-decorator]
def _backward(gates, h, d_out, d_gates, d_h0, steps, channels, width: tl.constexpr, size: tl.constexpr):  # type: ignore[no-untyped-def]
    n = tl.program_id(0) * size + tl.arange(0, size)
    is_in = n < channels
    last = steps.to(tl.int64) - 1
    place = (n // width) * (3 * width) + n % width
    gate, d_gate = gates + last * 3 * channels + place, d_gates + last * 3 * channels + place
    h += (last + 1) * channels
    d_out += last * channels
    state = tl.load(h + n, mask=is_in, other=0.0)
    carry = tl.zeros((size,), tl.float32)
    for _ in range(steps):
        h -= channels
        before = tl.load(h + n, mask=is_in, other=0.0)
        a = tl.load(gate, mask=is_in, other=0.0).to(tl.float32)
        c = tl.load(gate + width, mask=is_in, other=0.0).to(tl.float32)
        g = tl.load(gate + 2 * width, mask=is_in, other=0.0).to(tl.float32)
        d = tl.load(d_out + n, mask=is_in, other=0.0).to(tl.float32)
        keep, open_ = tl.sigmoid(a), tl.sigmoid(g)
        d_h = d * g * open_ + carry
        kind = d_gates.dtype.element_ty
        tl.store(d_gate, (d_h * (c - before) * keep * (1 - keep)).to(kind), mask=is_in)
        tl.store(d_gate + width, (d_h * keep).to(kind), mask=is_in)
        tl.store(d_gate + 2 * width, (d * state * open_ * (1 + g * (1 - open_))).to(kind), mask=is_in)
        carry = d_h * (1 - keep)
        state = before
        gate -= 3 * channels
        d_gate -= 3 * channels
        d_out -= channels
    tl.store(d_h0 + n, carry, mask=is_in)


class _Recur(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gates: Tensor, h0: Tensor) -> tuple[Tensor, Tensor]:
        gates, h0 = gates.contiguous(), h0.float().contiguous()
        steps, (lanes, width) = len(gates), h0.shape
        h = torch.empty(steps + 1, lanes, width, dtype=torch.float32, device=gates.device)  # h0, then the state after each step
        out = torch.empty(steps, lanes, width, dtype=gates.dtype, device=gates.device)
        _forward[_grid(h0)](gates, h0, h, out, steps, h0.numel(), width, _CHANNELS)
        ctx.save_for_backward(gates, h)
        last = h[-1].clone()
        ctx.mark_non_differentiable(last)
        return out, last

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        gates, h = ctx.saved_tensors
        d_gates, d_h0 = torch.empty_like(gates), torch.empty_like(h[0])
        sizes = len(gates), d_h0.numel(), d_h0.shape[1]
        _backward[_grid(d_h0)](gates, h, grads[0].contiguous(), d_gates, d_h0, *sizes, _CHANNELS)
        return d_gates, d_h0


def _grid(state_LE: Tensor) -> tuple[int]:
    return (triton.cdiv(state_LE.numel(), _CHANNELS),)


def recur(gates_TLE3: Tensor, h0_LE: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `recurrence.recur_naive` returns, up to float rounding."""
    result: tuple[Tensor, Tensor] = _Recur.apply(gates_TLE3, h0_LE)  # type: ignore[no-untyped-call]
    return result
