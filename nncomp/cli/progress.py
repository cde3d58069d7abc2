"""Progress on stderr: a line for a file, and one for all files. Only on a terminal, only for work of more than half a second.

A line says how many bytes of the input are done, the ratio of the blocks that are complete, bytes a second and time left.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from nncomp.cli.files import STANDARD, is_terminal

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_DELAY_S = 0.5
_LABEL_CHARACTERS = 24
_WIDE_COLUMNS = 100
STYLES = {  # to be read on light and on dark; numbers are as the terminal writes
    **dict.fromkeys(("bar.complete", "bar.finished", "bar.pulse", "progress.spinner"), "green"),
    "bar.back": "bright_black",
    **dict.fromkeys(("progress.download", "progress.data.speed", "progress.remaining", "progress.elapsed"), "none"),
}


class Sizes(Protocol):
    """How many raw and packed bytes the complete blocks of a stream have."""

    raw_bytes: int
    packed_bytes: int


@dataclass
class _Line:
    """What one line shows; `total_bytes` is None when nobody knows, `ratio` 0 while there is none."""

    label: str
    total_bytes: int | None
    done_bytes: int = 0
    ratio: float = 0.0
    task: TaskID | None = None

    def shown(self) -> dict[str, Any]:
        ratio = f"ratio {self.ratio:.2f}" if self.ratio else ""
        return {"description": self.label, "completed": self.done_bytes, "total": self.total_bytes, "ratio": ratio}


class _Display:
    """The lines that are to be seen, once the work is long enough; none where there is no terminal or nobody is to see them."""

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
            SpinnerColumn(),  # a block can take a minute, and until then no number moves
            TextColumn("{task.description}", markup=False),
            *([BarColumn(bar_width=None)] if is_wide else []),  # the numbers need 80 columns
            DownloadColumn(),
            TextColumn("{task.fields[ratio]}", style="none", markup=False),
            TransferSpeedColumn(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=console,
            transient=True,
            expand=is_wide,  # the bar takes what is left; without it, the numbers stand together
            redirect_stdout=False,  # stdout is for data
        )
        with self._lock:
            if self._is_over:
                return
            self._shown = shown
            for line in self._lines:
                self._begin(line)
            shown.start()


class Total:
    """What is done of several files: a line above those of the files, which share its place on the screen."""

    def __init__(self, names: list[str], is_quiet: bool) -> None:
        self.display = _Display(is_quiet)
        self._count = len(names)
        self._number = 0
        sizes = [_size(name) for name in names]
        self._line = _Line(f"all {len(names)} files", None if None in sizes else sum(size or 0 for size in sizes))
        self._past = [0, 0, 0]  # bytes of input, raw and packed bytes of the files that are over

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
        """Take what is done of the file in work."""
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
    """Shows what is done of one file; `update` is told how many bytes of the input are.

    `total_bytes` is the size of the input, None when nobody knows. `sizes` is looked at whenever there is something to
    show. With `total`, the line stands below that of all files, and counts there unless it is done twice (`is_counted`).
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
        self._line = _Line(_short(label), total_bytes)
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
        """Show that so many bytes of the input are done."""
        line, sizes = self._line, self._sizes
        line.done_bytes = done_bytes
        if sizes and sizes.packed_bytes:
            line.ratio = sizes.raw_bytes / sizes.packed_bytes
        self._display.update(line)
        if self._total:
            self._total.update(done_bytes, sizes)

    def update_of(self, done_bytes: int, total_bytes: int) -> None:
        """The same, of so many as are now known to be to do."""
        self._line.total_bytes = total_bytes
        self.update(done_bytes)


def _short(label: str) -> str:
    """Return a label that leaves room for the numbers: of a long one, its end.

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
