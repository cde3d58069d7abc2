"""Fills the tables of docs/PAPER.md from benchmarks/results/paper-*.jsonl.

    python -m benchmarks.paper.tables

The function NAME of this module makes the text between `<!-- NAME -->` and `<!-- end -->` of the document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.paper.runner import load

DOCUMENT = Path(__file__).parents[2] / "docs" / "PAPER.md"
Line = dict[str, Any]


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def spread(values: list[float], form: str = "{:.3f}") -> str:
    """Return the mean of values, with the lowest and the highest.

    >>> spread([1.0, 2.0]), spread([1.0])
    ('1.500 (1.000 to 2.000)', '1.000')
    """
    if len(values) == 1:
        return form.format(values[0])
    return f"{form.format(mean(values))} ({form.format(min(values))} to {form.format(max(values))})"


def grouped(name: str, *keys: str) -> dict[tuple[Any, ...], list[Line]]:
    """Return the latest line of each seed, grouped by the fields `keys`, in the order of the first lines."""
    latest: dict[tuple[Any, ...], Line] = {}
    for line in load(name):
        latest[*(line.get(key) for key in keys), line["seed"]] = line
    found: dict[tuple[Any, ...], list[Line]] = {}
    for key, line in latest.items():
        found.setdefault(key[:-1], []).append(line)
    return found


ARMS = {
    "causal": "causal network",
    "coded": "the same, with a code",
    "wider": "causal, as many parameters",
    "longer": "causal, as many processor seconds",
    "transformer": "causal transformer",
}


def architectures() -> str:
    """Net bits per byte of each arm, and against the causal network of the same seed."""
    found = {arm: {line["seed"]: line for line in lines} for (arm,), lines in grouped("architectures", "arm").items()}
    rows = []
    for arm, says in ARMS.items():
        lines = found.get(arm, {})
        if not lines:
            continue
        against = [line["final"]["net"] / found["causal"][seed]["final"]["net"] - 1 for seed, line in lines.items()]
        first = next(iter(lines.values()))
        cpu_s = mean(line["cpu_s"] for line in lines.values())
        net = spread([line["final"]["net"] for line in lines.values()])
        size = [f"{first['parameters']:,}", f"{mean(line['tokens'] for line in lines.values()) / 1e6:.2f} M", f"{cpu_s:.0f}"]
        rows.append([says, *size, str(len(lines)), net, spread(against, "{:+.2%}") if arm != "causal" else ""])
    return table(["arm", "parameters", "tokens", "CPU s", "seeds", "net bits per byte", "against the causal network"], rows)


def code_in_architectures() -> str:
    """The arm with a code, measured also without a code and with the code of another block."""
    lines = [line["final"] for line in grouped("architectures", "arm")[("coded",)]]
    rows = [
        [says, spread([line[key] for line in lines], "{:.4f}")]
        for key, says in {
            "net": "its own",
            "code": "of which code",
            "chosen": "its own or none, whichever is smaller, and a bit for the choice",
            "none": "none",
            "shuffled": "another block's",
        }.items()
    ]
    return table(["code of each block", "bits per byte"], rows)


def curve() -> str:
    """Net bits per byte over training, means over seeds."""
    found = grouped("architectures", "arm")
    arms = [arm for arm in ARMS if (arm,) in found]
    points = min(len(line["curve"]) for lines in found.values() for line in lines)
    rows = []
    for i in range(points):
        cells = [f"{(i + 1) / points:.0%}"]
        for arm in arms:
            at = [line["curve"][i] for line in found[arm,]]
            cells.append(f"{mean(p['net'] for p in at):.3f} ({mean(p['cpu_s'] for p in at):.0f} s)")
        rows.append(cells)
    return table(["of the run", *(ARMS[arm] for arm in arms)], rows)


def letters() -> str:
    """Estimates on sources of letters: how far above the truth, in percent of the truth."""
    rows = []
    for (source,), lines in grouped("sources", "source").items():
        if source == "topics":
            continue
        over = {name: [line[name] / line["truth"] - 1 for line in lines] for name in ("network", "bound", "mixing")}
        row = [source, str(len(lines)), f"{mean(line['truth'] for line in lines):.4f}"]
        row += [spread(over[name], "{:+.1%}") for name in over]
        known = "correlation" in lines[0]
        row.append(f"{mean(line['correlation'] ** 2 for line in lines):.3f}" if known else "")
        rows.append(row)
    head = [
        "source",
        "seeds",
        "truth, bits a letter",
        "network",
        "network and mixing (the bound)",
        "mixing alone",
        "R² per letter",
    ]
    return table(head, rows)


def topics() -> str:
    """Bits a block on sources with a hidden topic."""
    rows = []
    for (source, count, lanes, symbols), lines in grouped("sources", "source", "topics", "lanes", "symbols").items():
        if source == "topics":
            keys = "told", "untold", "coded", "code", "noise", "causal"
            bits = [f"{mean(line[key] for line in lines):.1f}" if key in lines[0] else "" for key in keys]
            gains = [spread([line[key] for line in lines], "{:.0%}") for key in ("gain", "gain over the best untold")]
            rows.append([f"{count} topics, {lanes} lanes of {symbols // lanes}", str(len(lines)), *bits, *gains])
    head = ["source", "seeds", "truth, topic known and charged", "truth, topic unknown", "network with a code", "of which code"]
    head += ["rounding learned from noise", "causal network", "gain over it", "gain over the truth, topic unknown"]
    return table(head, rows)


def grid() -> str:
    """Net bits per byte by size of block and lanes, means over seeds."""
    rows = []
    for (block_bytes, lanes), lines in grouped("grid", "block_bytes", "lanes").items():
        means = {key: mean(line["bpb"][key] for line in lines) for key in lines[0]["bpb"]}

        def cell(key: str, means: dict[str, float] = means) -> str:
            return f"{means[key]:.3f}" if key in means else ""

        gain = [spread([line["bpb"]["own"] / line["bpb"][key] - 1 for line in lines], "{:+.2%}") for key in ("none", "causal")]
        code = f"{means['code']:.5f}"
        others = [cell(key) for key in ("shuffled", "causal", "prefix 64", "prefix 512")]
        row = [f"{block_bytes // 1000:,} KB", str(lanes), str(len(lines)), cell("own"), code, cell("none"), *others, *gain]
        rows.append(row)
    head = ["block", "lanes", "seeds", "own code", "of which code", "no code", "shuffled", "causal", "prefix 64", "prefix 512"]
    return table([*head, "own against none", "own against causal"], rows)


def variants() -> str:
    """Codes of other sizes and prices."""
    lines = {("8 dimensions",): grouped("architectures", "arm")[("coded",)]} | grouped("variants", "variant")
    causal = {line["seed"]: line["final"]["net"] for line in grouped("architectures", "arm")[("causal",)]}
    rows = []
    for (name,), found in lines.items():
        against = [line["final"]["net"] / causal[line["seed"]] - 1 for line in found]
        row = [name, str(len(found)), spread([line["final"]["net"] for line in found])]
        row += [f"{mean(line['final'][key] for line in found):.4f}" for key in ("code", "none", "shuffled")]
        rows.append([*row, spread(against, "{:+.2%}")])
    return table(["code", "seeds", "net bits per byte", "of which code", "no code", "shuffled", "against causal"], rows)


def objectives() -> str:
    """Held-out bits per byte of each objective at its end, and where it was best to stop."""
    rows = []
    plain = {line["seed"]: line["stopped"] for line in grouped("objectives", "arm")[("cross-entropy",)]}
    for (arm,), lines in grouped("objectives", "arm").items():
        against = [line["stopped"] / plain[line["seed"]] - 1 for line in lines]
        cells = [spread([line[key] for line in lines]) for key in ("final", "stopped")]
        when = f"{mean(line['stopped_share'] for line in lines):.0%}"
        learned = f"{mean(line['learned'] for line in lines):.3f}"
        rows.append([arm, str(len(lines)), f"{lines[0]['epochs']:g}", learned, *cells, when, spread(against, "{:+.2%}")])
    head = ["objective", "seeds", "epochs", "training text", "held out, at the end", "held out, stopped early", "stopped at"]
    return table([*head, "stopped, against cross-entropy stopped"], rows)


def made() -> str:
    """Dates, commits and machines of the results."""
    names = "architectures", "sources", "grid", "variants", "objectives"
    lines = [line for name in names for line in load(name)]
    commits = sorted({line["commit"][:12] for line in lines})
    machines = sorted(
        {f"{line['machine']['cpu']}, {line['threads']} thread of {line['machine']['cores']} cores" for line in lines}
    )
    dates = sorted({line["date"] for line in lines})
    torch = sorted({line["torch"] for line in lines})
    return (
        f"{len(lines)} lines of results, {' and '.join(dates)}; commits {', '.join(commits)}; {'; '.join(machines)}; "
        f"torch {', '.join(torch)}."
    )


TABLES: list[Callable[[], str]] = [
    architectures, code_in_architectures, curve, letters, topics, grid, variants, objectives, made,
]  # fmt: skip


def filled(text: str) -> str:
    """Return the document with all tables made anew."""
    for make in TABLES:
        name = make.__name__
        before, after = f"<!-- {name} -->\n", "<!-- end -->"
        start = text.index(before) + len(before)
        text = f"{text[:start]}{make()}\n{text[text.index(after, start) :]}"
    return text


def main() -> None:
    DOCUMENT.write_text(filled(DOCUMENT.read_text()))


if __name__ == "__main__":
    main()
