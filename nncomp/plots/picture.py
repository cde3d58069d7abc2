"""Figures as PNG and SVG files. Needs matplotlib: the extra `plot` installs it. Knows nothing of what is drawn."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

from nncomp.errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = ".png", ".svg"


def check_can_plot() -> None:
    """Raise DataError unless matplotlib is installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise DataError("A plot needs matplotlib: install nncomp with its plot extra, pip install 'nncomp[plot]'.") from error


def kind_of(name: str) -> str:
    """Return png or svg, by the end of a file's name.

    >>> kind_of("front.SVG")
    'svg'
    """
    return name.lower().rpartition(".")[2]


def encode(figure: Figure, kind: str) -> bytes:
    """Return a figure as a file of `kind` png or svg: the same bytes for the same figure and matplotlib."""
    import matplotlib

    sink = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "nncomp"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a file's name may have letters that the font lacks
        figure.savefig(sink, format=kind, dpi=160, metadata={"Date": None} if kind == "svg" else None)
    return sink.getvalue()
