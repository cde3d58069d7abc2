"""`nncomp list`: the headers of a file's frames and blocks. Nothing is decoded."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import zip_longest

from nncomp.cli.failures import for_each
from nncomp.cli.files import open_source
from nncomp.cli.names import shown
from nncomp.errors import FormatError
from nncomp.format.frame_reader import read_blocks
from nncomp.format.frames import FrameBlock, Readable
from nncomp.format.numbers import MODEL_IDS, BlockKind
from nncomp.format.payloads import TokensHead

_NOTE = "bound: without headers and checksums; nncomp entropy FILE estimates it in full"
_GAP = "  "
_HIDDEN = 10  # hexadecimal digits of the hash that the table leaves out


@dataclass
class Listing:
    """One file: sizes in bytes, blocks of each kind, models by name and hash, blocks with a code."""

    file: str
    frames: int = 0
    blocks: dict[str, int] = field(default_factory=dict)
    raw_bytes: int = 0
    packed_bytes: int = 0
    models: list[str] = field(default_factory=list)
    codes: int = 0  # blocks that have a code
    payload_bytes: int = 0

    @property
    def ratio(self) -> float:
        return self.raw_bytes / self.packed_bytes

    @property
    def bits_per_byte(self) -> float | None:
        return 8 * self.packed_bytes / self.raw_bytes if self.raw_bytes else None

    @property
    def bound_bits_per_byte(self) -> float | None:
        """The bits of the payloads: the cross-entropy of `nncomp compress` plus the range coder's rounding."""
        return 8 * self.payload_bytes / self.raw_bytes if self.raw_bytes else None


def read_listing(name: str) -> Listing:
    """Return the listing of one file; raises FormatError if the file is not laid out as a .nnc file."""
    listing, kinds = Listing(name), Counter[str]()
    models: dict[str, None] = {}  # in order of appearance
    with open_source(name) as source:
        counted = _Counted(source)
        for found in read_blocks(counted):
            listing.frames = found.frame + 1
            listing.raw_bytes += found.block.raw_bytes
            listing.payload_bytes += len(found.block.payload) + (len(found.block.copies.payload) if found.block.copies else 0)
            kinds[_kind_name(found)] += 1
            listing.codes += _has_code(found)
            if found.model:
                models[f"{_model_name(found.model.model_id)} {found.model.content_hash.hex()}"] = None
        listing.packed_bytes = counted.position
    listing.blocks, listing.models = dict(kinds), list(models)
    return listing


def list_files(names: list[str], is_json: bool) -> None:
    """Print the listings of the files that can be read. Other files print an error, and the exit status is 1."""
    listings: list[Listing] = []
    try:
        for_each(names, lambda name: listings.append(read_listing(name)))
    finally:
        if is_json:
            print(json.dumps({"files": [_row(listing) for listing in listings]}, indent=1))
        elif listings:
            _print_table(listings)
            if any(listing.raw_bytes for listing in listings):
                print(_NOTE)


def _row(listing: Listing) -> dict[str, object]:
    row = asdict(listing)
    payload_bytes = row.pop("payload_bytes")  # docs/JSON.md states the order of the keys
    rates = listing.bits_per_byte, listing.bound_bits_per_byte
    rate, bound = (None if each is None else round(each, 4) for each in rates)
    return row | {
        "ratio": round(listing.ratio, 4),
        "bits_per_byte": rate,
        "payload_bytes": payload_bytes,
        "bound_bits_per_byte": bound,
    }


def _print_table(listings: list[Listing]) -> None:
    has_frames = any(each.frames > 1 for each in listings)
    headings = ["raw", "packed", "ratio", "bpb", "bound", *(["frames"] * has_frames), "blocks", "model"]
    rows = [_cells(each, has_frames) for each in listings]
    widths = [max(len(line) for row in rows for line in (heading, *row[i])) for i, heading in enumerate(headings)]
    room = shutil.get_terminal_size().columns - sum(widths) - len(_GAP) * len(widths)
    is_beside = max(len(shown(each.file)) for each in listings) <= room  # a long name gets a line of its own
    print(_line(headings, widths, "file" if is_beside else ""))
    for each, row in zip(listings, rows, strict=True):
        if not is_beside:
            print(shown(each.file))
        lines = zip_longest(*row, fillvalue="")
        print(_line(next(lines), widths, shown(each.file) if is_beside else ""))
        for line in lines:
            print(_line(line, widths))


def _cells(listing: Listing, has_frames: bool) -> list[list[str]]:
    """Return the lines of each cell of a row."""
    rates = ("-" if rate is None else f"{rate:.3f}" for rate in (listing.bits_per_byte, listing.bound_bits_per_byte))
    figures = [f"{listing.raw_bytes:,}", f"{listing.packed_bytes:,}", f"{listing.ratio:.2f}", *rates]
    blocks = [f"{kind}: {count:,}" for kind, count in listing.blocks.items()]
    blocks += [f"with a code: {listing.codes:,}"] if listing.codes else []
    models = [_short_model(model) for model in listing.models] or ["none"]
    return [*([figure] for figure in figures + [f"{listing.frames:,}"] * has_frames), blocks, models]


def _line(cells: Sequence[str], widths: Sequence[int], name: str = "") -> str:
    """Return a line: numbers right-aligned, the last two cells (words) left-aligned, then the name."""
    numbers = [cell.rjust(width) for cell, width in zip(cells[:-2], widths[:-2], strict=True)]
    words = [cell.ljust(width) for cell, width in zip(cells[-2:], widths[-2:], strict=True)]
    return _GAP.join([*numbers, *words, name]).rstrip()


def _short_model(model: str) -> str:
    """Return the name of a model of nncomp, and for other models the first digits of the hash too.

    >>> _short_model("default 0123456789abcdef"), _short_model("own 0123456789abcdef")
    ('default', 'own 012345')
    """
    return model[:-_HIDDEN] if model.startswith("own ") else model.split()[0]


def _kind_name(found: FrameBlock) -> str:
    kinds = {kind.value: kind.name.lower() for kind in BlockKind}
    return kinds.get(found.block.kind, f"kind {found.block.kind}")


def _has_code(found: FrameBlock) -> bool:
    """Return whether a block has a code, a byte of its payload's head; a damaged head has none."""
    try:
        return found.block.kind == BlockKind.TOKENS and TokensHead.parse(found.block.payload).code != 0
    except FormatError:
        return False


def _model_name(model_id: int) -> str:
    return next((name for name, known in MODEL_IDS.items() if known == model_id), "own")


class _Counted:
    """A stream that counts the bytes it gave."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self.position = 0

    def read(self, count: int) -> bytes:
        data = self._stream.read(count)
        self.position += len(data)
        return data
