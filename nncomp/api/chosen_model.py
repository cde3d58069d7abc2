"""From the `model`, `level` and `reference` of a caller to model files, effort and an open reference."""

from __future__ import annotations

import operator
import os
from dataclasses import replace

from nncomp.blocks import levels
from nncomp.blocks.levels import Effort
from nncomp.format import numbers
from nncomp.network import registry
from nncomp.network.registry import ModelFile
from nncomp.stream.reference import Reference
from nncomp.stream.tasks import FindModel, finder

Bytes = bytes | bytearray | memoryview
ModelName = str | os.PathLike[str] | None
ReferenceText = Bytes | str | os.PathLike[str] | None  # bytes, or the name of a file
OF_LEVEL = "of the level"  # stands for the model of the level


def to_write_with(name: ModelName, level: int | None, block_size: int | None = None) -> tuple[ModelFile | None, Effort]:
    """Return the model to compress with and the effort of the level, with blocks of this size. The model is None for None.

    Raises ModelError if there is no such model or level, TypeError for a level that is no whole number, and ValueError for a size
    of blocks out of bounds.
    """
    if level is not None and (isinstance(level, bool) or not hasattr(level, "__index__")):
        raise TypeError(f"level is an int, {levels.FIRST} to {levels.LAST}, and not {level!r}.")
    chosen = levels.level(levels.STANDARD if level is None else level)
    size = numbers.BLOCK_BYTES if block_size is None else whole_number(block_size, "block_size")
    if not numbers.MIN_BLOCK_BYTES <= size <= numbers.BLOCK_BYTES:
        raise ValueError(f"A block of {size:,} bytes is out of bounds: {numbers.MIN_BLOCK_BYTES:,} to {numbers.BLOCK_BYTES:,}.")
    name = chosen.model if name == OF_LEVEL else name
    return None if name is None else registry.open_model(name), replace(chosen.effort, block_bytes=size)


def whole_number(value: int, name: str) -> int:
    """Return what a caller gives as a number that is no less than 0; raises TypeError and ValueError for anything else."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} is an int, and not {value!r}.")
    if value < 0:
        raise ValueError(f"{name} is {value}. It must be 0 or more.")
    return operator.index(value)


def opened_reference(text: ReferenceText) -> Reference | None:
    """Return a reference of bytes or of a file's name, None for None; raises DataError if it cannot be read."""
    return None if text is None else Reference.of(text)


def find_with(name: ModelName, reference: ReferenceText) -> FindModel:
    """Return what finds the model of a frame among the models of nncomp and this model, and has the reference."""
    given = [] if name is None or name in (OF_LEVEL, *numbers.MODEL_IDS) else [registry.open_model(name)]
    return finder(given, opened_reference(reference))
