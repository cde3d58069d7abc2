"""`nncomp train`: from the options of the command to a plan, and the run of it by `nncomp.training.whole_run`."""

from __future__ import annotations

import os
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from nncomp.cli.failures import say
from nncomp.cli.options import WrongUse
from nncomp.errors import DataError
from nncomp.training.wanted import OBJECTIVES, Training, check_writable, plan_of, require_torch

_UNITS = {"s": 1, "m": 60, "h": 3600}


def parse_time(text: str) -> float:
    """Return the seconds of a time like 90s, 30m or 2h.

    >>> parse_time("1.5h")
    5400.0
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if not match or float(match[1]) == 0:
        raise WrongUse(f"{text!r} is not a time: write it like 90s, 30m or 2h.")
    return float(match[1]) * _UNITS[match[2]]


def asked(**values: Any) -> Training:
    """Return what the options ask for. Raises WrongUse for values that are not possible."""
    if (values["targets"] is None) != (values["objective"] in OBJECTIVES[:2]):
        raise WrongUse("--targets and an --objective of hinge or absolute need each other.")
    if values["targets"] is not None and values["valid"] is None:
        raise WrongUse("--targets are of all of the training text: hold none of it out, give other text with --valid.")
    try:
        return Training(**values)
    except DataError as error:
        raise WrongUse(str(error)) from None


def train(data: str, out: Path, folder: Path, training: Training, plot: str | None) -> None:
    """Train a model and write its file. `folder` is the work folder. Of several processes that torchrun started, only the
    first one writes."""
    _check_plot(plot)
    require_torch()
    from nncomp.cli.fetched import model_path
    from nncomp.cli.train_display import Display
    from nncomp.training.processes import join_processes, use_threads
    from nncomp.training.whole_run import finish
    from nncomp.training.whole_run import train as run

    use_threads(training.threads)
    training = replace(training, init=None if training.init is None else model_path(os.fspath(training.init)))
    plan = plan_of(data, folder, training, shlex.join(["nncomp", *sys.argv[1:]]))
    processes = join_processes()
    with Display(plan.config, is_silent=not processes.is_first) as display:
        network = run(plan, display.report, processes, display.on_row)
        processes.leave()
        if not processes.is_first:
            return
        display.end_training()
        digest = finish(plan, network, out, display.report)
    if plot is not None:
        _write_plot(plot, plan.folder, out.name)
    say(f"wrote {out} (SHA-256 {digest}); the checkpoint and the log are in {plan.folder}")


def _check_plot(plot: str | None) -> None:
    """Raise DataError for a plot that could not be drawn after hours of training."""
    if plot is not None:
        from nncomp.plots.picture import check_can_plot

        check_writable(Path(plot))
        check_can_plot()
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
