"""`nncomp list`: what the frames of a file say of themselves, without decoding them."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field

from nncomp.cli.failures import for_each
from nncomp.cli.files import open_source
from nncomp.codec import BlockKind
from nncomp.container import FrameBlock, Readable, read_blocks
from nncomp.registry import LEVELS

_HIDDEN = 10  # hexadecimal digits of a model's hash that a table leaves out


@dataclass
class Listing:
    """One file: sizes in bytes, blocks of each kind, models by name and hash."""

    file: str
    frames: int = 0
    blocks: dict[str, int] = field(default_factory=dict)
    raw_bytes: int = 0
    packed_bytes: int = 0
    models: list[str] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        return self.raw_bytes / self.packed_bytes

    @property
    def bits_per_byte(self) -> float | None:
        return 8 * self.packed_bytes / self.raw_bytes if self.raw_bytes else None


def read_listing(name: str) -> Listing:
    """Return the listing of one file; raises FormatError when it is not laid out as a .nnc file is."""
    listing, kinds = Listing(name), Counter[str]()
    models: dict[str, None] = {}  # in the order in which they are met
    with open_source(name) as source:
        counted = _Counted(source)
        for found in read_blocks(counted):
            listing.frames = found.frame + 1
            listing.raw_bytes += found.block.raw_bytes
            kinds[_kind_name(found)] += 1
            if found.model:
                models[f"{_level_name(found.model.model_id)} {found.model.content_hash.hex()}"] = None
        listing.packed_bytes = counted.position
    listing.blocks, listing.models = dict(kinds), list(models)
    return listing


def list_files(names: list[str], is_json: bool) -> None:
    """Print the listings of all files that can be read; the others are failures."""
    listings: list[Listing] = []
    try:
        for_each(names, lambda name: listings.append(read_listing(name)))
    finally:
        if is_json:
            rows = [asdict(listing) | _rates(listing) for listing in listings]
            print(json.dumps({"files": rows}, indent=1))
        elif listings:
            _print_table(listings)


def _rates(listing: Listing) -> dict[str, float | None]:
    rate = listing.bits_per_byte
    return {"ratio": round(listing.ratio, 4), "bits_per_byte": None if rate is None else round(rate, 4)}


def _print_table(listings: list[Listing]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading, justify in (("file", "left"), ("frames", "right"), ("blocks", "left"), ("raw", "right"), ("packed", "right")):
        table.add_column(heading, justify=justify, overflow="fold", no_wrap=justify == "right")  # type: ignore[arg-type]
    for heading in ("ratio", "bpb"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("model", no_wrap=True)
    for each in listings:
        blocks = ", ".join(f"{kind}: {count}" for kind, count in each.blocks.items())
        sizes = f"{each.raw_bytes:,}", f"{each.packed_bytes:,}", f"{each.ratio:.2f}"
        rate = "-" if each.bits_per_byte is None else f"{each.bits_per_byte:.3f}"
        models = ", ".join(model[:-_HIDDEN] for model in each.models) or "none"
        table.add_row(Text(each.file), str(each.frames), blocks, *sizes, rate, models)
    Console().print(table)


def _kind_name(found: FrameBlock) -> str:
    kinds = {kind.value: kind.name.lower() for kind in BlockKind}
    return kinds.get(found.block.kind, f"kind {found.block.kind}")


def _level_name(model_id: int) -> str:
    return next((name for name, known in LEVELS.items() if known == model_id), "own")


class _Counted:
    """A stream that knows how many bytes it gave."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self.position = 0

    def read(self, count: int) -> bytes:
        data = self._stream.read(count)
        self.position += len(data)
        return data
