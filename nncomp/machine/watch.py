"""What a process tells about its work: that functions are compiled, that text goes to a temporary file, how many bytes are done.

A process works on one block at a time, so these are global to it. Knows nothing of blocks, processes or terminals.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_cells: Any = None
_on_preparing: Callable[[bool], None] | None = None
_on_loaded: Callable[[Any, tuple[Any, ...]], None] | None = None
_on_temporary: Callable[[int], None] | None = None


def on_preparing(call: Callable[[bool], None] | None) -> None:
    """Have `call` called when functions must be compiled; its argument says whether the machine code is kept."""
    global _on_preparing
    _on_preparing = call


def say_preparing(is_kept: bool) -> None:
    """Tell that functions must be compiled, and whether the machine code is kept."""
    if _on_preparing:
        _on_preparing(is_kept)


def on_loaded(call: Callable[[Any, tuple[Any, ...]], None] | None) -> None:
    """Have `call` called with each kernel that is loaded and the arguments that it is called with then."""
    global _on_loaded
    _on_loaded = call


def say_loaded(kernel: Any, arguments: tuple[Any, ...]) -> None:
    """Tell that a kernel is loaded for arguments of these types."""
    if _on_loaded:
        _on_loaded(kernel, arguments)


def on_temporary(call: Callable[[int], None] | None) -> None:
    """Have `call` called before text goes to a temporary file; its argument is the most bytes that the file will have."""
    global _on_temporary
    _on_temporary = call


def say_temporary(most_bytes: int) -> None:
    """Tell that text goes to a temporary file of at most so many bytes."""
    if _on_temporary:
        _on_temporary(most_bytes)


def share_position(cells: Any) -> None:
    """Keep the position in `cells` (a buffer of one int64), which another process may read."""
    global _cells
    _cells = cells


def position() -> NDArray[np.int64]:
    """Return the array in which a loop writes how many raw bytes of its block are done, shape (1,), int64."""
    import numpy as np

    return np.zeros(1, np.int64) if _cells is None else np.frombuffer(_cells, np.int64)
