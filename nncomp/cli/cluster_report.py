"""The report on the files of a cluster: a table, or the JSON document of docs/JSON.md."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from nncomp.cli.failures import describe
from nncomp.cli.names import shown

if TYPE_CHECKING:
    from nncomp.cluster.many_files import Work


class State(StrEnum):
    """The outcome of a file."""

    DONE = "done"
    SKIPPED = "skipped"  # the output was complete and valid
    FAILED = "failed"


@dataclass(frozen=True)
class Row:
    """One file: sizes in bytes, blocks of each kind, seconds that workers spent on it."""

    file: str
    output: str | None
    state: State
    raw_bytes: int | None
    packed_bytes: int | None
    blocks: dict[str, int] | None
    worker_s: float
    error: str | None


def row_of(work: Work, output: str | None) -> Row:
    """Return the row of a file; only a file that was done has sizes and blocks."""
    spent_s = round(work.worker_s, 3)
    if work.error:
        return Row(work.name, output, State.FAILED, None, None, None, spent_s, describe(work.error))
    if work.is_skipped:
        return Row(work.name, output, State.SKIPPED, None, None, None, spent_s, None)
    sizes = work.summary.raw_bytes, work.summary.packed_bytes
    return Row(work.name, output, State.DONE, *sizes, dict(work.summary.kinds), spent_s, None)


def document(rows: list[Row], about: dict[str, Any], elapsed_s: float) -> dict[str, Any]:
    """Return the document of compress and decompress; `about` is the cluster."""
    return {"cluster": about, "files": [asdict(row) for row in rows], "total": _total(rows, elapsed_s)}


def test_document(rows: list[Row]) -> dict[str, Any]:
    """Return the document of `nncomp test`, the same as without a cluster."""
    return {
        "files": [
            {
                "file": row.file,
                "is_whole": row.state is State.DONE,
                "raw_bytes": row.raw_bytes,
                "blocks": row.blocks,
                "error": row.error,
            }
            for row in rows
        ]
    }


def _total(rows: list[Row], elapsed_s: float) -> dict[str, Any]:
    counts = {str(state): sum(row.state is state for row in rows) for state in State}
    return counts | {
        "raw_bytes": sum(row.raw_bytes or 0 for row in rows),
        "packed_bytes": sum(row.packed_bytes or 0 for row in rows),
        "worker_s": round(sum(row.worker_s for row in rows), 3),
        "elapsed_s": round(elapsed_s, 3),
    }


def print_table(rows: list[Row], elapsed_s: float, workers: int) -> None:
    """Print a line for each file and one for all of them."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("file", overflow="fold")
    table.add_column("", no_wrap=True)
    for heading in ("raw", "packed", "ratio", "worker s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(Text(shown(row.file)), str(row.state), *_figures(row.raw_bytes, row.packed_bytes, row.worker_s))
    total = _total(rows, elapsed_s)
    counts = ", ".join(f"{total[state]} {state}" for state in State if total[state])
    figures = _figures(total["raw_bytes"], total["packed_bytes"], total["worker_s"])
    table.add_row(Text(f"{len(rows)} files"), "", *figures, style="bold")
    console = Console()
    console.print(table)
    speed = f", {total['raw_bytes'] / 1000 / elapsed_s:,.0f} KB/s" if total["raw_bytes"] else ""
    console.print(Text(f"{counts or 'nothing done'}; {elapsed_s:,.1f} s{speed}, {workers} workers"))


def _figures(raw_bytes: int | None, packed_bytes: int | None, worker_s: float) -> list[str]:
    if raw_bytes is None or packed_bytes is None:
        return ["-", "-", "-", "-"]
    ratio = f"{raw_bytes / packed_bytes:.2f}" if packed_bytes else "-"
    return [f"{raw_bytes:,}", f"{packed_bytes:,}", ratio, f"{worker_s:,.1f}"]
