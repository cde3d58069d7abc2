"""The display of a training on stderr: on a terminal one line that moves, elsewhere a line every 25 steps."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from nncomp.cli.failures import say
from nncomp.cli.progress import STYLES
from nncomp.cli.streams import is_terminal

if TYPE_CHECKING:
    from rich.progress import Progress

    from nncomp.training.trainer import TrainingConfig


class Display:
    """`report` takes lines, and `on_row` rows of figures. Without a terminal `on_row` is None, and rows come as lines."""

    def __init__(self, config: TrainingConfig, is_silent: bool) -> None:
        self._config, self._is_silent = config, is_silent
        self._shown: Progress | None = None
        self._held_out = ""
        self.on_row: Callable[[dict[str, float]], None] | None = None
        if not is_silent and is_terminal(sys.stderr):
            self.on_row = self._show

    def __enter__(self) -> Display:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end_training()

    def report(self, line: str) -> None:
        """Print a line, above the moving line if there is one."""
        if self._is_silent:
            return
        if self._shown:
            self._shown.console.print(line, markup=False, highlight=False)
        else:
            say(line)

    def end_training(self) -> None:
        """Stop the moving line with the last figures in it."""
        if self._shown:
            self._shown.stop()
            self._shown = None

    def _show(self, row: dict[str, float]) -> None:
        from nncomp.training.run_log import left_s

        if self._shown is None:
            self._shown = _new_progress()
            self._shown.add_task("", total=1.0, figures="")
            self._shown.start()
        if "valid_bpb" in row:
            self._held_out = f", held out {row['valid_bpb']:.3f}"
        rate = row["bytes"] / row["elapsed_s"]
        figures = (
            f"{row['bytes'] / 1e6:,.1f} MB  {row['train_bpb']:.3f} bpb{self._held_out}  "
            f"{rate / 1e3:,.1f} KB/s  {clock(left_s(row, self._config))} left"
        )
        self._shown.update(self._shown.task_ids[0], completed=row["share"], figures=figures)


def _new_progress() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn
    from rich.theme import Theme

    return Progress(
        SpinnerColumn(),
        TaskProgressColumn("{task.percentage:>3.0f}%", style="none"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[figures]}", style="none", markup=False),
        console=Console(stderr=True, theme=Theme(STYLES)),
        expand=True,
        redirect_stdout=False,
    )


def clock(seconds: float) -> str:
    """Return a time as a clock shows it.

    >>> clock(59.9), clock(3725)
    ('0:59', '1:02:05')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
