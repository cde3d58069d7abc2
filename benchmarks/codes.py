"""What the codes of a model are worth, by size and kind of text: with the code that is sent, none, one for all, another text's.

    python -m benchmarks.codes MODEL... --text FOLDER [--json FILE] [--plot FILE.svg]

Texts of each size are cut from each file of the folder at random lines, the same each time. Every payload is decoded and
compared. Sizes are those of the payloads. A payload with a code has no byte more: its head has the byte in any case.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nncomp.bench.machine import this_machine
from nncomp.blocks import token_payload
from nncomp.blocks.code_choice import likely_codes
from nncomp.blocks.levels import LAST, level
from nncomp.network.code import NO_CODE
from nncomp.network.engine import Network
from nncomp.network.model import read_model
from nncomp.network.registry import open_model
from nncomp.plots.picture import encode, kind_of
from nncomp.version import commit

COUNTS = {100: 8, 300: 8, 1_000: 6, 4_000: 3, 16_000: 1}  # texts of each size from each file
WAYS = "none", "sent", "one for all", "another text's"


def cuts(text: bytes, size: int, count: int) -> Iterator[bytes]:
    """Give pieces of a text of `size` bytes that begin at random lines; fewer where the text is short."""
    random = np.random.default_rng(size)
    for _ in range(count if len(text) >= size else 0):
        at = int(random.integers(0, len(text) - size + 1))
        line = text.rfind(b"\n", 0, at) + 1
        yield text[line : line + size]


def payload_bits(network: Network, data: bytes, code: int) -> tuple[int, float]:
    """Return the bytes of the payload with this code (0: none), decoded and compared, and its surprisal in bits."""
    found = token_payload.encode_and_learn(network, data, token_payload.model_start(network), code=code)
    assert token_payload.decode_tokens(network, found.payload, len(data)) == data
    return len(found.payload), found.cost_bits


def sent_code(network: Network, data: bytes) -> int:
    """Return the code that the compressor sends with the effort of -9."""
    return token_payload.encode_tokens(network, data, effort=level(LAST).effort).payload[2]


def measure(network: Network, texts: list[bytes]) -> np.ndarray[tuple[int, int, int], np.dtype[np.float64]]:
    """Return bytes and surprisal of each text in each of the WAYS, shape (texts, 4, 2)."""
    sent = [sent_code(network, text) for text in texts]
    used = [code for code in sent if code != NO_CODE] or [NO_CODE]
    one = max(set(used), key=used.count)
    likeliest = [
        choices[0].code if (choices := likely_codes(network, token_payload.model_start(network), text, 4)) else NO_CODE
        for text in texts
    ]
    others = likeliest[len(likeliest) // 2 :] + likeliest[: len(likeliest) // 2]
    rows = zip(texts, sent, others, strict=True)
    return np.array([[payload_bits(network, text, code) for code in (NO_CODE, own, one, other)] for text, own, other in rows])


def measure_sizes(path: Path, folder: Path, sizes: list[int]) -> list[dict[str, Any]]:
    """Return what each size comes to with a model: bytes and surprisal without a code, and the change by each way and kind."""
    network, found = Network(read_model(open_model(path))), list[dict[str, Any]]()
    for size in sizes:
        names, texts = list[str](), list[bytes]()
        for file in sorted(folder.glob("*.txt")):
            cut = list(cuts(file.read_bytes(), size, COUNTS[size]))
            texts += cut
            names += [file.stem] * len(cut)
        figures, kinds = measure(network, texts), np.array(names)
        none = figures[:, 0].sum(0)
        changes = {way: (part / none - 1).tolist() for way, part in zip(WAYS[1:], figures.sum(0)[1:], strict=True)}
        by_kind = {name: figures[kinds == name].sum(0) for name in sorted(set(names))}
        sent = {name: float(of_kind[1, 1] / of_kind[0, 1] - 1) for name, of_kind in by_kind.items()}
        found.append({"size": size, "texts": len(texts), "bytes": int(none[0]), "changes": changes, "kinds": sent})
        print(f"{path.stem}, {size:,} bytes, {len(texts)} texts, {none[0]:,.0f} bytes without a code")
        for way, (of_bytes, of_surprisal) in changes.items():
            print(f"  {way}: {of_bytes:+.2%} of bytes, {of_surprisal:+.2%} of surprisal")
        print("  sent, surprisal:", ", ".join(f"{name} {change:+.1%}" for name, change in sent.items()), flush=True)
    return found


def table_rows(models: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    """Give a row for each size as docs/PAPER.md has it: bytes, texts, and for each model the changes."""
    for size in [row["size"] for row in next(iter(models.values()))]:
        by_model = [next(row for row in rows if row["size"] == size) for rows in models.values()]
        cells = [f"{size:,}", str(by_model[0]["texts"])]
        for row in by_model:
            changes = [row["changes"]["sent"], *(row["changes"][way] for way in WAYS[2:])]
            cells += [f"{100 * of_surprisal:+.2f} %" for _, of_surprisal in changes]
            cells.insert(-2, f"{100 * changes[0][0]:+.2f} %")
        yield f"| {' | '.join(cells)} |"


def draw(models: dict[str, list[dict[str, Any]]], kind: str) -> bytes:
    """Return the change of surprisal by size as a picture: a line a model with the code that is sent; in grey other codes."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    figure = Figure(figsize=(7.5, 4), layout="constrained")
    axes = figure.add_subplot(xscale="log")
    for i, (name, rows) in enumerate(models.items()):
        sizes = [row["size"] for row in rows]
        for way, style in zip(WAYS[1:], ("-", ":", "--"), strict=True):
            changes = [100 * row["changes"][way][1] for row in rows]
            is_sent = way == WAYS[1]
            label = name if is_sent else way if i == 0 else None
            axes.plot(
                sizes, changes, style, color=f"C{i}" if is_sent else "#a8a29e", label=label, marker="o" if is_sent else None
            )
    axes.axhline(0, color="#1c1917", linewidth=0.8)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel("bytes of text")
    axes.set_ylabel("change of surprisal, %")
    axes.grid(color="#e7e5e4", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return encode(figure, kind)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the codes of models.")
    parser.add_argument("models", type=Path, nargs="+", help="names or files")
    parser.add_argument("--text", type=Path, required=True, help="a folder of *.txt, one of each kind")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(COUNTS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, help="the changes by size as .png or .svg")
    asked = parser.parse_args()
    found = {path.stem: measure_sizes(path, asked.text, asked.sizes) for path in asked.models}
    if asked.json:
        made = {"command": shlex.join(sys.argv), "commit": commit(), "machine": this_machine(), "models": found}
        asked.json.write_text(json.dumps(made, indent=1) + "\n")
    if asked.plot:
        asked.plot.write_bytes(draw(found, kind_of(asked.plot.name)))
    print("\n".join(table_rows(found)))


if __name__ == "__main__":
    main()
