"""The tables of figures in README.md and docs/BENCHMARKS.md, made from the results of `benchmarks.front`.

    python -m benchmarks.tables RESULTS.json [--other RESULTS.json] [--levels LEVELS.json]

`--other` are results of another processor, for its speeds.

The tables stand between two comments, `<!-- figures -->` and `<!-- /figures -->`. A table of all levels stands between
`<!-- levels -->` and `<!-- /levels -->` in docs/BENCHMARKS.md, which names the results. Nothing else of a page is touched.
tests/test_tables.py holds the pages equal to what this module makes of the results.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nncomp.bench.measure import Result, ranked, total
from nncomp.blocks.levels import LEVELS

ROOT = Path(__file__).resolve().parent.parent
README, BENCHMARKS = ROOT / "README.md", ROOT / "docs" / "BENCHMARKS.md"
BINARY = "kennedy.xls", "ptt5", "sum"  # of the Canterbury corpus: no text, so in no sum of text
SPEED_FILE = "enwik8-head"  # one long text: of short files the start of a command is most of the time
IN_README = ("xz -9e", "zstd -22", "brotli -q 11", "7z PPMd", "zpaq -m5")
BY_FILE = ("xz -9e", "7z PPMd", "zpaq -m5")  # the columns beside nncomp's
PEER, USUAL = "zpaq -m5", "nncomp -5"

Row = dict[str, Result]


def results(document: dict[str, Any]) -> dict[str, Row]:
    """Return the results of each file, by file and compressor."""
    files = {each["file"]: [Result(**row) for row in each["results"]] for each in document["files"]}
    return {name: {row.compressor: row for row in rows} for name, rows in files.items()}


def of_text(rows: dict[str, Row]) -> Row:
    """Return the sums of each compressor over all files that are text."""
    texts = [row for name, row in rows.items() if name not in BINARY]
    return {name: total(row[name] for row in texts) for name in texts[0]}


def machine(document: dict[str, Any]) -> str:
    """Return processor, instructions, caches and cores, as the results name them.

    >>> machine({"machine": {"cpu": "AMD EPYC", "cores": 2}})
    'AMD EPYC, 2 cores'
    >>> here = {"cpu": "AMD EPYC", "kind": "znver3", "instructions": ["avx2"], "caches": {"L2": 512, "L3": 32768}, "cores": 2}
    >>> machine({"machine": here})
    'AMD EPYC (znver3; avx2; L2 512 KiB, L3 32 MiB), 2 cores'
    """
    here = document["machine"]
    sizes = {level: f"{size} KiB" if size % 1024 else f"{size // 1024} MiB" for level, size in here.get("caches", {}).items()}
    caches = ", ".join(f"{level} {size}" for level, size in sizes.items() if level != "L1")
    facts = "; ".join(filter(None, [here.get("kind"), ", ".join(here.get("instructions", [])), caches]))
    return f"{here['cpu']}{f' ({facts})' if facts else ''}, {here['cores']} cores"


def kind(document: dict[str, Any]) -> str:
    """Return the short name of the processor."""
    return str(document["machine"].get("kind", document["machine"]["cpu"]))


def date(source: str) -> str:
    """Return when results were taken: the date that the name of their file begins with."""
    found = re.match(r"\d{4}-\d\d-\d\d", Path(source).name)
    return found[0] if found else "no date"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table; all columns but the first are figures."""
    names = list(head)
    lines = [names, ["---", *["---:"] * (len(names) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def percent(ours: int, theirs: int) -> str:
    """Return how much larger or smaller a size is than another.

    >>> percent(90, 100)
    '-10.0 %'
    """
    return f"{ours / theirs - 1:+.1%}".replace("%", " %")


def sizes(row: Result, rows: Row) -> list[str]:
    """Return name, bytes and bits per byte of a compressor, and how far it is from PEER."""
    distance = percent(row.packed_bytes, rows[PEER].packed_bytes) if row.compressor != PEER else ""
    return [row.compressor, f"{row.packed_bytes:,}", f"{row.bits_per_byte:.3f}", distance]


def speeds(row: Result) -> list[str]:
    """Return KB/s in and out, and MB of memory where they were measured."""
    memory = f"{row.peak_bytes / 1e6:,.0f}" if row.peak_bytes else ""
    return [f"{row.compress_kb_per_s:,.0f}", f"{row.decompress_kb_per_s:,.0f}", memory]


def readme_figures(document: dict[str, Any], source: str, other: dict[str, Any], other_source: str) -> str:
    """Return the one table of the README: sizes of all text, speed and memory of one long text, speed on another processor."""
    rows, others = results(document), results(other)[SPEED_FILE]
    text, long = of_text(rows), rows[SPEED_FILE]
    shown = [row for row in ranked(text.values()) if row.is_ours or row.compressor in IN_README]

    def both(name: str) -> list[str]:
        here, there = speeds(long[name]), speeds(others[name])
        return [f"{here[0]} / {there[0]}", f"{here[1]} / {there[1]}", here[2]]

    lines = [[*sizes(row, text), *both(row.compressor)] for row in shown]
    count = len([name for name in rows if name not in BINARY])
    raw = next(iter(text.values())).raw_bytes
    names = f"{kind(document)} / {kind(other)}"
    head = [
        "",
        f"{count} texts, {raw:,} bytes",
        "bits per byte",
        f"to {PEER}",
        f"compress, KB/s, {names}",
        f"decompress, KB/s, {names}",
        "memory, MB",
    ]
    return (
        f"Processors: {machine(document)}, {date(source)}; {machine(other)}, {date(other_source)}. "
        f"nncomp has {document['threads']} threads, the others one.\n"
        f"Every file was decoded and compared. Speed and memory (of the largest process) are of `{SPEED_FILE}`, "
        f"{long[USUAL].raw_bytes:,} bytes, start included.\n"
        f"Model files are not counted: {model_sizes(text)}.\n\n{table(head, lines)}"
    )


def other_speeds(document: dict[str, Any], other: dict[str, Any], other_source: str) -> str:
    """Return what part of PEER's speed nncomp has on two processors."""

    def share(rows: Row, name: str) -> list[str]:
        ours, peer = rows[name], rows[PEER]
        quotients = peer.compress_s / ours.compress_s, peer.decompress_s / ours.decompress_s
        return [f"{each:.2f}" for each in quotients]

    here, there = results(document)[SPEED_FILE], results(other)[SPEED_FILE]
    names = [kind(each) for each in (document, other)]
    head = ["", *(f"{name}, {way}" for name in names for way in ("compress", "decompress"))]
    lines = [[name, *share(here, name), *share(there, name)] for name, row in here.items() if row.is_ours]
    return (
        f"Speed of nncomp with {document['threads']} threads to that of {PEER} with one, on {kind(document)} and on another "
        f"processor, {machine(other)} (`{other_source}`, {date(other_source)}):\n\n{table(head, lines)}"
    )


def model_sizes(text: Row) -> str:
    """Return what the models take, by the levels that were measured."""
    levels: dict[int, list[str]] = {}
    for name, row in text.items():
        if row.is_ours:
            levels.setdefault(row.model_bytes, []).append(name.removeprefix("nncomp "))
    return ", ".join(f"{size:,} bytes for {' and '.join(names)}" for size, names in levels.items())


def page_figures(document: dict[str, Any], source: str, other: dict[str, Any], other_source: str) -> str:
    """Return the tables of docs/BENCHMARKS.md: sums of text, each file, and one long text, also on another processor."""
    rows = results(document)
    text = of_text(rows)
    ours = [name for name, row in text.items() if row.is_ours]
    peers = [name for name in text if name not in ours]
    return "\n\n".join(
        [
            f"Results: `{source}` ({date(source)}, with the models of that day).\nProcessor: {machine(document)}. "
            f"nncomp works with {document['threads']} threads, the others with one.\n"
            f"Memory is of the largest process. Model files are not counted: {model_sizes(text)}.",
            "### All text together",
            sums(text),
            f"### {SPEED_FILE}, {rows[SPEED_FILE][USUAL].raw_bytes:,} bytes",
            sums(rows[SPEED_FILE]),
            other_speeds(document, other, other_source),
            "### File by file",
            by_file(rows, text, ours),
            "\n".join(f"- {sentence}" for sentence in larger(rows, ours, peers)),
        ]
    )


def sums(rows: Row) -> str:
    """Return a row for each compressor, the smallest first."""
    head = ["", "bytes", "bits per byte", f"to {PEER}", "compress, KB/s", "decompress, KB/s", "memory, MB"]
    return table(head, [[*sizes(row, rows), *speeds(row)] for row in ranked(rows.values())])


def by_file(rows: dict[str, Row], text: Row, ours: list[str]) -> str:
    """Return the bytes of each file, text before the sum of it, and what is no text after it."""

    def line(name: str, row: Row) -> list[str]:
        usual = row[USUAL]
        sizes = [f"{row[each].packed_bytes:,}" for each in (*ours, *BY_FILE)]
        return [
            name,
            f"{usual.raw_bytes:,}",
            *sizes,
            f"{usual.bits_per_byte:.3f}",
            percent(usual.packed_bytes, row[PEER].packed_bytes),
        ]

    lines = [line(name, row) for name, row in rows.items() if name not in BINARY]
    lines.append(line("**all text**", text))
    lines += [line(f"{name} (binary)", row) for name, row in rows.items() if name in BINARY]
    short = [each.removeprefix("nncomp ") for each in ours]
    return table(["file", "bytes", *short, *BY_FILE, "bpb of -5", "-5 to zpaq"], lines)


def larger(rows: dict[str, Row], ours: list[str], peers: list[str]) -> list[str]:
    """Return, for each level, which files another compressor makes smaller."""
    found = []
    for level in ours:
        better = [
            f"`{file}` ({', '.join(peer for peer in peers if row[peer].packed_bytes < row[level].packed_bytes)})"
            for file, row in rows.items()
            if any(row[peer].packed_bytes < row[level].packed_bytes for peer in peers)
        ]
        many = f"{len(better)} of {len(rows)} files" if better else "no file"
        which = f": {', '.join(better)}" if better else ""
        found.append(f"{level.removeprefix('nncomp ')}: another compressor is smaller on {many}{which}.")
    return found


def level_figures(document: dict[str, Any], source: str) -> str:
    """Return the table of all levels: what they take, make, and cost, and zpaq beside them."""
    rows = {name: total(row[name] for row in results(document).values()) for name in next(iter(results(document).values()))}
    lines = []
    for name, row in rows.items():
        if row.is_ours:
            level = int(name.removeprefix("nncomp -"))
            same = [number for number, each in LEVELS.items() if each == LEVELS[level]]
            lines.append([", ".join(f"-{number}" for number in same), f"{row.packed_bytes:,}", *speeds(row)])
    lines.append([PEER, f"{rows[PEER].packed_bytes:,}", *speeds(rows[PEER])])
    files = " and ".join(f"`{each['file']}`" for each in document["files"])
    return (
        f"Results: `{source}` ({date(source)}). Files: {files}, {rows[USUAL].raw_bytes:,} bytes together. "
        f"Processor: {machine(document)}; nncomp with {document['threads']} threads.\n\n"
        + table(["level", "bytes", "compress, KB/s", "decompress, KB/s", "memory, MB"], lines)
    )


def replaced(page: str, name: str, made: str) -> str:
    """Return a page with what stands between the two comments of a name replaced."""
    found = re.subn(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", lambda at: f"{at[1]}\n{made}\n\n{at[2]}", page, flags=re.DOTALL)
    assert found[1] == 1, f"a page has one part <!-- {name} -->"
    return found[0]


def named_results(page: str, name: str) -> list[str]:
    """Return which results a part of a page names, in order."""
    part = page.split(f"<!-- {name} -->\n")[1].split(f"<!-- /{name} -->")[0]
    found = re.findall(r"`(benchmarks/results/.+?)`", part)
    assert found, f"the part <!-- {name} --> names its results"
    return found


def read(source: str) -> dict[str, Any]:
    """Return the results in a file of the repository."""
    document: dict[str, Any] = json.loads((ROOT / source).read_text(encoding="utf-8"))
    return document


def pages(source: str, other: str, levels: str) -> dict[Path, str]:
    """Return README.md and docs/BENCHMARKS.md with the tables of these results; names are from the root of the repository."""
    fronts = read(source), source, read(other), other
    benchmarks = replaced(BENCHMARKS.read_text(encoding="utf-8"), "figures", page_figures(*fronts))
    return {
        README: replaced(README.read_text(encoding="utf-8"), "figures", readme_figures(*fronts)),
        BENCHMARKS: replaced(benchmarks, "levels", level_figures(read(levels), levels)),
    }


def named(page: str) -> tuple[str, str, str]:
    """Return the results that docs/BENCHMARKS.md names: the front, that of another processor, and the levels."""
    front, other = named_results(page, "figures")
    (levels,) = named_results(page, "levels")
    return front, other, levels


def main(argv: list[str] | None = None) -> None:
    """Rewrite the tables of both pages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    results_help = "of `python -m benchmarks.front PATH... -T 2 --json FILE`, in this repository"
    parser.add_argument("results", type=Path, help=results_help)
    parser.add_argument("--other", type=Path, help="the same, on another processor; those that are named already otherwise")
    parser.add_argument(
        "--levels", type=Path, help="the same, of all levels on a few files; those that are named already otherwise"
    )
    arguments = parser.parse_args(argv)

    def name(path: Path) -> str:
        return path.resolve().relative_to(ROOT).as_posix()

    _, other, levels = named(BENCHMARKS.read_text(encoding="utf-8"))
    if arguments.other:
        other = name(arguments.other)
    if arguments.levels:
        levels = name(arguments.levels)
    for path, text in pages(name(arguments.results), other, levels).items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
