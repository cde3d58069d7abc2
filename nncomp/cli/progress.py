"""Progress on stderr: a line for each file and a line for all files. Only on a terminal, and after half a second of work.

A line shows the bytes of input done, the ratio of the complete blocks, the speed and the time left.
"""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from nncomp.cli.names import STANDARD, shown
from nncomp.cli.streams import is_terminal

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

FEW = 10  # files that are told one by one; of more there is a summary, unless more is asked for
_DELAY_S = 0.5
_LABEL_CHARACTERS = 24
_WIDE_COLUMNS = 100
STYLES = {  # readable on light and on dark terminals; numbers have the default colour
    **dict.fromkeys(("bar.complete", "bar.finished", "bar.pulse", "progress.spinner"), "green"),
    "bar.back": "bright_black",
    **dict.fromkeys(("progress.download", "progress.data.speed", "progress.remaining", "progress.elapsed"), "none"),
}


class Sizes(Protocol):
    """Raw and packed bytes of the complete blocks of a stream."""

    raw_bytes: int
    packed_bytes: int


@dataclass
class _Line:
    """The figures of one line. `total_bytes` is None if unknown, `ratio` 0 before the first complete block."""

    label: str
    total_bytes: int | None
    done_bytes: int = 0
    ratio: float = 0.0
    task: TaskID | None = None

    def shown(self) -> dict[str, Any]:
        ratio = f"ratio {self.ratio:.2f}" if self.ratio else ""
        return {"description": self.label, "completed": self.done_bytes, "total": self.total_bytes, "ratio": ratio}


class _Display:
    """The lines on the screen, shown after _DELAY_S. Nothing is shown without a terminal or with `is_quiet`."""

    def __init__(self, is_quiet: bool) -> None:
        self._is_silent = is_quiet or not is_terminal(sys.stderr)
        self._lock = threading.Lock()
        self._lines: list[_Line] = []
        self._shown: Progress | None = None
        self._timer: threading.Timer | None = None
        self._is_over = False

    def start(self) -> None:
        if not self._is_silent:
            self._timer = threading.Timer(_DELAY_S, self._show)
            self._timer.daemon = True
            with suppress(RuntimeError):  # no more threads: then nothing is shown
                self._timer.start()

    def stop(self) -> None:
        if self._timer:
            self._timer.cancel()
        with self._lock:
            self._is_over = True
            if self._shown:
                self._shown.stop()

    def add(self, line: _Line) -> None:
        with self._lock:
            self._lines.append(line)
            self._begin(line)

    def remove(self, line: _Line) -> None:
        with self._lock:
            self._lines.remove(line)
            if self._shown and line.task is not None:
                self._shown.remove_task(line.task)

    def update(self, line: _Line) -> None:
        with self._lock:
            if self._shown and line.task is not None:
                self._shown.update(line.task, **line.shown())

    def _begin(self, line: _Line) -> None:
        if self._shown:
            line.task = self._shown.add_task(**line.shown())

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
        from rich.theme import Theme

        console = Console(stderr=True, theme=Theme(STYLES))
        is_wide = console.width >= _WIDE_COLUMNS
        shown = Progress(
            SpinnerColumn(),  # a block can take a minute without a change of any number
            TextColumn("{task.description}", markup=False),
            *([BarColumn(bar_width=None)] if is_wide else []),  # the numbers alone take 80 columns
            DownloadColumn(),
            TextColumn("{task.fields[ratio]}", style="none", markup=False),
            TransferSpeedColumn(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=console,
            transient=True,
            expand=is_wide,  # the bar fills the rest of the line
            redirect_stdout=False,  # stdout is for data
        )
        with self._lock:
            if self._is_over:
                return
            self._shown = shown
            for line in self._lines:
                self._begin(line)
            shown.start()
            console.show_cursor()  # a shell that takes over at Ctrl-Z does not bring it back


class Total:
    """The progress of several files: a line above the line of each file, on the same display."""

    def __init__(self, names: list[str], is_quiet: bool) -> None:
        self.display = _Display(is_quiet)
        self.is_many = len(names) > FEW
        self._count = len(names)
        self._number = 0
        sizes = [_size(name) for name in names]
        self.total_bytes = None if None in sizes else sum(size or 0 for size in sizes)
        self._line = _Line(f"all {len(names)} files", self.total_bytes)
        self._past = [0, 0, 0]  # input, raw and packed bytes of the finished files

    def __enter__(self) -> Total:
        self.display.add(self._line)
        self.display.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.display.stop()

    def begin_file(self) -> None:
        self._number += 1
        self._line.label = f"all, {self._number} of {self._count}"
        self.display.update(self._line)

    def update(self, done_bytes: int, sizes: Sizes | None) -> None:
        """Take the progress of the current file."""
        now = self._with(done_bytes, sizes)
        self._line.done_bytes, self._line.ratio = now[0], now[1] / now[2] if now[2] else 0.0
        self.display.update(self._line)

    def end_file(self, input_bytes: int, sizes: Sizes | None) -> None:
        self._past = self._with(input_bytes, sizes)
        self.update(0, None)

    def _with(self, done_bytes: int, sizes: Sizes | None) -> list[int]:
        part = done_bytes, sizes.raw_bytes if sizes else 0, sizes.packed_bytes if sizes else 0
        return [a + b for a, b in zip(self._past, part, strict=True)]


class Bar:
    """The progress of one file. `update` takes the bytes of input done.

    `total_bytes` is the size of the input, None if unknown. Each update reads `sizes`. With `total`, the line stands below
    the line of all files; `is_counted` is false for a second pass over the same file, such as verifying.
    """

    def __init__(
        self,
        label: str,
        total_bytes: int | None,
        is_quiet: bool,
        sizes: Sizes | None = None,
        total: Total | None = None,
        is_counted: bool = True,
    ) -> None:
        self._line = _Line(_short(shown(label)), total_bytes)
        self._sizes = sizes
        self._is_alone = total is None
        self._total = total if is_counted else None
        self._display = total.display if total else _Display(is_quiet)

    def __enter__(self) -> Bar:
        if self._total:
            self._total.begin_file()
        if self._is_alone:
            self._display.start()
        self._display.add(self._line)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._display.remove(self._line)
        if self._total:
            self._total.end_file(self._line.total_bytes or self._line.done_bytes, self._sizes)
        if self._is_alone:
            self._display.stop()

    def update(self, done_bytes: int) -> None:
        """Show the bytes of the input done so far."""
        line, sizes = self._line, self._sizes
        line.done_bytes = done_bytes
        if sizes and sizes.packed_bytes:
            line.ratio = sizes.raw_bytes / sizes.packed_bytes
        self._display.update(line)
        if self._total:
            self._total.update(done_bytes, sizes)

    def update_of(self, done_bytes: int, total_bytes: int) -> None:
        """Show the bytes done of a total that is now known."""
        self._line.total_bytes = total_bytes
        self.update(done_bytes)


def _short(label: str) -> str:
    """Return the label, or the end of a long label.

    >>> _short("some/folder/with/a/long/name.txt")
    '…er/with/a/long/name.txt'
    """
    return label if len(label) <= _LABEL_CHARACTERS else f"…{label[1 - _LABEL_CHARACTERS :]}"


def _size(name: str) -> int | None:
    path = Path(name)
    try:
        return path.stat().st_size if name != STANDARD and path.is_file() else None
    except OSError:
        return None
