"""`nncomp train`: the command around `nncomp.training.run`."""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from nncomp.cli.failures import say
from nncomp.errors import DataError

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
    """What is to be trained: the options of the command.

    `init` names a start, or else the new model has the shape of `level`. A start that only has fewer layers than the level gets
    the others on top, and these are what is trained. With `code`, an encoder comes with it that tells it so many numbers;
    `targets` is the file of estimates that an `objective` other than cross-entropy needs.
    """

    data: str
    valid: str | None
    level: str
    time: str
    out: Path
    work: Path | None
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
    """Train a model and write it; one of several processes if torchrun started them, of which only the first writes."""
    time_s, out, init = parse_time(wanted.time), wanted.out, wanted.init
    _check_outputs(out, wanted.plot)
    try:
        import torch
    except ImportError as error:
        raise DataError("Training needs torch: install nncomp with its train extra, pip install 'nncomp[train]'.") from error
    from nncomp.cli.fetched import model_path
    from nncomp.cli.train_display import Display
    from nncomp.format.numbers import OWN_MODEL
    from nncomp.network.encoder import Encoder, open_encoder
    from nncomp.network.model import Model, parse_model
    from nncomp.network.registry import open_model
    from nncomp.training import run
    from nncomp.training.float_network import SHAPES, NetworkShape, load_config
    from nncomp.training.loop import TrainingConfig
    from nncomp.training.processes import join_peers

    if wanted.threads:
        torch.set_num_threads(wanted.threads)
    folder = wanted.work or out.with_suffix(".work")
    command = shlex.join(["nncomp", *sys.argv[1:]])
    config = TrainingConfig(time_s=time_s, tokens=wanted.tokens, seed=wanted.seed, lanes=wanted.lanes, objective=wanted.objective)
    start: NetworkShape | Model = SHAPES[wanted.level]
    encoder: Encoder | None = None
    layers, base = 0, None
    if init is not None:
        file = open_model(model_path(init))
        start = parse_model(file.read(), init, file.read_base())
        encoder = open_encoder(file.path, start.sizes)
        shape = SHAPES[wanted.level]
        if load_config(start.sizes | {"layer_count": shape.layer_count, "start_token": 0}) == shape:
            layers = shape.layer_count if shape.layer_count > start.sizes["layer_count"] else 0
            if layers and file.model_id != OWN_MODEL:  # one's own would not be found again: see registry.model_file
                base = file.read()
        config = replace(config, learning_rate=config.learning_rate / (3 if layers else 2))
        known = start.sizes.get("code_dimensions", 0)
        if known and (encoder is None or wanted.code not in (0, known)):
            raise DataError(
                f"The model {init} takes a code of {known} dimensions"
                + (": give --code as many, or leave it out." if encoder else ", but its encoder is not beside it.")
            )
    peers = join_peers()
    begun = start if isinstance(start, Model) else None
    with Display(config, is_silent=not peers.is_first) as display:
        run.train(
            wanted.data, wanted.valid, folder, start, config, command, display.report, wanted.code, encoder, wanted.targets,
            peers, display.on_row, layers,
        )  # fmt: skip
        peers.leave()
        if not peers.is_first:
            return
        display.end_training()
        digest = run.finish(folder, wanted.data, wanted.valid, wanted.level, begun, out, display.report, base)
    if wanted.plot is not None:
        _write_plot(wanted.plot, folder, out.name)
    say(f"wrote {out} (SHA-256 {digest}); the checkpoint and the log are in {folder}")


def _check_outputs(out: Path, plot: str | None) -> None:
    """Refuse what could not be written in the end, before hours of training."""
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
    from nncomp.training.run import read_log

    try:
        Path(plot).write_bytes(draw(read_log(folder), title, kind_of(plot)))
    except OSError as error:
        raise DataError(f"{plot} cannot be written: {error.strerror}. The model is.") from error
