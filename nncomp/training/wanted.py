"""What a training run is asked for, and the plan that it makes. Loads torch only when a plan is made."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nncomp.errors import DataError

if TYPE_CHECKING:
    from nncomp.training.run_plan import RunPlan


@dataclass(frozen=True)
class Training:
    """What decides a training run; docs/TRAINING.md describes each.

    shape: "fast", "default" or "max": the size of a new network.
    seconds: how long to train. tokens: train on so many instead, however long it takes; 0 for the time.
    valid: other text to measure on; None holds out a part of the text.
    init: a model to go on from: a name or a path.
    lanes: places in the text learned from at a time. threads: 0 for as many as torch takes. seed: of all random choices.
    objective, targets, code: as the options of `nncomp train` with these names.
    """

    shape: str = "default"
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
    from nncomp.training.float_network import SHAPES
    from nncomp.training.run_plan import RunPlan
    from nncomp.training.trainer import TrainingConfig

    if training.shape not in SHAPES:
        raise DataError(f"There is no shape {training.shape!r}: shapes are {', '.join(SHAPES)}.")
    config = TrainingConfig(training.seconds, training.tokens, training.seed, training.lanes, objective=training.objective)
    plan = RunPlan(
        data=data,
        valid=training.valid,
        folder=work,
        start=SHAPES[training.shape],
        config=config,
        command=command,
        has_quick_mixing=training.shape == "fast",
        codes=training.code,
        targets=training.targets,
    )
    return plan if training.init is None else _begun_with(training.init, plan)


def _begun_with(init: str, plan: RunPlan) -> RunPlan:
    """Return the plan with the model `init` as its beginning; if the shape only has more layers, these are added."""
    from nncomp.format.numbers import OWN_MODEL
    from nncomp.network.model import parse_model
    from nncomp.network.registry import open_model
    from nncomp.training.float_network import NetworkShape, load_config

    file, shape = open_model(init), plan.start
    assert isinstance(shape, NetworkShape)
    model = parse_model(file.read(), init, file.read_base())
    is_taller = shape.layer_count > model.sizes["layer_count"]
    same = {"vocab_size": shape.vocab_size, "group_count": shape.group_count, "layer_count": shape.layer_count, "start_token": 0}
    is_grown = is_taller and load_config(model.sizes | same) == shape  # the model keeps its own vocabulary
    return replace(
        plan,
        start=model,
        config=replace(plan.config, learning_rate=plan.config.learning_rate / (3 if is_grown else 2)),
        layer_count=shape.layer_count if is_grown else 0,
        # A file of new layers alone needs a base that nncomp finds by its hash (registry.model_file): a shipped model.
        base=bytes(file.read()) if is_grown and file.model_id != OWN_MODEL else None,
    )
