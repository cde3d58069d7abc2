"""What long work tells whoever waits for it: that functions are being compiled first, and how far a block is.

A process works on one block at a time, so each process has one watch. Knows nothing of blocks, processes or terminals.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_cells: Any = None
_on_preparing: Callable[[bool], None] | None = None


def on_preparing(call: Callable[[bool], None] | None) -> None:
    """Let `call` be told when functions have to be compiled, and whether that is kept for the next time."""
    global _on_preparing
    _on_preparing = call


def say_preparing(is_kept: bool) -> None:
    """Tell that functions have to be compiled."""
    if _on_preparing:
        _on_preparing(is_kept)


def share_position(cells: Any) -> None:
    """Let the position be kept in `cells` (a buffer of one int64), which another process may read."""
    global _cells
    _cells = cells


def position() -> NDArray[np.int64]:
    """Return where a loop writes how many raw bytes of its block are done, shape (1,), int64."""
    import numpy as np

    return np.zeros(1, np.int64) if _cells is None else np.frombuffer(_cells, np.int64)
