"""What decides a training run, in one frozen configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nncomp.network.model import Model
from nncomp.training.float_network import NetworkShape
from nncomp.training.trainer import TrainingConfig


@dataclass(frozen=True)
class RunPlan:
    """What is trained, from what, on which text, and where the work goes. `config` says how, and for how long.

    data: file, folder, glob pattern or URL of the text to learn from.
    valid: the same for the text to measure on; None: a part of the training text is held out.
    folder: the work folder, for checkpoint, log, vocabulary and tokens.
    start: the shape of a new network, or the model to go on from, which also gives the vocabulary.
    command: the command line, for the record in the model file.
    grown: the shape of the trained network, if the model `start` grows (`nncomp.training.grow`); None: it does not.
    base: the file of `start`, if the new file is to hold only the new layers and to name that file.
    has_quick_mixing: whether a new model gets the few contexts of `fast`; a model that goes on keeps those of `start`.
    codes: how many codes the model gets, at most 255 (`nncomp.training.code_table`); 0: none.
    targets: the file of estimates for the objectives "hinge" and "absolute".
    """

    data: str
    valid: str | None
    folder: Path
    start: NetworkShape | Model
    config: TrainingConfig
    command: str = ""
    grown: NetworkShape | None = None
    base: bytes | None = None
    has_quick_mixing: bool = False
    codes: int = 0
    targets: Path | None = None

    @property
    def init(self) -> Model | None:
        """The model to go on from, or None for a new network."""
        return self.start if isinstance(self.start, Model) else None
