"""Several files: small ones are done whole by worker processes, many at a time; others one after another. One summary.

The worker processes are kept from file to file, so that each is started, and opens a model, once. Results come in the order of
the files; a file that fails does not stop the others.
"""

from __future__ import annotations

import stat
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from nncomp.cli.failures import FAILED, describe, say
from nncomp.cli.file_options import Input, Options
from nncomp.cli.names import STANDARD, shown
from nncomp.cli.progress import Total
from nncomp.cli.sources import Source, open_source
from nncomp.errors import NncompError, WorkerError
from nncomp.stream.pipeline import Summary
from nncomp.stream.small_files import MOST_BYTES, Batch, Made, SmallFile, batches
from nncomp.stream.storage import is_url
from nncomp.stream.workers import FEW_BYTES, kept_workers, run_in_order

_NAMED = 20  # failed files that the summary names


class Work(Protocol):
    """What is done with each file."""

    def alone(self, name: str, options: Options) -> Summary | None:
        """Do a file by itself; return its figures, or None if it is left as it is."""

    def task(self, file: Input, options: Options) -> SmallFile | None:
        """Return a task that makes the result of a small file, or None if the file is to be done by itself."""

    def finish(self, file: Input, options: Options) -> Summary | None:
        """Do a file whose source is open, and whose result may be made already; return its figures."""

    def workers(self, options: Options) -> int:
        """Return how many worker processes fit the memory limit."""

    def describe(self, sums: Summary) -> str:
        """Return the figures of all files in words."""


def each_file(names: list[str], options: Options, work: Work) -> None:
    """Do the work for each file, with a total progress bar for several files; exit with 1 if any failed."""
    tally = _Tally(options)
    if len(names) == 1:
        tally.run(names[0], lambda: work.alone(names[0], options))
    else:
        with Total(names, options.hides_bar(options.target)) as total, kept_workers():
            known = replace(options, total=total)
            for file in _in_order(names, known, work, total.total_bytes):
                tally.run(file.name, partial(file.finish, work, known))
        if total.is_many:
            tally.sum_up(work)
    if tally.failed:
        raise SystemExit(FAILED)


@dataclass
class _Tally:
    """What became of the files so far."""

    options: Options
    sums: Summary = field(default_factory=Summary)
    done: int = 0
    skipped: int = 0
    failed: list[str] = field(default_factory=list)

    def run(self, name: str, work: Callable[[], Summary | None]) -> None:
        """Do the work for a file. Its NncompError is said, and the others go on."""
        try:
            summary = work()
        except NncompError as error:
            say(f"nncomp: {shown(name)}: {describe(error)}")
            self.failed.append(name)
            return
        if summary is None:
            self.skipped += 1
            return
        self.done += 1
        self.sums.raw_bytes += summary.raw_bytes
        self.sums.packed_bytes += summary.packed_bytes
        self.sums.cost_bits += summary.cost_bits

    def sum_up(self, work: Work) -> None:
        """Say what became of all files; those that failed come last."""
        if not self.options.is_quiet:
            skipped = f"; {self.skipped:,} skipped" if self.skipped else ""
            say(f"nncomp: {self.done:,} files: {work.describe(self.sums)}{skipped}")
        if self.failed:
            count = self.done + self.skipped + len(self.failed)
            more = len(self.failed) - _NAMED
            named = ", ".join(map(shown, self.failed[:_NAMED])) + (f" and {more:,} more" if more > 0 else "")
            say(f"nncomp: {len(self.failed):,} of {count:,} files failed: {named}")


@dataclass
class _File:
    """A file in its turn. A small one has its open source, which `opened` holds open, and later what was made of it."""

    name: str
    small: Input | None = None
    made: Made | None = None
    is_large: bool = False
    opened: ExitStack = field(default_factory=ExitStack)

    def begin(self, options: Options, work: Work) -> SmallFile | None:
        """Return the task that makes the result of a small file; None for a file that is to be done by itself."""
        task = None
        try:
            # Whatever is no regular file is opened once only: a pipe would lose its writer.
            status = None if self.name == STANDARD or is_url(self.name) else Path(self.name).stat()
            self.is_large = status is None or not stat.S_ISREG(status.st_mode) or status.st_size > MOST_BYTES
            if not self.is_large:
                task = self._task(self.opened.enter_context(open_source(self.name)), options, work)
        except Exception:
            task = None  # what is wrong is told when the file is done by itself
        finally:
            if task is None:
                self.is_large = True  # it may take all workers
                self.opened.close()
        return task

    def _task(self, source: Source, options: Options, work: Work) -> SmallFile | None:
        file = Input(self.name, source, source.read(MOST_BYTES + 1))
        if source.status is None or len(file.data) > MOST_BYTES:
            return None
        source.stream.seek(0)
        task = work.task(file, options)
        self.small = file if task else None
        return task

    def finish(self, work: Work, options: Options) -> Summary | None:
        """Do the file."""
        with self.opened:
            if self.small is None or self.made is None:
                self.opened.close()
                return work.alone(self.name, options)
            assert options.total
            sums = None
            options.total.begin_file()
            try:
                sums = work.finish(replace(self.small, made=self.made), options)
            finally:
                options.total.end_file(len(self.small.data), sums)
            return sums


def _in_order(names: list[str], options: Options, work: Work, total_bytes: int | None) -> Iterator[_File]:
    """Yield the files in their order: what a worker process made of a small one comes with it."""
    workers = 0 if total_bytes is not None and total_bytes <= FEW_BYTES else work.workers(options)
    waiting = deque(names)
    while waiting:
        yield from _until_large(waiting, options, work, workers)


def _until_large(waiting: deque[str], options: Options, work: Work, workers: int) -> Iterator[_File]:
    """Take names from `waiting`, and yield their files, up to and with the first one that is not small.

    A large file has all workers for itself: those before it are done first.
    """
    begun: deque[_File] = deque()  # those in flight, and those to be done by themselves

    def tasks() -> Iterator[SmallFile]:
        while waiting:
            file = _File(waiting.popleft())
            begun.append(file)
            task = file.begin(options, work)
            if task:
                yield task
            elif file.is_large:
                return

    try:
        for some in run_in_order(batches(tasks(), lambda: len(waiting), workers), Batch.run, workers):
            for made in some:
                while begun[0].small is None:
                    yield begun.popleft()
                begun[0].made = made
                yield begun.popleft()
    except WorkerError:
        pass  # a process was killed: the files in flight are done by themselves
    finally:
        for file in begun:
            file.opened.close()
    yield from begun
