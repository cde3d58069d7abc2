"""What a training run is asked for, and the plan that it makes. Loads torch only when it is asked for, or a plan is made."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nncomp.errors import DataError
from nncomp.training.shapes import NetworkShape, named_shape

if TYPE_CHECKING:
    from nncomp.training.run_plan import RunPlan

OBJECTIVES = "cross-entropy", "mixture", "hinge", "absolute"  # the last two need targets
_MODEL = ".safetensors"
_MOST = 2**63 - 1
_NUMBERS = {"tokens": (0, _MOST), "lanes": (1, _MOST), "threads": (0, 2**15), "seed": (0, _MOST), "code": (0, 255)}
_NAMES = "shape", "valid", "init", "targets"


@dataclass(frozen=True)
class Training:
    """What decides a training run; docs/TRAINING.md describes each.

    shape: the size of the network: "fast", "default" or "large", also with sizes of its own: "large,width=384". None: that of
        `init`, or "default". The model `init` grows to a larger shape.
    seconds: how long to train. tokens: train on so many instead, however long it takes; 0 for the time.
    valid: other text to measure on; None holds out a part of the text.
    init: a model to go on from: a name or a path.
    lanes: places in the text learned from at a time. threads: 0 for as many as torch takes. seed: of all random choices.
    objective, targets, code: as the options of `nncomp train` with these names.

    Raises DataError for values that are not possible, or not together, and TypeError for those of another type.
    """

    shape: str | None = None
    seconds: float = 3600.0
    tokens: int = 0
    valid: str | os.PathLike[str] | None = None
    init: str | os.PathLike[str] | None = None
    lanes: int = 32
    threads: int = 0
    seed: int = 0
    objective: str = "cross-entropy"
    targets: str | os.PathLike[str] | None = None
    code: int = 0

    def __post_init__(self) -> None:
        for name, (least, most) in _NUMBERS.items():
            value = getattr(self, name)
            if type(value) is not int:
                raise TypeError(f"{name} is an int, not {value!r}.")
            if not least <= value <= most:
                raise DataError(f"{name} is {least} to {most}; {value} is not possible.")
        if not isinstance(self.seconds, float | int):
            raise TypeError(f"seconds is a float or an int, not {self.seconds!r}.")
        if not 0 < self.seconds < math.inf:
            raise DataError(f"seconds is more than 0; {self.seconds} is not possible.")
        for name in _NAMES:
            value = getattr(self, name)
            if value is not None and not isinstance(value, str if name == "shape" else str | os.PathLike):
                raise TypeError(f"{name} is a name or a path as text, or None, not {value!r}.")
            if value == "":
                raise DataError(f"{name} is empty; leave it out, or give a name.")
        if self.shape is not None:
            named_shape(self.shape)
        if self.objective not in OBJECTIVES:
            raise DataError(f"There is no objective {self.objective!r}: objectives are {', '.join(OBJECTIVES)}.")
        if (self.targets is None) != (self.objective in OBJECTIVES[:2]):
            raise DataError("targets and an objective of hinge or absolute need each other.")
        if self.targets is not None and self.valid is None:
            raise DataError("targets are of all of the training text: hold none of it out, give other text as valid.")


def require_torch() -> None:
    """Raise DataError if torch is not installed."""
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise DataError("Training needs torch: install nncomp with its train extra, pip install 'nncomp[train]'.") from error


def check_output(out: Path) -> None:
    """Raise DataError for a model file that could not be written after hours of training."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} exists already; remove it or give another name.")
    check_writable(out)


def work_folder(out: Path, given: Path | None) -> Path:
    """Return the work folder: the given one, or the one that is named after the model file. Raises DataError if it is none."""
    folder = given or out.with_name(out.name.removesuffix(_MODEL) + ".work")
    if folder.resolve() == out.resolve():
        raise DataError(f"{folder} cannot be both the model file and the work folder; give another --work.")
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file, and the work folder would have this name; give another --work.")
    return folder


def check_writable(path: Path) -> None:
    """Raise DataError for a file to write that is a folder, or is to be in a folder that is none."""
    if path.is_dir():
        raise DataError(f"{path} is a folder; give the name of a file to write.")
    if not path.parent.is_dir():
        raise DataError(f"There is no folder {path.parent} to write {path.name} to.")


def plan_of(data: str, work: Path, training: Training, command: str) -> RunPlan:
    """Return the plan of a run: a new network of the shape, or the model `init` and what is added to it.

    `work` is the work folder; `command` is the command line for the record in the model file. Raises DataError for an empty
    name of the text.
    """
    from nncomp.training.run_plan import RunPlan
    from nncomp.training.text_files import check_location
    from nncomp.training.trainer import TrainingConfig

    check_location(data)
    shape = named_shape(training.shape or "default")
    config = TrainingConfig(training.seconds, training.tokens, training.seed, training.lanes, objective=training.objective)
    plan = RunPlan(
        data=data,
        valid=None if training.valid is None else os.fspath(training.valid),
        folder=work,
        start=shape,
        config=config,
        command=command,
        has_quick_mixing=(training.shape or "").startswith("fast"),
        codes=training.code,
        targets=None if training.targets is None else Path(training.targets),
    )
    if training.init is None:
        return plan
    return _begun_with(training.init, None if training.shape is None else shape, plan)


def _begun_with(init: str | os.PathLike[str], wanted: NetworkShape | None, plan: RunPlan) -> RunPlan:
    """Return the plan with the model `init` as its beginning, which grows to the shape that is wanted, if there is one."""
    from nncomp.network.model import read_model
    from nncomp.network.registry import open_model
    from nncomp.training.float_network import load_config
    from nncomp.training.grow import grown_shape, has_only_more_layers

    file = open_model(init)
    model = read_model(file)
    old = load_config(model.sizes)
    grown = old if wanted is None else grown_shape(model.sizes, wanted)
    is_taller = has_only_more_layers(old, grown)
    rate = plan.config.learning_rate / (3 if is_taller else 2)
    return replace(
        plan,
        start=model,
        config=replace(plan.config, learning_rate=rate, init=file.content_hash.hex()),
        grown=grown if grown != old else None,
        base=bytes(file.read()) if is_taller and file.can_be_base else None,
    )
