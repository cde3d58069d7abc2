"""A page that shows a text coloured by surprisal: one HTML file that needs no other file and no connection.

The text goes into the page as escaped text, or as JSON without `<`. A content security policy with the hash of the page's own
script lets the browser run no other.
"""

# C cells, K alternatives, U units

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.resources import files
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nncomp.entropy.estimate import Estimate, open_network
from nncomp.entropy.gap import Analysis
from nncomp.entropy.report import PART_SAYS, bits_along, code_of, model_name, tenths, titled, visible
from nncomp.format.numbers import BlockKind
from nncomp.network.registry import ModelFile
from nncomp.stream.workers import run_in_order

SHOWN_BYTES = 1 << 20  # of the text; a browser is slow with more
ALTERNATIVES = 5
_BINS = 240  # of the plot
_CHUNK_CELLS = 600  # a chunk of text is coloured at once: it has as many cells, and ends with a line
_LONG_CHUNK_CELLS = 4 * _CHUNK_CELLS  # where a line is longer, its chunk ends here
_LEAST_SHARE = 1 / 65535  # the page has probabilities as multiples of this


@dataclass(frozen=True)
class LikeliestTask:
    """Tokens, for each of which the tokens that the network finds likeliest are wanted."""

    ids: NDArray[np.int32] = field(repr=False)
    model: ModelFile
    raw_bytes: int
    code: int
    primer: bytes = field(repr=False)  # what the network has read before; empty for nothing

    @property
    def input_bytes(self) -> int:
        return self.raw_bytes

    def run(self) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.float64], list[bytes]]:
        """Return the likeliest tokens (U, K), their probabilities (U, K), those of the actual tokens (U,), and the vocabulary."""
        from nncomp.network.likeliest import likeliest

        network = open_network(self.model)
        vocabulary = network.model.vocabulary
        before = vocabulary.encode(self.primer) if self.primer else self.ids[:0]
        ids_UK, probabilities_UK, actual_U = likeliest(network, np.concatenate([before, self.ids]), ALTERNATIVES, self.code)
        first = len(before)
        return ids_UK[first:], probabilities_UK[first:], actual_U[first:], list(vocabulary.tokens)


@dataclass(frozen=True, eq=False)
class Cells:
    """The pieces of text that can be pointed at: a unit each, or several units that share a character."""

    texts: list[str] = field(repr=False)  # C, as shown
    first_units: NDArray[np.int64] = field(repr=False)  # C + 1
    starts: NDArray[np.int64] = field(repr=False)  # C + 1, bytes
    bits: NDArray[np.float64] = field(repr=False)  # C


def make_cells(data: bytes, sizes: NDArray[np.int64], bits: NDArray[np.float64]) -> Cells:
    """Return the cells of a text whose units have these sizes and bits."""
    text = data.decode(errors="surrogateescape")
    codes = np.array([ord(character) for character in text], np.int64)
    is_byte = (codes < 0x80) | ((codes >= 0xDC80) & (codes <= 0xDCFF))
    widths = np.where(is_byte, 1, np.where(codes < 0x800, 2, np.where(codes < 0x10000, 3, 4)))
    characters = np.concatenate([[0], np.cumsum(widths)])
    units = np.concatenate([[0], np.cumsum(sizes)])
    starts, at_characters, at_units = np.intersect1d(characters, units, assume_unique=True, return_indices=True)
    places = at_characters.tolist()
    texts = [_with_ends(visible(text[a:b])) for a, b in pairwise(places)]
    summed = np.concatenate([[0.0], np.cumsum(bits)])
    return Cells(texts, at_units, starts, np.diff(summed[at_units]))


def _with_ends(text: str) -> str:
    """Return a text with a visible sign at the end of each line, so that the line's end can be pointed at."""
    return text.replace("\n", "\u21b5\n")


def make_page(title: str, analysis: Analysis, workers: int, progress: Callable[[int, int], None] | None = None) -> bytes:
    """Return the page of an analysis. The network runs once more over the text that is shown, to find the likeliest tokens."""
    estimates = [part for part in _shown_part(analysis.estimates) if len(part.bits)]
    shown_bytes = sum(int(each.sizes.sum()) for each in estimates)
    sizes = np.concatenate([np.zeros(0, np.int64), *(each.sizes for each in estimates)])
    bits = np.concatenate([np.zeros(0), *(each.bits for each in estimates)])
    cells = make_cells(analysis.data[:shown_bytes], sizes, bits)
    chunks = _chunk_ends(cells)
    edges, bits_per_byte = bits_along(analysis.estimates, _BINS)
    data: dict[str, Any] = {
        "cells": _packed(np.array([_utf16_units(text) for text in cells.texts], np.int64)),
        "centibits": _packed(np.round(cells.bits * 100).astype(np.int64)),
        "units": _packed(np.diff(cells.first_units)),
        "bytes": _packed(np.diff(cells.starts)),
        "chunks": chunks,
        "shown": shown_bytes,
        "edges": edges.round(2).tolist(),
        "bpb": bits_per_byte.round(4).tolist(),
    } | _alternatives(estimates, workers, progress)
    figures = {
        "title": html.escape(titled(title, analysis)),
        "summary": _summary(analysis),
        "plot": _plot(edges, bits_per_byte, analysis),
        "note": _note(analysis, shown_bytes),
        "text": _text(cells, chunks),
        "data": json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
    }
    template = files("nncomp.entropy").joinpath("page.html").read_text(encoding="utf-8")
    figures |= {f"{tag}_hash": _hash(template, tag) for tag in ("style", "script")}
    return re.sub(r"\{\{(\w+)\}\}", lambda match: figures[match[1]], template).encode()


