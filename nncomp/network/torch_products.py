"""Exact products of int8 matrices in torch, on any device: the quickest of three that passes a test with extremes.

`int8` is torch's own product. On processors without VNNI it silently saturates, so it is tested on each device. `float32` is
exact while no sum reaches 2**24; longer sums are split. `float64` is exact for any length. Knows nothing of layers.
"""

# R rows, N outputs, K inputs

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nncomp.errors import DeviceError

_FLOAT32_INPUTS = 1040  # 1040 * 127 * 127 < 2**24: each partial sum is an integer that float32 holds, in any order
_ROWS = 32  # int8 gets a multiple of this number of rows: CUDA wants more than 16
_PROBED_ROWS = 1, 33, 500

Packed = list[Tensor]


@dataclass(frozen=True)
class Product:
    """How weights (N, K) are packed, and activations (R, K) multiplied with them to (R, N), int64. |sum| < 2**27."""

    name: str
    pack: Callable[[Tensor], Packed]
    multiply: Callable[[Tensor, Packed], Tensor]


def _pack_int8(weight_NK: Tensor) -> Packed:
    return [weight_NK.to(torch.int8).contiguous().t()]


def _multiply_int8(a_RK: Tensor, packed: Packed) -> Tensor:
    rows = len(a_RK)
    padded = torch.nn.functional.pad(a_RK.to(torch.int8), (0, 0, 0, -rows % _ROWS))
    return torch._int_mm(padded, packed[0])[:rows].to(torch.int64)


def _float_product(name: str, dtype: torch.dtype, most: int) -> Product:
    def pack(weight_NK: Tensor) -> Packed:
        return [part.t().to(dtype).contiguous() for part in torch.split(weight_NK, most, 1)]

    def multiply(a_RK: Tensor, packed: Packed) -> Tensor:
        parts = torch.split(a_RK.to(dtype), most, 1)
        sums = [(a @ part).to(torch.int64) for a, part in zip(parts, packed, strict=True)]
        return sums[0] if len(sums) == 1 else torch.stack(sums).sum(0)

    return Product(name, pack, multiply)


PRODUCTS = (
    Product("int8", _pack_int8, _multiply_int8),
    _float_product("float32", torch.float32, _FLOAT32_INPUTS),
    _float_product("float64", torch.float64, 1 << 20),
)


def is_exact(product: Product, device: torch.device, n: int, k: int) -> bool:
    """Return whether the product gives the exact sums at these sizes: extremes that saturate 16 bits, and random signs."""
    random = np.random.default_rng(n * k)
    signs = random.choice(np.array([-127, 127], np.int64), size=(max(n, *_PROBED_ROWS), k))
    for weight in (np.full((n, k), 127), np.full((n, k), -127), signs[:n]):
        packed = product.pack(torch.from_numpy(weight).to(device))
        for rows in _PROBED_ROWS:
            for a in (np.full((rows, k), 127), signs[:rows]):
                try:
                    sums = product.multiply(torch.from_numpy(a).to(device), packed).cpu().numpy()
                except (RuntimeError, NotImplementedError):  # not on this device, or not for these sizes
                    return False
                if not np.array_equal(sums, a.astype(np.float64) @ weight.T.astype(np.float64)):
                    return False
    return True


def choose_product(device: torch.device, shapes: Iterable[tuple[int, ...]]) -> Product:
    """Return the quickest product that is exact on this device for weights of these shapes (N, K); raises DeviceError."""
    distinct = sorted(set(shapes))
    for product in PRODUCTS:
        if all(is_exact(product, device, n, k) for n, k in distinct):
            return product
    raise DeviceError(f"The device {device} gives wrong sums of integers; leave --device away, and report it.")
