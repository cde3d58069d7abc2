"""Which model a command works with: the one of a level, one that is given, or the one that a file names."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from nncomp.blocks import levels
from nncomp.blocks.codec import BlockKind
from nncomp.cli.fetched import model_path
from nncomp.cli.files import Source
from nncomp.format.frames import ModelReference, read_blocks
from nncomp.network.registry import ModelFile, find, installed_model, installed_models, open_model
from nncomp.stream.pipeline import FindModel


def choose_model(asked: str | None, level: int = levels.STANDARD, device: str = "") -> ModelFile | None:
    """Return the model to compress with: the level's if it is installed, unless another one or none is asked for."""
    if asked == "none":
        return None
    chosen = open_model(model_path(asked)) if asked is not None else installed_model(levels.level(level).model)
    return replace(chosen, device=device) if chosen else None


def given_models(asked: str | None, device: str = "") -> list[ModelFile]:
    """Return the models that are searched before those that come with nncomp; none is said where one line serves both ways.

    For a device those that come with nncomp are given too.
    """
    given = [] if asked in (None, "none") else [open_model(model_path(asked))]
    return [replace(model, device=device) for model in [*given, *(installed_models() if device else [])]]


def model_finder(given: list[ModelFile]) -> FindModel:
    """Return what finds the model that a frame names, among those given and those that come with nncomp."""

    @cache  # to find a model takes reading the files it may be, and each block asks
    def find_model(reference: ModelReference) -> ModelFile:
        return find(reference.model_id, reference.content_hash, given)

    return find_model


def require_models(source: Source, find_model: FindModel) -> None:
    """Raise ModelError before there is any output when a model is missing that a block of the file needs.

    A pipe cannot be read twice: there the block itself, when its turn comes, finds its model missing.
    """
    if source.status is None:
        return
    for found in read_blocks(source):
        if found.model and found.block.kind == BlockKind.TOKENS:
            find_model(found.model)
    source.stream.seek(0)
