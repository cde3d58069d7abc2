"""A hint to the processor that an array element is needed soon. The hint changes time, never a value."""

from __future__ import annotations

from typing import Any

from nncomp.machine.kernels import intrinsic


@intrinsic("nncomp.machine.intrinsics")
def prefetch(array: Any, at: Any) -> None:
    """Fetch the cache line that has byte `at` of an array's memory."""
