"""`--cluster`: compress, decompress and test on a Dask cluster, whose workers code the blocks of all files."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nncomp.cli.cluster_report import document, print_table, row_of, test_document
from nncomp.cli.failures import FAILED, describe, say
from nncomp.cli.file_options import Options
from nncomp.cli.inputs import planned
from nncomp.cli.names import SUFFIX, shown
from nncomp.cli.progress import Bar
from nncomp.cli.result_line import describe_blocks, describe_sizes
from nncomp.cli.sinks import Discard, Sink, make_folder, status_of
from nncomp.cli.sources import Source, open_source
from nncomp.cli.transfer import open_result
from nncomp.errors import DataError, OutputError
from nncomp.network.registry import ModelFile
from nncomp.stream import storage
from nncomp.stream.pipeline import Summary
from nncomp.stream.tasks import finder

if TYPE_CHECKING:
    from nncomp.cluster.connection import Cluster
    from nncomp.cluster.many_files import Kind, Work

COMPRESS, DECOMPRESS, TEST = "compress", "decompress", "test"


@dataclass(frozen=True)
class Asked:
    """What the command has beside `Options`. `folder` is the output folder, None for outputs beside the sources."""

    address: str
    command: str
    names: list[str] | None
    is_recursive: bool
    folder: str | None = None
    is_resumed: bool = False
    is_json: bool = False
    is_flat: bool = False  # all results in the output folder itself


@contextmanager
def connected(address: str, local_workers: int, is_quiet: bool) -> Iterator[Cluster]:
    """Connect to a cluster or start one, and print its address; raises DataError if Dask is not installed."""
    try:
        from nncomp.cluster.connection import connect
    except ImportError as error:
        raise DataError(f"--cluster needs Dask, which is not installed ({error}): pip install 'nncomp[cluster]'.") from error
    with connect(address, local_workers) as cluster:
        if not is_quiet:
            count = cluster.workers()
            pages = f"; dashboard: {cluster.dashboard}" if cluster.dashboard else ""
            say(f"nncomp: cluster {cluster.address}, {count} worker{'' if count == 1 else 's'}{pages}")
            if cluster.has_idle_threads():
                say("nncomp: a worker process codes one block at a time, so its other threads are idle. See docs/CLUSTER.md.")
        yield cluster


def run(asked: Asked, options: Options, model: ModelFile | None = None, given: list[ModelFile] | None = None) -> None:
    """Run the command on the cluster and report each file; exits with 1 if any file failed."""
    names = planned(asked.names, asked.is_recursive, asked.command != COMPRESS)
    places = _places(names, asked, options)
    workers = options.fitting_workers([model] if model else given or [], asked.command == COMPRESS)
    with connected(asked.address, workers, options.is_quiet) as cluster:
        report = _Report(asked, options, cluster, places, _largest_first(places))
        _run_all(cluster, _kind(asked, options, cluster, model, given or []), report)
    if any(work.error for work, _ in report.rows):
        raise SystemExit(FAILED)


def _kind(asked: Asked, options: Options, cluster: Cluster, model: ModelFile | None, given: list[ModelFile]) -> Kind:
    from nncomp.cluster.many_files import Compressing, Decompressing

    if asked.command == COMPRESS:
        return Compressing(cluster, model, options.effort, options.memory)
    return Decompressing(cluster, finder(given), options.memory)


def _run_all(cluster: Cluster, kind: Kind, report: _Report) -> None:
    from nncomp.cluster.many_files import run as run_works

    with report:
        run_works((place.work() for place in report.order), kind, cluster, report.over, report.progress)


@dataclass
class Place:
    """A source and its output; `target` is None for `nncomp test`."""

    name: str
    target: str | None
    command: str
    options: Options
    is_resumed: bool
    _source: Source | None = None
    _is_replaced: bool = False

    def work(self) -> Work:
        from nncomp.cluster.many_files import Work

        return Work(self.name, self.open_source, self.open_sink, self.is_finished)

    @contextmanager
    def open_source(self) -> Iterator[Source]:
        with open_source(self.name) as source:
            self._source = source
            yield source

    @contextmanager
    def open_sink(self) -> Iterator[Sink | Discard]:
        if not self.target:
            yield Discard()
            return
        assert self._source
        if not storage.is_url(self.target):
            make_folder(Path(self.target).parent)
        options = replace(self.options, is_forced=self.options.is_forced or self._is_replaced)
        with open_result(self.target, self._source, options) as sink:
            yield sink

    def is_finished(self) -> bool:
        """Return whether the output exists and belongs to the source; raises OutputError if it must not be overwritten."""
        from nncomp.cluster.resume import belong_together

        if not self.target or not _exists(self.target):
            return False
        if not self.is_resumed:
            if self.options.is_forced:
                return False
            raise OutputError(f"{self.target} already exists. Overwrite it with -f, or skip finished files with --resume.")
        with open_source(self.name) as source, open_source(self.target) as made:
            packed, raw = (made, source) if self.command == COMPRESS else (source, made)
            self._is_replaced = not belong_together(packed, raw)
        return not self._is_replaced


def _places(names: list[tuple[str, str]], asked: Asked, options: Options) -> list[Place]:
    """Return the output of each source; raises OutputError if two outputs are the same, or if one is its source."""
    seen: dict[str, str] = {}
    places: list[Place] = []
    for name, inner in names:
        target = None if asked.command == TEST else _target(name, inner, asked)
        if target in seen:
            raise OutputError(f"{seen[target]} and {name} would both become {target}. Give one of them alone.")
        if target == name:
            raise OutputError(f"{name} does not end in {SUFFIX}, so its result would overwrite it. Give --output-dir.")
        if target:
            seen[target] = name
        places.append(Place(name, target, asked.command, options, asked.is_resumed))
    return places


def _target(name: str, inner: str, asked: Asked) -> str:
    inner = inner.rpartition("/")[2] if asked.is_flat else inner
    beside = inner if asked.folder is not None else name
    named = beside + SUFFIX if asked.command == COMPRESS else beside.removesuffix(SUFFIX)
    return f"{asked.folder.rstrip('/') or '/'}/{named}" if asked.folder is not None else named


def _exists(target: str) -> bool:
    return storage.exists(target) if storage.is_url(target) else status_of(target) is not None


@dataclass
class _Report:
    """The progress bar during the work and the report after it."""

    asked: Asked
    options: Options
    cluster: Cluster
    places: list[Place]  # in the order of the report
    order: list[Place]  # in the order of the work
    rows: list[tuple[Work, Place]] = field(default_factory=list)
    sums: Summary = field(default_factory=Summary)

    def __enter__(self) -> _Report:
        sizes = [_size(place.name) for place in self.places]
        total = None if None in sizes else sum(size or 0 for size in sizes)
        self._address, self._dashboard, self._workers = self.cluster.address, self.cluster.dashboard, self.cluster.workers()
        self._start_s = time.perf_counter()
        self._done_bytes = 0
        self._bar = Bar(f"{len(self.places)} files", total, self.options.is_quiet, self.sums)
        self._bar.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.__exit__(None, None, None)
        if error[0] and not self.rows:
            return
        elapsed_s = time.perf_counter() - self._start_s
        number = {id(place): i for i, place in enumerate(self.places)}
        self.rows.sort(key=lambda row: number[id(row[1])])
        rows = [row_of(work, place.target) for work, place in self.rows]
        if self.asked.is_json:
            about = {"address": self._address, "workers": self._workers, "dashboard": self._dashboard}
            made = test_document(rows) if self.asked.command == TEST else document(rows, about, elapsed_s)
            print(json.dumps(made, indent=1))
        elif not self.options.is_quiet:
            print_table(rows, elapsed_s, self._workers)

    def progress(self, done_bytes: int) -> None:
        self._bar.update(self._done_bytes + done_bytes)

    def over(self, work: Work) -> None:
        place = self.order[len(self.rows)]
        self.rows.append((work, place))
        self._done_bytes += _size(place.name) or 0
        self.sums.raw_bytes += work.summary.raw_bytes
        self.sums.packed_bytes += work.summary.packed_bytes
        self._bar.update(self._done_bytes)
        if work.error:
            say(f"nncomp: {shown(work.name)}: {describe(work.error)}")
        elif self.options.is_verbose and not work.is_skipped:
            what = describe_sizes(work.summary) if self.asked.command == COMPRESS else f"{work.summary.raw_bytes:,} bytes"
            say(f"{shown(work.name)}: {what}; {describe_blocks(work.summary)}")


def _largest_first(places: list[Place]) -> list[Place]:
    """Return the files with the largest first, so that none runs long alone at the end; files at URLs come last."""
    return sorted(places, key=lambda place: -(_size(place.name) or 0))


def _size(name: str) -> int | None:
    try:
        return None if storage.is_url(name) else Path(name).stat().st_size
    except OSError:
        return 0  # opening it fails later