def _shown_part(estimates: list[Estimate]) -> list[Estimate]:
    """Return the estimates of the first `SHOWN_BYTES` of the text, whole units only."""
    shown, left = [], SHOWN_BYTES
    for each in estimates:
        count = int(np.searchsorted(np.cumsum(each.sizes), left, side="right"))
        shown.append(replace(each, bits=each.bits[:count], sizes=each.sizes[:count], ids=each.ids[:count]))
        left = left - int(each.sizes[:count].sum()) if count == len(each.bits) else 0
    return shown


def _alternatives(estimates: list[Estimate], workers: int, progress: Callable[[int, int], None] | None) -> dict[str, Any]:
    """Return the likeliest tokens of each unit, as places in a list of texts, and their probabilities in 65535ths; 0 for none."""
    tasks = [
        LikeliestTask(each.ids, each.model, int(each.sizes.sum()), each.code, each.primer)
        for each in estimates
        if each.model and each.kind == BlockKind.TOKENS
    ]
    results = iter(run_in_order(tasks, LikeliestTask.run, workers))
    total_bytes, done_bytes = sum(task.raw_bytes for task in tasks), 0
    names: dict[bytes, int] = {}
    places: list[NDArray[np.int64]] = []
    shares: list[NDArray[np.int64]] = []
    actual: list[NDArray[np.int64]] = []
    for each in estimates:
        count = len(each.bits)
        if not (each.model and each.kind == BlockKind.TOKENS):
            places.append(np.zeros((count, ALTERNATIVES), np.int64))
            shares.append(np.zeros((count, ALTERNATIVES), np.int64))
            actual.append(np.zeros(count, np.int64))
            continue
        ids_UK, probabilities_UK, actual_U, tokens = next(results)
        used, inverse = np.unique(ids_UK, return_inverse=True)
        numbers = np.array([names.setdefault(tokens[i], len(names)) for i in used.tolist()], np.int64)
        places.append(numbers[inverse.ravel()].reshape(ids_UK.shape))
        shares.append(np.maximum(np.round(probabilities_UK / _LEAST_SHARE), 1).astype(np.int64))
        actual.append(np.round(-np.log2(actual_U) * 100).astype(np.int64))
        done_bytes += int(each.sizes.sum())
        if progress:
            progress(done_bytes, total_bytes)
    nothing = np.zeros((0, ALTERNATIVES), np.int64)
    return {
        "names": [_with_ends(visible(name.decode(errors="surrogateescape"))) for name in names],
        "places": _packed(np.concatenate([nothing, *places]).ravel()),
        "shares": _packed(np.concatenate([nothing, *shares]).ravel()),
        "network": _packed(np.concatenate([np.zeros(0, np.int64), *actual])),
    }


def _packed(values: NDArray[np.int64]) -> list[Any]:
    """Return how many bytes a number takes (1, 2 or 4), and all numbers in base 64, little-endian; they are 0 or more."""
    top = int(values.max(initial=0))
    width = 1 if top < 1 << 8 else 2 if top < 1 << 16 else 4
    assert values.min(initial=0) >= 0 and top < 1 << 32
    return [width, base64.b64encode(values.astype(f"<u{width}").tobytes()).decode()]


def _utf16_units(text: str) -> int:
    """Return the length of a text as a browser counts it."""
    return len(text) + sum(character > "\uffff" for character in text)


def _chunk_ends(cells: Cells) -> list[list[int]]:
    """Return for each chunk [how many cells, whether the chunk begins and ends with a line]; a very long line has several."""
    chunks: list[list[int]] = []
    count, is_inside = 0, False
    for i, text in enumerate(cells.texts):
        count += 1
        ends_line = text.endswith("\n")
        if (ends_line and count >= _CHUNK_CELLS) or count >= _LONG_CHUNK_CELLS or i == len(cells.texts) - 1:
            chunks.append([count, int(ends_line and not is_inside)])
            count, is_inside = 0, not ends_line
    return chunks


def _text(cells: Cells, chunks: list[list[int]]) -> str:
    parts, at = [], 0
    for count, is_alone in chunks:
        text = html.escape("".join(cells.texts[at : at + count]))
        parts.append(f'<div class="chunk{"" if is_alone else " run"}">{text}</div>')
        at += count
    return "".join(parts)


