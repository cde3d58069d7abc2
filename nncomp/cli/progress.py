"""A progress bar on stderr: only on a terminal, and only for work that takes more than half a second."""

from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING

from nncomp.cli.files import is_terminal

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_DELAY_S = 0.5


class Bar:
    """Shows bytes, rate and time left of one file; `update` is told how many bytes are done."""

    def __init__(self, label: str, total_bytes: int | None, is_quiet: bool) -> None:
        self._label = label
        self._total_bytes = total_bytes
        self._done_bytes = 0
        self._lock = threading.Lock()
        self._is_over = False
        self._shown: tuple[Progress, TaskID] | None = None
        self._timer: threading.Timer | None = None
        if not is_quiet and is_terminal(sys.stderr):
            self._timer = threading.Timer(_DELAY_S, self._show)
            self._timer.daemon = True

    def __enter__(self) -> Bar:
        if self._timer:
            self._timer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._timer:
            self._timer.cancel()
        with self._lock:
            self._is_over = True
            if self._shown:
                self._shown[0].stop()

    def update(self, done_bytes: int) -> None:
        """Show that so many bytes of the input are done."""
        with self._lock:
            self._done_bytes = done_bytes
            if self._shown:
                bar, task = self._shown
                bar.update(task, completed=done_bytes)

    def update_of(self, done_bytes: int, total_bytes: int) -> None:
        """The same, of so many as are now known to be to do."""
        with self._lock:
            self._total_bytes = total_bytes
            if self._shown:
                bar, task = self._shown
                bar.update(task, total=total_bytes)
        self.update(done_bytes)

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        bar = Progress(
            SpinnerColumn(),  # a block can take a minute, and until then no number moves
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=Console(stderr=True),
            transient=True,
        )
        with self._lock:
            if self._is_over:
                return
            task = bar.add_task(self._label, total=self._total_bytes, completed=self._done_bytes)
            bar.start()
            self._shown = bar, task
