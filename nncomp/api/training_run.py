"""Training a model, for programs: what `nncomp train` does, in one process."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from nncomp.training.wanted import Training as Training
from nncomp.training.wanted import check_output, plan_of, require_torch, work_folder

Row = dict[str, float]


@dataclass(frozen=True)
class Trained:
    """A trained model: its file, the SHA-256 of that, the folder of checkpoint and log, and the figures of the run.

    Each row of `rows` has "step", "elapsed_s", "tokens", "bytes", "train_bpb", "share" of the run, and of some steps "valid_bpb".
    """

    path: Path
    sha256: str
    folder: Path
    rows: list[Row] = field(repr=False)


def train(
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    training: Training | None = None,
    *,
    folder: str | os.PathLike[str] | None = None,
    report: Callable[[str], None] | None = None,
) -> Trained:
    """Train a model on text, write its file `out`, and return what came of it. It needs torch (`pip install 'nncomp[train]'`).

    `data` is a file, a folder, a glob pattern or a URL. `training` says what is trained and for how long. `folder` is for
    checkpoint and log, beside `out` without it; a run that finds its own checkpoint there goes on. `report` gets lines about it.
    Raises DataError for unusable text or an output that is there, ModelError for a model to go on from that is none, and
    TypeError for what is no path or no Training.
    """
    path, training = Path(out), Training() if training is None else training
    if not isinstance(training, Training):
        raise TypeError(f"training is an nncomp.Training, not {training!r:.80}.")
    text = os.fspath(data)
    if not isinstance(text, str):
        raise TypeError("data is the path of the text as str or as a path, not bytes.")
    check_output(path)
    work = work_folder(path, None if folder is None else Path(folder))
    require_torch()
    from nncomp.training.processes import use_threads
    from nncomp.training.whole_run import finish
    from nncomp.training.whole_run import train as run

    use_threads(training.threads)
    rows = list[Row]()
    plan = plan_of(text, work, training, "nncomp.train")
    say = report or (lambda line: None)
    network = run(plan, say, on_row=rows.append)
    return Trained(path, finish(plan, network, path, say), work, rows)
