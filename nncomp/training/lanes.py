"""The text as lanes side by side: each lane is a part of the text that is learned from at the same time as the others.

Knows nothing of networks.
"""

# T steps, L lanes

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nncomp.errors import DataError

_SHARE = 0.5  # of a GPU's free memory that one array of the text may take


def lane_streams(ids: NDArray[Any], lanes: int, steps: int) -> NDArray[Any]:
    """Return the ids, or any values of them, as lanes side by side, shape (T total, L). Nothing is copied."""
    length = len(ids) // lanes
    if length < steps + 1:
        raise DataError(
            f"The corpus has {len(ids):,} tokens; {lanes} lanes of {steps + 1} steps need {lanes * (steps + 1):,}. "
            "Add text or use fewer lanes."
        )
    return ids[: length * lanes].reshape(lanes, length).T


def rows_of(streams: NDArray[Any], start: int, stop: int) -> NDArray[np.int64]:
    """Return the steps `start` to `stop` of all lanes, shape (T, L), int64."""
    return np.ascontiguousarray(streams[start:stop], dtype=np.int64)


class Streams:
    """Tokens (uint16) or values of them (float32) as lanes. Moved to a GPU once if they fit; else each chunk is moved.

    Raises DataError for a text that is smaller than a chunk of `steps`.
    """

    def __init__(self, values: NDArray[Any], lanes: int, steps: int, device: torch.device) -> None:
        self._values, self._device = lane_streams(values, lanes, steps), device
        self._moved: Tensor | None = None
        if device.type == "cuda" and self._values.nbytes < _SHARE * torch.cuda.mem_get_info(device)[0]:
            self._moved = _as_tensor(self._values.T).to(device).T

    def __len__(self) -> int:
        """Return the steps of a lane."""
        return len(self._values)

    def chunk(self, start: int, stop: int, lanes: slice) -> Tensor:
        """Return some steps of some lanes, shape (T, L), on the device: int64 for tokens, else float32."""
        if self._moved is None:
            part = _as_tensor(self._values[start:stop, lanes]).to(self._device)
        else:
            part = self._moved[start:stop, lanes].contiguous()
        return part if part.is_floating_point() else part.long() & 0xFFFF


def _as_tensor(values: NDArray[Any]) -> Tensor:
    """Return a copy. Tokens become int16 of the same bits: torch computes little with uint16."""
    copied = np.array(values, order="C")
    return torch.from_numpy(copied.view(np.int16) if copied.dtype == np.uint16 else copied)
