"""A piece of work on a GPU that is recorded once and then replayed, so that Python does not launch each kernel anew.

Knows nothing of networks.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Work = Callable[..., tuple[Tensor, ...]]

_WARM_UPS = 2  # before recording: libraries choose their kernels, and Triton compiles


class Captured:
    """`work` as a CUDA graph. It takes and returns tensors of fixed shapes on the GPU, and may leave gradients behind.

    `clear` removes the gradients, so that `work` makes them anew. Only the first call records. The next call
    overwrites the tensors that a call returns, and the gradients. Raises RuntimeError when the work cannot be recorded, for
    example because it waits for the GPU.
    """

    def __init__(self, work: Work, clear: Callable[[], None]) -> None:
        self._work, self._clear = work, clear
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: list[Tensor] = []
        self._outputs: tuple[Tensor, ...] = ()

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        if self._graph is None:
            self._graph = self._record(inputs)
        for kept, given in zip(self._inputs, inputs, strict=True):
            kept.copy_(given)
        self._graph.replay()
        return self._outputs

    def _record(self, inputs: tuple[Tensor, ...]) -> torch.cuda.CUDAGraph:
        self._inputs = [given.clone() for given in inputs]
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UPS):
                self._clear()
                self._work(*self._inputs)
        torch.cuda.current_stream().wait_stream(side)
        self._clear()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._outputs = self._work(*self._inputs)
        return graph
