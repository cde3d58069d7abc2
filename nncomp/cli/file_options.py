"""What the commands on files are told, in one object: `Options`, with the figures that follow from them; and an open `Input`.

Knows names, workers, memory and progress; nothing of what is done with a file.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from nncomp.blocks.levels import USUAL, Effort
from nncomp.blocks.memory import Memory
from nncomp.cli.failures import say
from nncomp.cli.names import STANDARD
from nncomp.cli.places import Places
from nncomp.cli.progress import Bar, Total
from nncomp.cli.sources import Source
from nncomp.cli.streams import is_terminal
from nncomp.machine import watch
from nncomp.machine.limits import usable_cores
from nncomp.network.registry import ModelFile, installed_models
from nncomp.stream.pipeline import Summary
from nncomp.stream.ranges import Range
from nncomp.stream.reference import Reference
from nncomp.stream.small_files import Made

PREPARING = "nncomp: preparing kernels, on the first run only (17 to 40 seconds)."
UNKEPT = "nncomp: preparing kernels (17 to 40 seconds, on every run: the cache folder cannot be written, or others can write it)."


@dataclass
class Input:
    """A file to work on: its name, its open source, and perhaps what a task has made of its bytes `data` already."""

    name: str
    source: Source
    data: bytes = field(default=b"", repr=False)
    made: Made | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Options:
    """Options of compress, decompress, cat and test. `target` is None for an output beside each source."""

    target: str | None
    is_forced: bool
    is_quiet: bool
    is_verbose: bool
    workers: int
    is_verified: bool = False  # read the result back and compare
    is_removed: bool = False  # remove the source when its result is complete
    part: Range | None = None  # of the content
    memory: Memory = field(default_factory=Memory)
    is_recovered: bool = False  # write the undamaged blocks of a damaged file
    effort: Effort = USUAL  # of compression
    is_skipping: bool = False  # files that are compressed already
    is_sparse: bool = False  # long runs of zeros of a decompressed file become holes
    places: Places | None = None  # names of outputs in another folder
    total: Total | None = None  # the progress of several files
    reference: Reference | None = None

    def bar(self, name: str, total_bytes: int | None, sizes: Summary, target: str | None = None, is_counted: bool = True) -> Bar:
        """Return the progress bar of a file."""
        return Bar(name, total_bytes, self.hides_bar(target), sizes, self.total, is_counted)

    def hides_bar(self, target: str | None) -> bool:
        """Return whether no progress is shown: while data goes to the same terminal, too."""
        return self.is_quiet or (target == STANDARD and is_terminal(sys.stdout))

    def fitting_workers(self, models: Sequence[ModelFile], is_coding: bool = False) -> int:
        """Return how many workers fit the memory limit with the largest of these models and the models of nncomp."""
        shipped = [] if is_coding else installed_models()
        has_reference = self.reference is not None
        return min(self.memory.workers(self.workers, model, is_coding, has_reference) for model in [*models, *shipped, None])

    def says_result(self, is_passing: bool) -> bool:
        """Return whether to print a line about a result. In a pipe (`is_passing`), and of many files, only -v prints the line."""
        is_one_of_many = self.total is not None and self.total.is_many
        return not self.is_quiet and (self.is_verbose or not (is_passing or is_one_of_many))

    def target_of(self, name: str, named: Callable[[str], str]) -> str:
        """Return the name of the output of a file; `named` makes it of the name of the file."""
        if self.target is not None:
            return self.target
        if name == STANDARD:
            return STANDARD
        return named(name if self.places is None else self.places.of(name))


def listen(options: Options) -> None:
    """Print one line on stderr before kernels are compiled, and with -v one before text goes to a temporary file."""

    def say_once(is_kept: bool) -> None:
        watch.on_preparing(None)
        say(PREPARING if is_kept else UNKEPT)

    def say_temporary(most_bytes: int) -> None:
        watch.on_temporary(None)
        say(f"nncomp: keeping the text that repeats may reach back to, at most {most_bytes >> 20:,} MiB, in a temporary file.")

    watch.on_preparing(None if options.is_quiet else say_once)
    watch.on_temporary(say_temporary if options.is_verbose else None)


def worker_count(asked: int) -> int:
    """Return the number of workers: as many as cores for 0."""
    return asked or usable_cores()
