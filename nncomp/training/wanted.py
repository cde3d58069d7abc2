"""What a training run is asked for, and the plan that it makes. Loads torch only when it is asked for, or a plan is made."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nncomp.errors import DataError

if TYPE_CHECKING:
    from nncomp.training.float_network import NetworkShape
    from nncomp.training.run_plan import RunPlan


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
    """

    shape: str | None = None
    seconds: float = 3600.0
    tokens: int = 0
    valid: str | None = None
    init: str | None = None
    lanes: int = 32
    threads: int = 0
    seed: int = 0
    objective: str = "cross-entropy"
    targets: Path | None = None
    code: int = 0


def require_torch() -> None:
    """Raise DataError if torch is not installed."""
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise DataError("Training needs torch: install nncomp with its train extra, pip install 'nncomp[train]'.") from error


def check_output(out: Path) -> None:
    """Raise DataError for a model file that could not be written after hours of training."""
    if out.exists():
        raise DataError(f"{out} exists already; remove it or give another name.")
    check_writable(out)


def check_writable(path: Path) -> None:
    """Raise DataError if there is no folder for a file to write."""
    if not path.parent.is_dir():
        raise DataError(f"There is no folder {path.parent} to write {path.name} to.")


def plan_of(data: str, work: Path, training: Training, command: str) -> RunPlan:
    """Return the plan of a run: a new network of the shape, or the model `init` and what is added to it.

    `work` is the work folder; `command` is the command line for the record in the model file.
    """
    from nncomp.training.grow import named_shape
    from nncomp.training.run_plan import RunPlan
    from nncomp.training.trainer import TrainingConfig

    shape = named_shape(training.shape or "default")
    config = TrainingConfig(training.seconds, training.tokens, training.seed, training.lanes, objective=training.objective)
    plan = RunPlan(
        data=data,
        valid=training.valid,
        folder=work,
        start=shape,
        config=config,
        command=command,
        has_quick_mixing=(training.shape or "").startswith("fast"),
        codes=training.code,
        targets=training.targets,
    )
    if training.init is None:
        return plan
    return _begun_with(training.init, None if training.shape is None else shape, plan)


def _begun_with(init: str, wanted: NetworkShape | None, plan: RunPlan) -> RunPlan:
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
