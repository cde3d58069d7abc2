"""`nncomp bench`: finds the files, and shows the figures as a table, as JSON and as a plot."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nncomp.bench import measure
from nncomp.bench.corpora import CORPORA, cache_folder, find_corpus
from nncomp.bench.peers import peers, versions
from nncomp.cli.failures import FAILED, describe, say
from nncomp.cli.fetched import copies
from nncomp.cli.file_options import worker_count
from nncomp.cli.model_choice import choose_model
from nncomp.cli.names import shown
from nncomp.cli.sinks import Sink, open_sink
from nncomp.cli.sources import open_source
from nncomp.errors import DataError, NncompError
from nncomp.stream.storage import is_url

if TYPE_CHECKING:
    from rich.table import Table

    from nncomp.network.registry import ModelFile

_TABLE_COLUMNS = 80  # for all figures of a row; a narrower screen breaks lines but cuts no digit
_DERIVED = "ratio", "bits_per_byte", "bits_per_byte_with_model", "compress_kb_per_s", "decompress_kb_per_s"


@dataclass(frozen=True)
class Asked:
    """The options of the command; `plot` is the file name of a plot, or None."""

    is_json: bool
    workers: int
    level: int
    model: str | None
    with_others: bool
    with_bound: bool
    corpus_dir: Path | None
    plot: str | None
    is_forced: bool
    cluster: str | None = None  # address; nncomp is then measured on this cluster


@dataclass(frozen=True)
class Measured:
    """The figures of one file or of all files: results sorted by size, and the estimated bound or None."""

    name: str
    results: list[measure.Result]
    bound_bits: float | None
    is_trained_on: bool = False

    @property
    def raw_bytes(self) -> int:
        return self.results[0].raw_bytes

    @property
    def bound_bits_per_byte(self) -> float | None:
        return self.bound_bits / self.raw_bytes if self.bound_bits is not None and self.raw_bytes else None


class _Failures:
    """Says what fails; the others go on."""

    def __init__(self) -> None:
        self.are_there = False

    @contextmanager
    def said(self, name: str = "") -> Iterator[None]:
        """Say an NncompError, after the name if one is given."""
        try:
            yield
        except NncompError as error:
            say(f"nncomp: {shown(name)}: {describe(error)}" if name else f"nncomp: {describe(error)}")
            self.are_there = True


def run_bench(names: list[str], asked: Asked) -> None:
    """Measure all files. Print a table for each file and for all, or one JSON document at the end; draw the plot.

    What is wrong with a file is said, and the others are measured; then the exit status is 1.
    """
    if asked.plot is not None:
        from nncomp.plots.picture import check_can_plot

        check_can_plot()
    chosen = choose_model(asked.model, asked.level)
    workers, failures = worker_count(asked.workers), _Failures()
    # Outputs are opened before the work, so that a name that cannot be written fails at once.
    with ExitStack() as stack:
        ours = _ours(asked, chosen, workers, stack)
        compressors = [ours, *(peers() if asked.with_others else [])]
        names_of = _found(names, asked.corpus_dir, stack, failures)
        if asked.plot is not None and names_of and not any(path.stat().st_size for path in names_of):
            raise DataError("All files are empty, so there is nothing to plot.")
        sink = stack.enter_context(open_sink(asked.plot, asked.is_forced, None)) if asked.plot is not None else None
        measured: list[Measured] = []
        if names_of:
            measure.warm_up(ours)
        is_seen = _seen_in_training(chosen)
        for path, name in names_of.items():
            with failures.said(name):
                with open_source(str(path)):  # raises DataError for one that may not be read
                    pass
                results = measure.ranked(measure.measure_file(path, compressors))
                bound = measure.bound_bits(path, asked.model, workers) if asked.with_bound else None
                measured.append(Measured(name, results, bound, is_seen(path)))
                if not asked.is_json:
                    _print_results(measured[-1])
        total = _total(measured)
        if asked.is_json:
            print(json.dumps(document(measured, total, chosen), indent=1))
        elif measured:
            if len(measured) > 1:
                _print_results(total)
            _print_notes(total, bool(chosen), asked.cluster is not None)
        if sink is not None:
            if not any(each.raw_bytes for each in measured):
                raise SystemExit(FAILED)  # nothing to draw, so that no picture is left
            _draw(sink, measured, total, asked.plot or "")
    if failures.are_there:
        raise SystemExit(FAILED)


def _ours(asked: Asked, chosen: ModelFile | None, workers: int, stack: ExitStack) -> measure.Compressor:
    """Return nncomp as a compressor to measure: the command, or nncomp on a cluster."""
    if asked.cluster is None:
        return measure.nncomp_compressor(asked.model, chosen.size_bytes if chosen else 0, workers, asked.level)
    from nncomp.cli.cluster_bench import cluster_compressor
    from nncomp.cli.cluster_command import connected

    cluster = stack.enter_context(connected(asked.cluster, workers, asked.is_json))
    return cluster_compressor(cluster, chosen, asked.level)


def _found(names: list[str], corpus_dir: Path | None, stack: ExitStack, failures: _Failures) -> dict[Path, str]:
    """Return the files to measure and their names. A file at a URL is copied to a temporary folder."""
    found: dict[Path, str] = {}
    for name in names:
        with failures.said(name if is_url(name) else ""):
            if is_url(name):
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="nncomp-bench-"))
                found |= copies(name, Path(folder))
            else:
                found |= {path: str(path) for path in measure.expand(_paths(name, corpus_dir))}
    return found


def document(measured: list[Measured], total: Measured, chosen: ModelFile | None) -> dict[str, object]:
    """Return the document of docs/JSON.md."""
    rows = [{"file": each.name, "trained_on": each.is_trained_on} | _rows(each) for each in measured]
    model = {"id": chosen.model_id, "sha256": chosen.content_hash.hex(), "bytes": chosen.size_bytes} if chosen else None
    return measure.surroundings(versions()) | {
        "model": model,
        "files": rows,
        "total": _rows(total)["results"],
        "bound_bits": total.bound_bits,
    }


def _rows(measured: Measured) -> dict[str, object]:
    return {"bound_bits": measured.bound_bits, "results": [_row(each) for each in measured.results]}


def _row(result: measure.Result) -> dict[str, object]:
    return asdict(result) | {name: round(getattr(result, name), 4) for name in _DERIVED}


def _total(measured: list[Measured]) -> Measured:
    names = [each.compressor for each in measured[0].results] if measured else []
    totals = [measure.total(each for file in measured for each in file.results if each.compressor == name) for name in names]
    bounds = [each.bound_bits for each in measured if each.bound_bits is not None]
    return Measured(f"all {len(measured)} files", measure.ranked(totals), sum(bounds) if bounds else None)


def _seen_in_training(model: ModelFile | None) -> Callable[[Path], bool]:
    """Return what says whether the model was trained on a file. Its figures then say nothing about other text."""
    if model is None:
        return lambda _path: False
    from nncomp.network.model import read_model, was_trained_on

    parsed = read_model(model)
    return lambda path: was_trained_on(parsed, path.read_bytes())


def _paths(name: str, corpus_dir: Path | None) -> list[Path]:
    """Return the file or folder of this name, or the files of the corpus. With `corpus_dir`, the corpus comes first."""
    path = Path(name)
    if name in CORPORA and (corpus_dir is not None or not path.exists()):
        return find_corpus(name, cache_folder(), corpus_dir)
    return [path]


def _print_results(measured: Measured) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console()
    note = " (the model was trained on it)" if measured.is_trained_on else ""
    console.print(Text(f"{shown(measured.name)}{note}: {measured.raw_bytes:,} bytes", style="bold"))
    Console(width=max(console.width, _TABLE_COLUMNS)).print(_table(measured))
    if gap := _gap(measured):
        console.print(Text(gap))
    console.print()


def _table(measured: Measured) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="italic")
    table.add_column("compressor", overflow="fold")  # in a narrow table, names are broken and numbers are not
    for heading in ("#", "bytes", "ratio", "bpb", "+model", "KB/s in", "KB/s out", "MB"):
        table.add_column(heading, justify="right", no_wrap=True)
    for rank, each in enumerate(measured.results, 1):
        table.add_row(each.compressor, str(rank), *_figures(each), style="bold" if each.is_ours else "")
    if measured.bound_bits is not None and measured.raw_bytes:
        bound = measured.bound_bits / 8
        table.add_row("bound", "", f"{bound:,.0f}", f"{measured.raw_bytes / bound:.3f}", f"{measured.bound_bits_per_byte:.3f}")
    return table


def _figures(result: measure.Result) -> Iterator[str]:
    yield f"{result.packed_bytes:,}"
    yield f"{result.ratio:.3f}"
    yield f"{result.bits_per_byte:.3f}"
    with_model = result.bits_per_byte_with_model
    yield (f"{with_model:.3f}" if with_model < 100 else f"{with_model:,.0f}") if result.model_bytes else "-"
    yield f"{result.compress_kb_per_s:,.0f}"
    yield f"{result.decompress_kb_per_s:,.0f}"
    yield f"{result.peak_bytes / 1e6:,.0f}" if result.peak_bytes is not None else "-"


def _gap(measured: Measured) -> str | None:
    ours = next(each for each in measured.results if each.is_ours)
    if not measured.bound_bits:
        return None
    gap_bytes = ours.packed_bytes - measured.bound_bits / 8
    return f"gap: nncomp is {gap_bytes:,.0f} bytes ({8 * gap_bytes / measured.bound_bits:.2%}) above the estimated bound"


def _print_notes(total: Measured, has_model: bool, is_on_cluster: bool) -> None:
    """Print how the figures were measured, in lines of at most the screen's width."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    for line in _notes(total, has_model, is_on_cluster):
        console.print(Text(line, overflow="fold"))