def _summary(analysis: Analysis) -> str:
    raw_bytes = analysis.raw_bytes
    says = PART_SAYS | {"bound": analysis.source}
    rows = []
    for name, count in tenths(analysis.parts).items():
        rate = f"{analysis.parts[name] / raw_bytes:.4f}" if raw_bytes else "&#8211;"
        label = "estimated bound" if name == "bound" else name.replace("_", " ")
        if name == "code_z" and code_of(analysis) is None:
            rows.append(f"<tr><th>{label}</th><td>none</td><td></td><td>no block has a code</td></tr>")
            continue
        rows.append(f"<tr><th>{label}</th><td>{count / 10:,.1f}</td><td>{rate}</td><td>{html.escape(says[name])}</td></tr>")
    rate = f"{8 * analysis.file_bytes / raw_bytes:.4f}" if raw_bytes else "&#8211;"
    rows.append(f'<tr class="sum"><th>file</th><td>{analysis.file_bytes:,}.0</td><td>{rate}</td><td></td></tr>')
    head = "<thead><tr><th></th><th>bytes</th><th>bits per byte</th><th></th></tr></thead>"
    return f"<table>{head}<tbody>{''.join(rows)}</tbody></table>"


def _note(analysis: Analysis, shown_bytes: int) -> str:
    models = sorted({model_name(each.model) for each in analysis.estimates if each.model})
    parts = [f"{analysis.raw_bytes:,} bytes of text.", f"Model: {', '.join(models)}." if models else "No network."]
    if primers := [len(each.primer) for each in analysis.estimates if each.primer]:
        some = "each piece" if len(primers) == len(analysis.estimates) else "some pieces"
        pieces = "the text" if len(analysis.estimates) == 1 else some
        parts.append(f"The last {max(primers):,} bytes of the reference are read before {pieces}.")
    if copied_bytes := analysis.raw_bytes - len(analysis.data):
        parts.append(f"{copied_bytes:,} of them are copied from what comes before, and not shown.")
    if shown_bytes < len(analysis.data):
        parts.append(f"The first {shown_bytes:,} bytes are shown; plot and figures are of all.")
    return html.escape(" ".join(parts))


def _plot(edges: NDArray[np.float64], bits_per_byte: NDArray[np.float64], analysis: Analysis) -> str:
    """Return the plot as SVG, 960 by 192: the script uses the same frame, 44 to 952 and 12 to 168."""
    if not len(bits_per_byte):
        return ""
    top = _nice_top(float(bits_per_byte.max()))
    xs = 44 + edges / edges[-1] * 908
    ys = 168 - bits_per_byte / top * 156
    steps = " ".join(f"H{a:.1f}V{y:.1f}H{b:.1f}" for a, b, y in zip(xs[:-1], xs[1:], ys, strict=True))
    parts = []
    for i in range(5):
        value, y = top * i / 4, 168 - 156 * i / 4
        parts.append(
            f'<line class="grid" x1="44" x2="952" y1="{y}" y2="{y}"/><text x="38" y="{y + 4}" class="y">{value:g}</text>'
        )
    step = _nice_step(float(edges[-1]))
    for byte in range(0, int(edges[-1]) + 1, step):
        x = 44 + byte / edges[-1] * 908
        parts.append(f'<text x="{x:.1f}" y="186" text-anchor="{"end" if x > 930 else "middle"}">{byte:,}</text>')
    bound = 168 - min(analysis.bound_bits / float(edges[-1]) / top, 1.0) * 156
    parts.append(f'<path class="area" d="M44 168{steps}V168Z"/><path class="line" d="M44 {ys[0]:.1f}{steps}"/>')
    parts.append(f'<line class="bound" x1="44" x2="952" y1="{bound:.1f}" y2="{bound:.1f}"/>')
    parts.append('<line class="cursor" x1="0" x2="0" y1="12" y2="168"/>')
    label = "Bits per byte along the text"
    return f'<svg id="plot" viewBox="0 0 960 192" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _nice_top(value: float) -> float:
    """Return the least of 1, 2, 4, 6, 8, 12, 16, .. that is no less than a value.

    >>> _nice_top(0.2), _nice_top(2.5), _nice_top(9)
    (1.0, 4.0, 12.0)
    """
    return next((float(top) for top in (1, 2, 4, 6, 8, 12, 16, 24, 32) if value <= top), 16.0 * float(np.ceil(value / 16)))


def _nice_step(value: float) -> int:
    """Return the least of 1, 2, 5, 10, 20, .. that goes into a value at most eight times.

    >>> _nice_step(7), _nice_step(199_493)
    (1, 50000)
    """
    return next(int(first * 10**zeros) for zeros in range(18) for first in (1, 2, 5) if value <= 8 * first * 10**zeros)


def _hash(template: str, tag: str) -> str:
    """Return the hash of the template's only style or script, as the content security policy writes it."""
    (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", template, re.DOTALL)
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
