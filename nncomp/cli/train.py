"""`nncomp train`: the command around `nncomp.training.run`."""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

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


def train(
    data: str, valid: str | None, level: str, time: str, out: Path, work: Path | None, threads: int, seed: int, init: str | None,
    tokens: int, code: int, objective: str, targets: Path | None,
) -> None:  # fmt: skip
    """Train a model on the text at `data` for the given time (or tokens) and write it to `out`; `init` names a start, or
    else the new model has the shape of `level`. With `code`, an encoder comes with it that tells it so many numbers.
    `targets` is the file of estimates that an `objective` other than cross-entropy needs."""
    time_s = parse_time(time)
    if out.exists():
        raise DataError(f"{out} exists already; remove it or give another --out.")
    if not out.parent.is_dir():
        raise DataError(f"There is no folder {out.parent} to write the model to.")
    try:
        import torch
    except ImportError as error:
        raise DataError("Training needs torch: install nncomp with its train extra, pip install 'nncomp[train]'.") from error
    from nncomp.encoder import Encoder, open_encoder
    from nncomp.exact.weights import IntegerModel, parse_model
    from nncomp.model.decoder import SHAPES, DecoderConfig
    from nncomp.registry import open_model
    from nncomp.training import run
    from nncomp.training.loop import TrainingConfig

    if threads:
        torch.set_num_threads(threads)
    folder = work or out.with_suffix(".work")
    command = shlex.join(["nncomp", *sys.argv[1:]])
    config = TrainingConfig(time_s=time_s, tokens=tokens, seed=seed, objective=objective)
    start: DecoderConfig | IntegerModel = SHAPES[level]
    encoder: Encoder | None = None
    if init is not None:
        config = replace(config, learning_rate=config.learning_rate / 2)
        file = open_model(init)
        start = parse_model(file.read(), init)
        encoder = open_encoder(file.path, start.sizes)
        known = start.sizes.get("code_dimensions", 0)
        if known and (encoder is None or code not in (0, known)):
            raise DataError(
                f"The model {init} takes a code of {known} dimensions"
                + (": give --code as many, or leave it out." if encoder else ", but its encoder is not beside it.")
            )
    run.train(data, valid, folder, start, config, command, report, code, encoder, targets)
    begun = start if isinstance(start, IntegerModel) else None
    digest = run.finish(folder, data, valid, level, begun, out, report)
    report(f"wrote {out} (SHA-256 {digest}); the checkpoint and the log are in {folder}")


def report(line: str) -> None:
    """Print a line of progress to standard error."""
    print(line, file=sys.stderr, flush=True)
