"""What the caller of the library says of models, as the rest of nncomp takes it."""

from __future__ import annotations

import os
from pathlib import Path

from nncomp.blocks import levels
from nncomp.blocks.levels import Effort
from nncomp.format import numbers
from nncomp.format.frames import ModelReference
from nncomp.network import registry
from nncomp.network.registry import ModelFile
from nncomp.stream.pipeline import FindModel

Bytes = bytes | bytearray | memoryview
ModelName = str | os.PathLike[str] | None
OF_LEVEL = "of the level"  # the model that the level has


def to_write_with(name: ModelName, level: int | None) -> tuple[ModelFile | None, Effort]:
    """Return the model and the effort of a level, or another model of this name or path, None for None.

    Raises ModelError when there is no such model or level.
    """
    chosen = levels.level(levels.STANDARD if level is None else level)
    name = chosen.model if name == OF_LEVEL else name
    return None if name is None else registry.open_model(_as_given(name)), chosen.effort


def find_with(name: ModelName) -> FindModel:
    """Return what finds the model that a frame names, among those that come with nncomp and this one."""
    is_own = name is not None and name not in (OF_LEVEL, *numbers.MODEL_IDS)
    given = [registry.open_model(_as_given(name))] if is_own and name is not None else []

    def find_model(reference: ModelReference) -> ModelFile:
        return registry.find(reference.model_id, reference.content_hash, given)

    return find_model


def _as_given(name: str | os.PathLike[str]) -> str | Path:
    return name if isinstance(name, str) else Path(name)
