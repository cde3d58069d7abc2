"""The gated linear recurrence h[t] = h[t-1] + a[t] * (c[t] - h[t-1]) and its gradient: compiled for the CPU, parallel for a GPU.

Knows nothing of tokens or quantisation. `scan_naive` defines `scan`, and `recur_naive` defines `recur`, the recurrence with
its gates and its output. Both agree with their definitions up to float rounding (this is training code: nothing here takes part
in coding). On a GPU with Triton, `recur` is one kernel each way (`recurrence_triton`).
"""

# T steps, N independent channels (lanes x state width), L lanes, E state width

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from numba import config, njit, prange
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from nncomp.machine import kernel_cache


def scan_naive(a_TN: Tensor, c_TN: Tensor, h0_N: Tensor) -> Tensor:
    """Return h_TN, the state after each step; differentiable, one step at a time."""
    h, out = h0_N, []
    for a, c in zip(a_TN, c_TN, strict=True):
        h = h + a * (c - h)
        out.append(h)
    return torch.stack(out)


def parallel(function: Any) -> Any:
    """Compile a function whose sums may be in any order, on all cores. Numba keeps it where nncomp's kernels are."""
    before = config.CACHE_DIR
    config.CACHE_DIR = str(kernel_cache.cache_folder() or "")  # read when the cache is made; other libraries keep theirs
    made = njit(parallel=True, fastmath=True, cache=kernel_cache.is_kept())(function)
    config.CACHE_DIR = before
    return made


@parallel
def _forward(a: Any, c: Any, h0: Any, h: Any, parts: int) -> None:
    steps, n = a.shape
    for part in prange(parts):
        lo, hi = n * part // parts, n * (part + 1) // parts
        for i in range(lo, hi):
            h[0, i] = h0[i] + a[0, i] * (c[0, i] - h0[i])
        for t in range(1, steps):
            for i in range(lo, hi):
                h[t, i] = h[t - 1, i] + a[t, i] * (c[t, i] - h[t - 1, i])


@parallel
def _backward(a: Any, c: Any, h0: Any, h: Any, dh: Any, da: Any, dc: Any, carry: Any, parts: int) -> None:
    steps, n = a.shape
    for part in prange(parts):
        lo, hi = n * part // parts, n * (part + 1) // parts
        for t in range(steps - 1, -1, -1):
            for i in range(lo, hi):
                g = dh[t, i] + carry[i]
                before = h0[i] if t == 0 else h[t - 1, i]
                da[t, i] = g * (c[t, i] - before)
                dc[t, i] = g * a[t, i]
                carry[i] = g * (1 - a[t, i])


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, c: Tensor, h0: Tensor) -> Tensor:
        a, c, h0 = a.float().contiguous(), c.float().contiguous(), h0.float().contiguous()
        h = torch.empty_like(a)
        _forward(a.numpy(), c.numpy(), h0.numpy(), h.numpy(), torch.get_num_threads())
        ctx.save_for_backward(a, c, h0, h)
        return h

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, c, h0, h = ctx.saved_tensors
        dh = grads[0].float().contiguous()
        da, dc, carry = torch.empty_like(a), torch.empty_like(c), torch.zeros_like(h0)
        arrays = [v.numpy() for v in (a, c, h0, h, dh, da, dc, carry)]
        _backward(*arrays, torch.get_num_threads())
        return da, dc, carry


def linear_scan(keep_TN: Tensor, x_TN: Tensor) -> Tensor:
    """Return h[t] = keep[t] * h[t-1] + x[t], with h[-1] = 0, in log2 T rounds of products over all steps (Hillis, Steele 1986).

    After each round a step holds the sum of twice as many steps, and `keep` the factor of the step before those.
    """
    h, keep, reach = x_TN, keep_TN, 1
    while reach < len(h):
        h = torch.cat([h[:reach], torch.addcmul(h[reach:], keep[reach:], h[:-reach])])
        keep = torch.cat([keep[:reach], keep[reach:] * keep[:-reach]])
        reach *= 2
    return h


class _ParallelScan(torch.autograd.Function):
    """The gradient of a linear recurrence is a linear recurrence from the last step to the first."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, c: Tensor, h0: Tensor) -> Tensor:
        a, c, h0 = a.float(), c.float(), h0.float()
        keep, x = 1 - a, a * c
        x[0] += keep[0] * h0
        h = linear_scan(keep, x)
        ctx.save_for_backward(a, c, h0, h)
        return h

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, c, h0, h = ctx.saved_tensors
        keep = 1 - a
        later = torch.cat([torch.zeros_like(keep[:1]), keep[1:].flip(0)])  # of the following step, in reverse order
        g = linear_scan(later, grads[0].float().flip(0)).flip(0)
        before = torch.cat([h0[None], h[:-1]])
        return g * (c - before), g * a, g[0] * keep[0]


def scan_parallel(a_TN: Tensor, c_TN: Tensor, h0_N: Tensor) -> Tensor:
    """Return h_TN (float32) as `scan_naive` does, with few large operations instead of T small ones: for a GPU."""
    result: Tensor = _ParallelScan.apply(a_TN, c_TN, h0_N)  # type: ignore[no-untyped-call]
    return result


def scan(a_TN: Tensor, c_TN: Tensor, h0_N: Tensor) -> Tensor:
    """Return h_TN (float32), the state after each step, on the device where the tensors are."""
    if a_TN.is_cuda:
        return scan_parallel(a_TN, c_TN, h0_N)
    result: Tensor = _Scan.apply(a_TN, c_TN, h0_N)  # type: ignore[no-untyped-call]
    return result


Recur = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def _recur_by(scan: Callable[[Tensor, Tensor, Tensor], Tensor], gates_TLE3: Tensor, h0_LE: Tensor) -> tuple[Tensor, Tensor]:
    a, c, g = gates_TLE3.float().chunk(3, -1)
    h = scan(torch.sigmoid(a).flatten(1), c.flatten(1), h0_LE.flatten()).view_as(c)
    return (h * F.silu(g)).to(gates_TLE3.dtype), h[-1].detach()


def recur_naive(gates_TLE3: Tensor, h0_LE: Tensor) -> tuple[Tensor, Tensor]:
    """Return the output of the recurrence, shape (T, L, E) in the dtype of the gates, and the last state, (L, E) float32.

    The last axis of `gates` has a, c and g, E numbers each. The state moves towards c by the share sigmoid(a); the output is
    the state times silu(g). The last state passes no gradient on.
    """
    return _recur_by(scan_naive, gates_TLE3, h0_LE)


@cache
def _triton_recur() -> Recur | None:
    """Return the recurrence as a Triton kernel, or None where Triton is not installed."""
    if find_spec("triton") is None:
        return None
    from nncomp.training.recurrence_triton import recur

    return recur


def recur(gates_TLE3: Tensor, h0_LE: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `recur_naive` returns, on the device where the tensors are."""
    of_gpu = _triton_recur() if gates_TLE3.is_cuda else None
    return of_gpu(gates_TLE3, h0_LE) if of_gpu else _recur_by(scan, gates_TLE3, h0_LE)
