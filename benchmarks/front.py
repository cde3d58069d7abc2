"""nncomp at several levels and other compressors (peers), in one run: bytes, KB/s in both directions and memory for each file.

    python -m benchmarks.front PATH... [--levels 1 5] [-T 2] [--json FILE] [--plot FILE.svg]

Without --levels all levels are measured; of equal levels only the first. A peer that is not installed is left out. paq8px and
cmix are measured if they are on the PATH (a few KB/s or less). Only files that come back byte for byte count. The time of a
command includes its start. Peers use one thread. An archive of zpaq or 7z has a few hundred bytes to 1 KB besides the data.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from nncomp.bench import measure
from nncomp.bench.measure import Compressor, Result
from nncomp.bench.peers import peers, versions
from nncomp.blocks import levels
from nncomp.network.registry import open_model


def all_levels() -> list[int]:
    """Return the numbers of all levels, of equal levels only the first."""
    return [number for number, each in levels.LEVELS.items() if each not in [levels.LEVELS[n] for n in range(1, number)]]


def compressors(numbers: list[int], threads: int) -> list[Compressor]:
    """Return nncomp at each level, and all installed peers."""
    sizes = {number: open_model(levels.level(number).model).size_bytes for number in numbers}
    ours = [measure.nncomp_compressor(None, sizes[number], threads, number) for number in numbers]
    return [*ours, *peers(with_slow=True)]


def print_files(rows: list[tuple[Path, list[Result]]]) -> None:
    """Print bytes by file and compressor as Markdown."""
    names = [each.compressor for each in rows[0][1]]
    print("\n| file | bytes | " + " | ".join(names) + " |\n|---|" + "---|" * (len(names) + 1))
    for path, results in rows:
        print(f"| {path.name} | {results[0].raw_bytes:,} | " + " | ".join(f"{each.packed_bytes:,}" for each in results) + " |")


def print_totals(totals: list[Result]) -> None:
    """Print the sums as Markdown, the smallest first, with the distance to zpaq where it was measured."""
    zpaq = next((each.packed_bytes for each in totals if each.compressor == "zpaq -m5"), None)
    print("\n| compressor | bytes | bpb | to zpaq | KB/s in | KB/s out | MB |\n|---|---|---|---|---|---|---|")
    for each in measure.ranked(totals):
        distance = f"{each.packed_bytes / zpaq - 1:+.1%}" if zpaq else ""
        memory = f"{each.peak_bytes / 1e6:,.0f}" if each.peak_bytes else ""
        speeds = f"{each.compress_kb_per_s:,.0f} | {each.decompress_kb_per_s:,.0f}"
        print(f"| {each.compressor} | {each.packed_bytes:,} | {each.bits_per_byte:.3f} | {distance} | {speeds} | {memory} |")


def main(argv: list[str] | None = None) -> None:
    """Measure, print and write what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--levels", nargs="+", type=int, default=all_levels())
    parser.add_argument("-T", "--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, help="the front as .png or .svg")
    arguments = parser.parse_args(argv)
    all_of_them = compressors(arguments.levels, arguments.threads)
    measure.warm_up(all_of_them[0])
    rows = []
    for path in measure.expand(arguments.paths):
        rows.append((path, measure.measure_file(path, all_of_them)))
        print(path, *(f"{each.compressor}: {each.packed_bytes:,}" for each in rows[-1][1]), sep="; ", flush=True)
    totals = [measure.total(results) for results in zip(*(results for _, results in rows), strict=True)]
    print_files(rows)
    print_totals(totals)
    if arguments.json:
        files = [{"file": path.name, "results": [asdict(each) for each in results]} for path, results in rows]
        about = measure.surroundings(versions())
        document = {**about, "threads": arguments.threads, "files": files, "total": [asdict(each) for each in totals]}
        arguments.json.write_text(json.dumps(document, indent=1))
    if arguments.plot:
        from nncomp.plots.front import draw

        arguments.plot.write_bytes(draw(f"{len(rows)} files together", totals, None, arguments.plot.suffix[1:]))


if __name__ == "__main__":
    main()
