"""A plot of bits per byte along a text, with the bound and the file. Needs matplotlib: the extra `plot` installs it."""

from __future__ import annotations

from nncomp.entropy.gap import Analysis
from nncomp.entropy.report import bits_along, titled
from nncomp.plots.picture import encode

_BINS = 240


def draw(analysis: Analysis, title: str, kind: str) -> bytes:
    """Return the plot as a file of `kind` png or svg: the same bytes for the same analysis and matplotlib."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    edges, bits_per_byte = bits_along(analysis.estimates, _BINS)
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.add_subplot()
    if len(bits_per_byte):
        bound, coded = analysis.bound_bits / edges[-1], 8 * analysis.file_bytes / edges[-1]
        axes.stairs(bits_per_byte, edges, fill=True, color="#f3c9a5")
        axes.stairs(bits_per_byte, edges, color="#c2410c", linewidth=0.8, baseline=None)
        axes.axhline(bound, color="#1c1917", linewidth=1, linestyle="--", label=f"bound {bound:.3f}")
        axes.axhline(coded, color="#57534e", linewidth=1, linestyle=":", label=f"file {coded:.3f}")
        axes.set_xlim(0, edges[-1])
        axes.set_ylim(0, None)
        axes.legend(loc="upper right", frameon=False, ncols=2)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_title(titled(title, analysis), loc="left", fontsize=10, parse_math=False)
    axes.set_xlabel("byte")
    axes.set_ylabel("bits per byte")
    axes.spines[["top", "right"]].set_visible(False)
    return encode(figure, kind)