def _notes(total: Measured, has_model: bool, is_on_cluster: bool) -> Iterator[str]:
    about = measure.surroundings({})
    machine = about["machine"]
    assert isinstance(machine, dict)
    yield "Every file above came back byte for byte."
    cores = f"{machine['cores']} core{'' if machine['cores'] == 1 else 's'}"
    yield f"{', '.join(filter(None, [machine['cpu'], cores]))}; nncomp {about['nncomp']}."
    yield "bpb: bits per byte" + ("; +model: with the model file." if has_model else ". No model.")
    if total.bound_bits is None:
        yield "The estimated bound and the gap to it: --bound, or nncomp entropy FILE."
    if is_on_cluster:
        yield "nncomp ran on the cluster; the start of the cluster is not counted."
    yield "Times of commands include their start. MB: largest process. Others: one thread."
    if any(each.peak_bytes is None and not each.is_ours for each in total.results):
        yield "Rows without MB: Python modules in this process."
    if len(total.results) > 1:
        yield "The front (no other compressor is both smaller and faster):"
        for label, speed in (("in", _speed_in), ("out", _speed_out)):
            ahead = sorted(measure.front(total.results, speed), key=lambda each: each.packed_bytes)
            yield f"  {label + ':':4} {', '.join(each.compressor for each in ahead)}"


def _speed_in(result: measure.Result) -> float:
    return result.compress_kb_per_s


def _speed_out(result: measure.Result) -> float:
    return result.decompress_kb_per_s


def _draw(sink: Sink, measured: list[Measured], total: Measured, name: str) -> None:
    from nncomp.entropy.report import visible
    from nncomp.plots.front import draw
    from nncomp.plots.picture import kind_of

    title = visible(Path(measured[0].name).name) if len(measured) == 1 else total.name
    heading = f"{title}: {total.raw_bytes:,} bytes"
    sink.write(draw(heading, total.results, total.bound_bits_per_byte, kind_of(name)))
