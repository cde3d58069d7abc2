"""Which model a command uses: the model of a level, a given model, or the model that a .nnc file names."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from nncomp.blocks import levels
from nncomp.cli.fetched import model_path
from nncomp.cli.names import shown
from nncomp.cli.sources import Source
from nncomp.errors import FormatError, ModelError
from nncomp.format.frame_reader import TrailingError, read_blocks
from nncomp.format.numbers import MODEL_NAMES, BlockKind
from nncomp.network.registry import ModelFile, installed_model, installed_models, open_model
from nncomp.stream.reference import needed_reference
from nncomp.stream.tasks import FindModel, reference_of

_CHOICE = f"{MODEL_NAMES}, none, or the path of a .safetensors file"


def choose_model(asked: str | None, level: int = levels.STANDARD, device: str = "") -> ModelFile | None:
    """Return the model to compress with: the model of `asked`, or the level's model if that is installed, or None."""
    if asked == "none":
        return None
    chosen = _opened(asked) if asked is not None else installed_model(levels.level(level).model)
    return replace(chosen, device=device) if chosen else None


def _opened(asked: str) -> ModelFile:
    """Return the model of a name, a path or a URL; raises ModelError when there is none."""
    if not asked.strip():
        raise ModelError(f"The name of the model is empty. Give {_CHOICE}.")
    path = model_path(asked)
    if path != shown(path) and not Path(path).is_file():
        raise ModelError(f"There is no model {shown(path)}: give {_CHOICE}.")
    return open_model(path)


def given_models(asked: str | None, device: str = "") -> list[ModelFile]:
    """Return the models to search before the models of nncomp. `none` is no error: tar uses the same options both ways.

    With a device, the models of nncomp are in the list, to run on the device.
    """
    given = [] if asked in (None, "none") else [_opened(asked)]
    return [replace(model, device=device) for model in [*given, *(installed_models() if device else [])]]


def require_models(source: Source, find_model: FindModel, is_passing: bool) -> None:
    """Raise ModelError or NoReferenceError, before there is any output, if a model that a block needs or a reference is missing.

    FormatError is raised too, unless there is something to be had first: what is before the damage if the result passes on
    (`is_passing`), or the whole content if only what follows it is wrong. A pipe cannot be read twice, so nothing is checked:
    the first block that needs a missing model raises ModelError.
    """
    if source.status is None:
        return
    with suppress(FormatError if is_passing else TrailingError):  # decoding finds it again
        for found in read_blocks(source):
            needed_reference(found.head, reference_of(find_model))
            if found.model and found.block.kind == BlockKind.TOKENS:
                find_model(found.model)
    source.stream.seek(0)
