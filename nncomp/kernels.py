"""How compiled functions are made and kept: once for each version of the source, in the user's cache folder.

Every compiled function of nncomp is decorated with `compiled` (or `inlined`). Numba keeps its machine code in a folder
named by a hash of nncomp's own source, so that an edit anywhere compiles anew and nothing stale is ever used. Where the
folder cannot be written, everything works, but is compiled by each command. Knows nothing of what the functions do.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parent


@functools.cache
def cache_folder() -> Path:
    """Return the folder for machine code: $XDG_CACHE_HOME/nncomp/kernels-HASH, or a temporary one if that is read-only."""
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        digest.update(path.read_bytes())
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "nncomp" / f"kernels-{digest.hexdigest()[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    private = tempfile.mkdtemp(prefix="nncomp-kernels-")  # not shared: what lies there is run
    atexit.register(shutil.rmtree, private, ignore_errors=True)
    return Path(private)


if "numba" not in sys.modules:
    os.environ.setdefault("NUMBA_CACHE_DIR", str(cache_folder()))

from numba import njit  # noqa: E402  (numba reads the cache folder when it is imported)

compiled: Callable[[Any], Any] = njit(cache=True)
inlined: Callable[[Any], Any] = njit(forceinline=True)
parallel: Callable[[Any], Any] = njit(cache=True, parallel=True, fastmath=True)  # for training, never for coding


def are_ready() -> bool:
    """Whether the machine code of the coding loops is there already, so that nothing has to be compiled first."""
    return any(cache_folder().rglob("*.nbc"))
