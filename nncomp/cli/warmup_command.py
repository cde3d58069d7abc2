"""What the command warmup does: it codes a word with each model, so that everything that is kept for later runs is made."""

from __future__ import annotations

import time
from pathlib import Path

from nncomp.blocks.codec import Codec
from nncomp.cli.progress import Bar
from nncomp.errors import OutputError
from nncomp.machine import kernel_cache
from nncomp.network.registry import installed_models
from nncomp.stream.pipeline import Summary

_TEXT = b"nncomp"


def warm_up() -> None:
    """Make all that is kept, and print a line about it. Raises OutputError where nothing can be kept."""
    folder = kernel_cache.cache_folder()
    if folder is None or not kernel_cache.is_kept():
        raise OutputError("The cache folder cannot be written, so nothing can be kept for later runs. Set XDG_CACHE_HOME.")
    before, begun, names = _kernels(folder), time.monotonic(), list[str]()
    with Bar("kernels", None, False, Summary()):
        for model in installed_models():
            Codec(model).prepare(_TEXT)
            names.append(model.path.stem)
        if not names:
            Codec().prepare(_TEXT)
    made = len(_kernels(folder) - before)
    what = f"{made} kernels compiled in {time.monotonic() - begun:.0f} s" if made else "all kernels were there"
    print(f"{what}; models: {', '.join(names) or 'none'}; kept in {folder}")


def _kernels(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.o")}
