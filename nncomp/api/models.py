"""What the caller of the library says of models, as the rest of nncomp takes it."""

from __future__ import annotations

import os
from pathlib import Path

from nncomp import levels, registry
from nncomp.container import ModelReference
from nncomp.levels import USUAL, Effort
from nncomp.pipeline import FindModel
from nncomp.registry import ModelFile

Bytes = bytes | bytearray | memoryview
ModelName = str | os.PathLike[str] | None


def to_write_with(name: ModelName, level: int | None) -> tuple[ModelFile | None, Effort]:
    """Return the model and the effort of a level, or another model of this name or path, None for None.

    Raises ModelError when there is no such model or level.
    """
    if level is None:
        return None if name is None else registry.open_model(_as_given(name)), USUAL
    chosen = levels.level(level)
    name = chosen.model if name == "default" else name
    return None if name is None else registry.open_model(_as_given(name)), chosen.effort


def find_with(name: ModelName) -> FindModel:
    """Return what finds the model that a frame names, among those that come with nncomp and this one."""
    is_own = name is not None and name not in registry.LEVELS
    given = [registry.open_model(_as_given(name))] if is_own and name is not None else []

    def find_model(reference: ModelReference) -> ModelFile:
        return registry.find(reference.model_id, reference.content_hash, given)

    return find_model


def _as_given(name: str | os.PathLike[str]) -> str | Path:
    return name if isinstance(name, str) else Path(name)
