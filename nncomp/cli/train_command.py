"""`nncomp train`: from the options of the command to a plan, and the run of it by `nncomp.training.whole_run`."""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nncomp.cli.failures import say
from nncomp.errors import DataError

if TYPE_CHECKING:
    from nncomp.training.run_plan import RunPlan

_UNITS = {"s": 1, "m": 60, "h": 3600}


def parse_time(text: str) -> float:
    """Return the seconds of a time like 90s, 30m or 2h.

    >>> parse_time("1.5h")
    5400.0
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if not match or float(match[1]) == 0:
        raise DataError(f"{text!r} is not a time: write it like 90s, 30m or 2h.")
    return float(match[1]) * _UNITS[match[2]]


@dataclass(frozen=True)
class Wanted:
    """The options of the command. `out` is a local path and `work` the work folder."""

    data: str
    valid: str | None
    shape: str
    time: str
    out: Path
    work: Path
    threads: int
    seed: int
    init: str | None
    tokens: int
    lanes: int
    code: int
    objective: str
    targets: Path | None
    plot: str | None


def train(wanted: Wanted) -> None:
    """Train a model and write its file. Of several processes that torchrun started, only the first one writes."""
    time_s, out = parse_time(wanted.time), wanted.out
    _check_outputs(out, wanted.plot)
    try:
        import torch
    except ImportError as error:
        raise DataError("Training needs torch: install nncomp with its train extra, pip install 'nncomp[train]'.") from error
    from nncomp.cli.train_display import Display
    from nncomp.training.processes import join_processes
    from nncomp.training.whole_run import finish
    from nncomp.training.whole_run import train as run

    if wanted.threads:
        torch.set_num_threads(wanted.threads)
    plan = _plan(wanted, time_s)
    processes = join_processes()
    with Display(plan.config, is_silent=not processes.is_first) as display:
        run(plan, display.report, processes, display.on_row)
        processes.leave()
        if not processes.is_first:
            return
        display.end_training()
        digest = finish(plan, out, display.report)
    if wanted.plot is not None:
        _write_plot(wanted.plot, plan.folder, out.name)
    say(f"wrote {out} (SHA-256 {digest}); the checkpoint and the log are in {plan.folder}")


def _plan(wanted: Wanted, time_s: float) -> RunPlan:
    """Return the plan of a run: a new network of the shape, or the model `init` and what is added to it."""
    from nncomp.training.float_network import SHAPES
    from nncomp.training.run_plan import RunPlan
    from nncomp.training.trainer import TrainingConfig

    config = TrainingConfig(time_s, wanted.tokens, wanted.seed, wanted.lanes, objective=wanted.objective)
    plan = RunPlan(
        data=wanted.data,
        valid=wanted.valid,
        folder=wanted.work,
        start=SHAPES[wanted.shape],
        config=config,
        command=shlex.join(["nncomp", *sys.argv[1:]]),
        has_quick_mixing=wanted.shape == "fast",
        codes=wanted.code,
        targets=wanted.targets,
    )
    return plan if wanted.init is None else _begun_with(wanted.init, plan)


def _begun_with(init: str, plan: RunPlan) -> RunPlan:
    """Return the plan with the model `init` as its beginning; if the shape only has more layers, these are added."""
    from nncomp.cli.fetched import model_path
    from nncomp.format.numbers import OWN_MODEL
    from nncomp.network.model import parse_model
    from nncomp.network.registry import open_model
    from nncomp.training.float_network import NetworkShape, load_config

    file, shape = open_model(model_path(init)), plan.start
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
        base=file.read() if is_grown and file.model_id != OWN_MODEL else None,
    )


def _check_outputs(out: Path, plot: str | None) -> None:
    """Raise DataError for outputs that could not be written after hours of training."""
    if out.exists():
        raise DataError(f"{out} exists already; remove it or give another --out.")
    for path in (out, Path(plot or out)):
        if not path.parent.is_dir():
            raise DataError(f"There is no folder {path.parent} to write {path.name} to.")
    if plot is not None:
        from nncomp.plots.picture import check_can_plot

        check_can_plot(plot)
        if Path(plot).exists():
            raise DataError(f"{plot} exists already; remove it or give another --plot.")


def _write_plot(plot: str, folder: Path, title: str) -> None:
    from nncomp.plots.picture import kind_of
    from nncomp.plots.training_run import draw
    from nncomp.training.run_log import read_log

    try:
        Path(plot).write_bytes(draw(read_log(folder), title, kind_of(plot)))
    except OSError as error:
        raise DataError(f"{plot} cannot be written: {error.strerror}. The model file is complete.") from error
