"""The log of a run: rows of figures, as lines of JSON in the work folder and as text for a person."""

from __future__ import annotations

import json
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path

from nncomp.training.trainer import TrainingConfig

Row = dict[str, float]


def left_s(row: Row, config: TrainingConfig) -> float:
    """Return the seconds that the rest of a run takes, judged by a row of figures."""
    return row["elapsed_s"] / row["share"] - row["elapsed_s"] if row["share"] else config.time_s


def line_of(row: Row, config: TrainingConfig) -> str:
    """Return a row of figures as a line for a person."""
    rate = row["tokens"] / row["elapsed_s"]
    valid = f", held out {row['valid_bpb']:.3f}" if "valid_bpb" in row else ""
    return (
        f"step {row['step']:,}: {row['tokens'] / 1e6:.1f} M tokens, {rate:,.0f} a second; "
        f"bits per byte {row['train_bpb']:.3f}{valid}; {left_s(row, config) / 60:.0f} min left"
    )


def read_log(folder: Path, last_step: float = float("inf")) -> list[Row]:
    """Return the rows of a run up to a step. A line that is no row, or was cut off, is left out."""
    rows: list[Row] = []
    path = folder / "log.jsonl"
    for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
        with suppress(ValueError, LookupError, TypeError, RecursionError):
            row = json.loads(line)
            if row["step"] <= last_step:
                rows.append(row)
    return rows


def open_log(folder: Path, step: int) -> TextIOWrapper:
    """Return the log, open after the rows up to the checkpoint's step. Later rows are removed; the run repeats their steps."""
    rows = read_log(folder, step)
    log = (folder / "log.jsonl").open("w")
    log.writelines(json.dumps(row) + "\n" for row in rows)
    return log
