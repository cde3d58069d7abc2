"""A hint to the processor that an array element is needed soon. The hint changes time, never a value."""

from __future__ import annotations

from typing import Any

from nncomp.machine.kernels import intrinsic


@intrinsic("nncomp.machine.intrinsics")
def prefetch(array: Any, index: Any) -> None:
    """Fetch the cache line of element `index` of an array of bytes, counted through all its dimensions."""
