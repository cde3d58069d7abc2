"""The fast parts of training against their definitions: values and gradients."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from nncomp.training import fused
from nncomp.training.fake_int8 import INT8_MAX, fake_int8
from nncomp.training.float_network import norm, products_by_group, products_in_tiles
from nncomp.training.recurrence import scan, scan_naive, scan_parallel

Function = Callable[..., Tensor]


def both(fast: Function, slow: Function, *inputs: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return what two functions give, and the gradients of each input that takes one."""
    results = []
    for function in (fast, slow):
        leaves = [x.detach().clone().requires_grad_(x.requires_grad) for x in inputs]
        out = function(*leaves)
        weight = torch.linspace(-1, 2, out.numel()).view_as(out).to(out.dtype)
        (out * weight).sum().backward()  # type: ignore[no-untyped-call]
        results.append([out.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)])
    return list(zip(*results, strict=True))


def numbers(*shape: int, seed: int = 0, size: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (size * torch.randn(*shape, generator=generator)).requires_grad_()


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 64, 257])
@pytest.mark.parametrize("fast", [scan, scan_parallel])
def test_scans_are_their_definition(fast: Function, steps: int) -> None:
    gate = torch.sigmoid(numbers(steps, 5, seed=1, size=6)).detach().requires_grad_()  # forget gates near 0 and near 1
    for ours, naive in both(fast, scan_naive, gate, numbers(steps, 5), numbers(5, seed=2)):
        torch.testing.assert_close(ours, naive, rtol=1e-5, atol=2e-5)


def test_products_in_tiles_are_those_by_group() -> None:
    """Groups that are empty, fill a tile to the last row, begin another, and are larger than all others."""
    counts = torch.tensor([0, 4, 5, 1, 0, 23, 8, 0])
    group = torch.repeat_interleave(torch.arange(len(counts)), counts)
    rows, weight = numbers(len(group), 6), numbers(len(counts), 3, 6, seed=1)
    pairs = both(lambda x, w: products_in_tiles(x, group, w, tile=4), lambda x, w: products_by_group(x, group, w), rows, weight)
    for ours, other in pairs:
        torch.testing.assert_close(ours, other, rtol=1e-5, atol=1e-5)


def test_squared_relu() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        x = numbers(50, 7).detach().to(dtype).requires_grad_()
        for ours, other in both(fused.squared_relu, lambda x: F.relu(x) * F.relu(x), x):
            assert torch.equal(ours, other)


def test_norm() -> None:
    for ours, other in both(fused.norm, norm, numbers(9, 4, 32, size=3)):
        torch.testing.assert_close(ours, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 6])
def test_shift(steps: int) -> None:
    first = numbers(4, 8, seed=1).detach()

    def plain(y: Tensor, shift: Tensor) -> Tensor:
        return y + (torch.cat([first[None], y[:-1]]) - y) * shift

    pairs = both(lambda y, shift: fused.shift_lanes(y, first, shift), plain, numbers(steps, 4, 8), torch.rand(8).requires_grad_())
    for ours, other in pairs:
        torch.testing.assert_close(ours, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("part", [100, 1 << 16])
def test_fake_int8(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values to the bit, in several parts and in one; no gradient where a value is clipped."""
    monkeypatch.setattr(sys.modules[fake_int8.__module__], "_PART", part)

    def plain(x: Tensor) -> Tensor:
        steps = torch.clamp(x / scale, -INT8_MAX, INT8_MAX)
        return (steps + (torch.floor(steps + 0.5) - steps).detach()) * scale

    scale = torch.tensor(0.03)
    x = torch.cat([numbers(500).detach(), numbers(500, size=5).detach(), scale * torch.arange(-130, 130) / 2]).requires_grad_()
    (ours, other), (gradient, plain_gradient) = both(lambda x: fake_int8(x, scale), plain, x)
    assert torch.equal(ours, other)
    torch.testing.assert_close(gradient, plain_gradient)
    assert (gradient == 0).any() and (gradient != 0).any()
