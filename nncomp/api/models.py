"""What the caller of the library says of models, as the rest of nncomp takes it."""

from __future__ import annotations

import os
from pathlib import Path

from nncomp import registry
from nncomp.container import ModelReference
from nncomp.pipeline import FindModel
from nncomp.registry import ModelFile

Bytes = bytes | bytearray | memoryview
ModelName = str | os.PathLike[str] | None


def model_to_write(name: ModelName) -> ModelFile | None:
    """Return the model of a level or at a path, None for None; raises ModelError when there is none."""
    return None if name is None else registry.open_model(_as_given(name))


def find_with(name: ModelName) -> FindModel:
    """Return what finds the model that a frame names, among those that come with nncomp and this one."""
    is_own = name is not None and name not in registry.LEVELS
    given = [registry.open_model(_as_given(name))] if is_own and name is not None else []

    def find_model(reference: ModelReference) -> ModelFile:
        return registry.find(reference.model_id, reference.content_hash, given)

    return find_model


def _as_given(name: str | os.PathLike[str]) -> str | Path:
    return name if isinstance(name, str) else Path(name)
