"""What the command warmup does: it codes a word with each model, so that everything that is kept for later runs is made."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from nncomp.blocks.codec import Codec
from nncomp.cli.progress import Bar
from nncomp.errors import OutputError
from nncomp.machine import kernel_cache
from nncomp.network.registry import ModelFile, installed_models
from nncomp.stream.pipeline import Summary

_TEXT = b"nncomp"


def warm_up() -> None:
    """Make all that is kept, and print a line about it. Raises OutputError where something cannot be kept."""
    folder = kernel_cache.cache_folder()
    if folder is None or not kernel_cache.is_kept():
        raise OutputError(
            "The cache folder cannot be written, or others can write it, so nothing can be kept for later runs. "
            "Set XDG_CACHE_HOME."
        )
    before, begun = _kernels(folder), time.monotonic()
    with Bar("kernels", None, False, Summary()):
        names = prepare_all()
    made = len(_kernels(folder) - before)
    if failure := kernel_cache.failure():
        raise OutputError(
            f"Kernels or hashes of models could not be kept in {folder} ({failure.strerror or failure}), so later runs make them "
            "again. Make room there, or set XDG_CACHE_HOME."
        )
    compiled = f"{made} kernel{'' if made == 1 else 's'} compiled in {time.monotonic() - begun:.0f} s"
    what = compiled if made else "all kernels were there"
    print(f"{what}; models: {', '.join(names) or 'none'}; kept in {folder}")


def prepare_all() -> list[str]:
    """Code a word with each model, or without one where there is none. Return the names of the models."""
    models = installed_models()
    chosen: Sequence[ModelFile | None] = models or [None]
    for model in chosen:
        Codec(model).prepare(_TEXT)
    return [model.path.stem for model in models]


def _kernels(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.o")}
