"""Files that are still open for writing when a program ends: they are finished, as those of gzip, bz2 and lzma are.

Python closes what is left open when it takes modules away, and then nothing can be compressed any more. So it is done a moment
before.
"""

from __future__ import annotations

import atexit
import gc
import io
import sys
from typing import Any
from weakref import WeakSet

_unfinished: WeakSet[Any] = WeakSet()


def finish_later(file: io.BufferedIOBase) -> None:
    """Close a file that is open for writing at the end of the program, if it is still there and open."""
    if not _unfinished:
        atexit.unregister(_finish)  # registered anew, it comes before what it needs
        atexit.register(_finish)
    _unfinished.add(file)


def _finish() -> None:
    files = [file for file in _unfinished if not file.closed]
    for each in gc.get_objects() if files else []:
        if issubclass(type(each), (io.TextIOWrapper, io.BufferedWriter)) and _innermost(each) in files:
            _do(each.flush)  # what a wrapper holds goes into the file first
    for file in files:
        _do(file.close)


def _innermost(wrapper: Any) -> Any:
    """Return the file that a wrapper writes to, through other wrappers; None if it has none any more."""
    try:
        buffer = getattr(wrapper, "buffer", wrapper)
        return getattr(buffer, "raw", buffer)
    except ValueError:  # it was detached
        return None


def _do(work: Any) -> None:
    """Do the work; what goes wrong is told as Python tells what goes wrong while it ends."""
    try:
        work()
    except Exception:
        sys.excepthook(*sys.exc_info())
