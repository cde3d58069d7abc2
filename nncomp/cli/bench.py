"""`nncomp bench`: which files, and how the figures look on a screen or in JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from nncomp import bench
from nncomp.bench_data import NAME, cache_folder, find_enwik8
from nncomp.cli.transfer import choose_model, worker_count

if TYPE_CHECKING:
    from rich.table import Table

    from nncomp.registry import ModelFile

_DERIVED = "ratio", "bits_per_byte", "bits_per_byte_with_model", "compress_kb_per_s", "decompress_kb_per_s"


def run_bench(names: list[str], is_json: bool, workers: int, level: int, model: str | None, with_others: bool) -> None:
    """Measure all files and print a table after each one and of all, or one JSON document at the end."""
    chosen = choose_model(model, level)
    model_bytes = chosen.size_bytes if chosen else 0
    compressors = [bench.nncomp_compressor(model, model_bytes, worker_count(workers), level)]
    compressors += bench.other_compressors() if with_others else []
    files = list(bench.expand([_path(name) for name in names]))
    bench.warm_up(compressors[0])
    measured: list[tuple[Path, list[bench.Result]]] = []
    seen = _trained_on(chosen, files)
    for path in files:
        measured.append((path, bench.measure_file(path, compressors)))
        if not is_json:
            _print_results(f"{path} (the model was trained on it)" if path in seen else str(path), measured[-1][1])
    by_compressor = zip(*(results for _, results in measured), strict=True)
    totals = [bench.total(results) for results in by_compressor]
    if is_json:
        rows = [
            {"file": str(path), "trained_on": path in seen, "results": [_row(each) for each in results]}
            for path, results in measured
        ]
        model_row = {"id": chosen.model_id, "sha256": chosen.content_hash.hex(), "bytes": model_bytes} if chosen else None
        document = bench.surroundings() | {"model": model_row, "files": rows, "total": [_row(each) for each in totals]}
        print(json.dumps(document, indent=1))
    else:
        if len(files) > 1:
            _print_results(f"all {len(files)} files", totals)
        _print_notes(bool(chosen))


def _trained_on(model: ModelFile | None, files: list[Path]) -> set[Path]:
    """Return which of the files the model was trained on: what it makes of them says nothing of other text."""
    if model is None:
        return set()
    from nncomp.exact.weights import parse_model, was_trained_on

    parsed = parse_model(model.read(), str(model.path))
    return {path for path in files if was_trained_on(parsed, path.read_bytes())}


def _path(name: str) -> Path:
    path = Path(name)
    return find_enwik8(cache_folder()) if name == NAME and not path.exists() else path


def _row(result: bench.Result) -> dict[str, object]:
    return asdict(result) | {name: round(getattr(result, name), 4) for name in _DERIVED}


def _print_results(title: str, results: list[bench.Result]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console()
    console.print(Text(f"{title}: {results[0].raw_bytes:,} bytes", style="bold"))
    console.print(_table(results))
    console.print()


def _table(results: list[bench.Result]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="italic")
    table.add_column("compressor", no_wrap=True)
    for heading in ("bytes", "ratio", "bpb", "+model", "KB/s in", "KB/s out", "MB"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in results:
        table.add_row(each.compressor, *_figures(each))
    return table


def _figures(result: bench.Result) -> Iterator[str]:
    yield f"{result.packed_bytes:,}"
    yield f"{result.ratio:.3f}"
    yield f"{result.bits_per_byte:.3f}"
    yield f"{result.bits_per_byte_with_model:.3f}" if result.model_bytes else "-"
    yield f"{result.compress_kb_per_s:,.0f}"
    yield f"{result.decompress_kb_per_s:,.0f}"
    yield f"{result.peak_bytes / 1e6:,.0f}" if result.peak_bytes is not None else "-"


def _print_notes(has_model: bool) -> None:
    about = bench.surroundings()
    machine = about["machine"]
    assert isinstance(machine, dict)
    print(f"Every file came back byte for byte. {machine['cpu']}, {machine['cores']} cores; nncomp {about['nncomp']}.")
    print("bpb: bits per byte" + ("; +model: with the model file counted." if has_model else ". No model is installed."))
    print("The estimated bound of a text: nncomp entropy FILE.")
    print("nncomp and other commands: start included; MB: the largest process.")
    print("gzip, bzip2, xz: Python's own, in-process, one thread.")
