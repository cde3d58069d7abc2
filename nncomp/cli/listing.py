"""`nncomp list`: the headers of a file's frames and blocks. Nothing is decoded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from itertools import zip_longest

from nncomp.api.file_info import Info, read_info
from nncomp.cli.failures import FAILED, describe, say
from nncomp.cli.names import shown
from nncomp.cli.sources import open_source
from nncomp.errors import NncompError

_NOTE = "payload: bpb without headers and checksums; nncomp entropy estimates the bound"
_GAP = "  "
_HIDDEN = 10  # hexadecimal digits of the hash that the table leaves out


def list_files(names: list[str], is_json: bool) -> None:
    """Print the listings of the files that can be read. Other files print an error, and the exit status is 1."""
    listings: list[Info] = []
    try:
        for name in names:
            try:
                with open_source(name) as source:
                    listings.append(read_info(source, name))
            except NncompError as error:
                say(f"nncomp: {shown(name)}: {describe(error)}")
        if len(listings) < len(names):
            raise SystemExit(FAILED)
    finally:
        if is_json:
            print(json.dumps({"files": [_row(listing) for listing in listings]}, indent=1))
        elif listings:
            _print_table(listings)
            if any(listing.raw_bytes for listing in listings):
                print(_NOTE)


def _row(listing: Info) -> dict[str, object]:
    row = asdict(listing)
    payload_bytes, references = row.pop("payload_bytes"), row.pop("references")  # docs/JSON.md states the order of the keys
    rates = listing.bits_per_byte, listing.payload_bits_per_byte
    rate, payload_rate = (None if each is None else round(each, 4) for each in rates)
    return row | {
        "ratio": round(listing.ratio, 4),
        "bits_per_byte": rate,
        "payload_bytes": payload_bytes,
        "payload_bits_per_byte": payload_rate,
        "references": references,
    }


def _print_table(listings: list[Info]) -> None:
    has_frames = any(each.frames > 1 for each in listings)
    headings = ["raw", "packed", "ratio", "bpb", "payload", *(["frames"] * has_frames), "blocks", "model"]
    rows = [_cells(each, has_frames) for each in listings]
    if any(each.references for each in listings):
        headings.append("reference")
        rows = [[*row, each.references or ["none"]] for row, each in zip(rows, listings, strict=True)]
    widths = [max(len(line) for row in rows for line in (heading, *row[i])) for i, heading in enumerate(headings)]
    room = shutil.get_terminal_size().columns - sum(widths) - len(_GAP) * len(widths)
    is_beside = max(len(shown(each.file)) for each in listings) <= room  # a long name gets a line of its own
    words = len(headings) - headings.index("blocks")
    print(_line(headings, widths, words, "file" if is_beside else ""))
    for each, row in zip(listings, rows, strict=True):
        if not is_beside:
            print(shown(each.file))
        lines = zip_longest(*row, fillvalue="")
        print(_line(next(lines), widths, words, shown(each.file) if is_beside else ""))
        for line in lines:
            print(_line(line, widths, words))


def _cells(listing: Info, has_frames: bool) -> list[list[str]]:
    """Return the lines of each cell of a row."""
    rates = ("-" if rate is None else f"{rate:.3f}" for rate in (listing.bits_per_byte, listing.payload_bits_per_byte))
    figures = [f"{listing.raw_bytes:,}", f"{listing.packed_bytes:,}", f"{listing.ratio:.2f}", *rates]
    blocks = [f"{kind}: {count:,}" for kind, count in listing.blocks.items()]
    blocks += [f"with a code: {listing.codes:,}"] if listing.codes else []
    models = [_short_model(model) for model in listing.models] or ["none"]
    return [*([figure] for figure in figures + [f"{listing.frames:,}"] * has_frames), blocks, models]


def _line(cells: Sequence[str], widths: Sequence[int], words: int, name: str = "") -> str:
    """Return a line: numbers right-aligned, the cells from the blocks on (words) left-aligned, then the name."""
    first = len(cells) - words
    numbers = [cell.rjust(width) for cell, width in zip(cells[:first], widths[:first], strict=True)]
    left = [cell.ljust(width) for cell, width in zip(cells[first:], widths[first:], strict=True)]
    return _GAP.join([*numbers, *left, name]).rstrip()


def _short_model(model: str) -> str:
    """Return the name of a model of nncomp, and for other models the first digits of the hash too.

    >>> _short_model("default 0123456789abcdef"), _short_model("own 0123456789abcdef")
    ('default', 'own 012345')
    """
    return model[:-_HIDDEN] if model.startswith("own ") else model.split()[0]
