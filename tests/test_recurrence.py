"""The recurrence with its gates and its output: each way of computing it against its definition, values and gradients.

The Triton kernel runs on a GPU if there is one, else in Triton's interpreter.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor

from nncomp.training.recurrence import Recur, recur, recur_naive

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SHAPES = [(1, 1, 3), (2, 3, 5), (33, 4, 64), (40, 3, 100)]  # steps, lanes, width; the last has channels that fill no program


def results(function: Recur, shape: tuple[int, int, int], dtype: torch.dtype, device: str) -> list[Tensor]:
    """Return the output, the last state, and the gradients of gates and first state, as float32 on the CPU."""
    steps, lanes, width = shape
    random = torch.Generator().manual_seed(1)
    gates, h0, weight = (
        torch.randn(*size, generator=random) for size in ((steps, lanes, 3 * width), (lanes, width), (steps, lanes, width))
    )
    gates[..., :width] *= 4  # forget gates near 0 and near 1
    leaves = [gates.to(dtype).to(device).requires_grad_(), h0.to(device).requires_grad_()]
    out, last = function(*leaves)
    assert out.dtype == dtype and last.dtype == torch.float32
    torch.autograd.backward((out.float() * weight.to(device)).sum())
    assert leaves[0].grad is not None and leaves[1].grad is not None
    assert not last.requires_grad
    return [x.detach().float().cpu() for x in (out, last, leaves[0].grad, leaves[1].grad)]


def check(function: Recur, device: str) -> None:
    """Compare with the definition. In float32 only the order within an expression differs: 1e-5 of the value, and 1e-5."""
    for shape in SHAPES:
        ours, naive = results(function, shape, torch.float32, device), results(recur_naive, shape, torch.float32, "cpu")
        for a, b in zip(ours, naive, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    ours, naive = (results(f, SHAPES[2], torch.bfloat16, d) for f, d in ((function, device), (recur_naive, "cpu")))
    for a, b in zip(ours, naive, strict=True):  # bfloat16 has 8 bits
        torch.testing.assert_close(a, b, rtol=2e-2, atol=2e-2)


def test_recurrence_is_its_definition() -> None:
    check(recur, DEVICE)


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed: the kernel of the recurrence is not tested")
def test_triton_kernel_is_its_definition() -> None:
    """In a process of its own: Triton reads TRITON_INTERPRET when it is imported."""
    environment = os.environ | ({} if DEVICE == "cuda" else {"TRITON_INTERPRET": "1"})
    source = "from nncomp.training.recurrence_triton import recur; import tests.test_recurrence as t; t.check(recur, t.DEVICE)"
    done = subprocess.run([sys.executable, "-c", source], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
