"""nncomp at several levels beside other compressors: bytes, KB/s both ways and memory of every file, all in one run.

    python -m benchmarks.front PATH... [--levels 1 5] [-T 2] [--json FILE] [--plot FILE.svg]

A peer that is not installed is left out; paq8px and cmix are measured if they are on the PATH. Nothing is counted that does
not come back byte for byte. Commands are timed with their start; gzip, bzip2 and xz are Python's own, in-process, one thread.
zpaq works with one thread; an archive of zpaq or 7z carries a few hundred bytes to 1 KB of its own.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
from dataclasses import asdict
from pathlib import Path

from nncomp import bench, levels
from nncomp.bench import Compressor, Result
from nncomp.registry import level_path

# In a folder with the raw file as "raw": what makes "made", and what makes "back" of it.
ARCHIVERS = {
    "7z PPMd": ("7z", "7z a -bd -m0=PPMd:o16:mem256m made.7z raw && mv made.7z made", "7z e -bd -so made > back"),
    "zpaq -m5": (
        "zpaq",
        "zpaq a made.zpaq raw -method 5 -threads 1 && mv made.zpaq made",
        "mv made made.zpaq && zpaq x made.zpaq raw -to back -threads 1",
    ),
    "paq8px -8": ("paq8px", "paq8px -8 raw made", "paq8px -d made back"),
    "cmix": ("cmix", "cmix -c raw made", "cmix -d made back"),
}


def archiver(name: str, pack: str, unpack: str) -> Compressor:
    """Return a compressor that wants its file in a folder; copying it there is part of its time."""

    def command(line: str, source: str, name_there: str, made: str, target: str) -> list[str]:
        folder = shlex.quote(str(Path(target).parent / "archive"))
        script = f"rm -rf {folder} && mkdir {folder} && cd {folder} && cp {shlex.quote(source)} {name_there} && {line}"
        return ["sh", "-c", f"{{ {script} && mv {made} {shlex.quote(target)}; }} >&2"]

    def packing(raw: str, packed: str) -> list[str]:
        return command(pack, raw, "raw", "made", packed)

    def unpacking(packed: str, back: str) -> list[str]:
        return command(unpack, packed, "made", "back", back)

    return bench.command_compressor(name, packing, unpacking)


def compressors(numbers: list[int], threads: int) -> list[Compressor]:
    """Return nncomp at each of the levels, and all peers that are installed."""
    sizes = {number: level_path(levels.level(number).model).stat().st_size for number in numbers}
    ours = [bench.nncomp_compressor(None, sizes[number], threads, number) for number in numbers]
    archivers = [archiver(name, pack, back) for name, (command, pack, back) in ARCHIVERS.items() if shutil.which(command)]
    return [*ours, *bench.other_compressors(), *archivers]


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
    for each in bench.ranked(totals):
        distance = f"{each.packed_bytes / zpaq - 1:+.1%}" if zpaq else ""
        memory = f"{each.peak_bytes / 1e6:,.0f}" if each.peak_bytes else ""
        speeds = f"{each.compress_kb_per_s:,.0f} | {each.decompress_kb_per_s:,.0f}"
        print(f"| {each.compressor} | {each.packed_bytes:,} | {each.bits_per_byte:.3f} | {distance} | {speeds} | {memory} |")


def main() -> None:
    """Measure, print and write what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--levels", nargs="+", type=int, default=[1, 5])
    parser.add_argument("-T", "--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, help="the front as .png or .svg")
    arguments = parser.parse_args()
    all_of_them = compressors(arguments.levels, arguments.threads)
    bench.warm_up(all_of_them[0])
    rows = []
    for path in bench.expand(arguments.paths):
        rows.append((path, bench.measure_file(path, all_of_them)))
        print(path, *(f"{each.compressor}: {each.packed_bytes:,}" for each in rows[-1][1]), sep="; ", flush=True)
    totals = [bench.total(results) for results in zip(*(results for _, results in rows), strict=True)]
    print_files(rows)
    print_totals(totals)
    if arguments.json:
        files = [{"file": path.name, "results": [asdict(each) for each in results]} for path, results in rows]
        document = {**bench.surroundings(), "threads": arguments.threads, "files": files}
        arguments.json.write_text(json.dumps(document, indent=1))
    if arguments.plot:
        from nncomp.bench_plot import draw

        arguments.plot.write_bytes(draw(f"{len(rows)} files together", totals, None, arguments.plot.suffix[1:]))


if __name__ == "__main__":
    main()
