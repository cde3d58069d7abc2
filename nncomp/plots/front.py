"""A plot of compressors and their front: bits per byte against speed, for compressing and for decompressing.

Needs matplotlib: the extra `plot` installs it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from nncomp.bench.measure import Result, front
from nncomp.plots.picture import encode

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OURS, _OTHERS, _LINE, _BOUND = "#c2410c", "#57534e", "#a8a29e", "#1c1917"
_SIDES: tuple[tuple[str, Callable[[Result], float]], ...] = (
    ("compress", lambda result: result.compress_kb_per_s),
    ("decompress", lambda result: result.decompress_kb_per_s),
)


def draw(title: str, results: list[Result], bound_bits_per_byte: float | None, kind: str) -> bytes:
    """Return the plot of results on the same bytes as a file of `kind` png or svg, with the bound if there is one."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2), layout="constrained")
    both = figure.subplots(1, 2, sharey=True)
    for axes, (name, speed) in zip(both, _SIDES, strict=True):
        _draw_side(axes, results, speed, bound_bits_per_byte)
        axes.set_title(name, fontsize=10)
    both[0].set_ylabel("bits per byte")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, parse_math=False)
    return encode(figure, kind)


def _draw_side(axes: Axes, results: list[Result], speed: Callable[[Result], float], bound: float | None) -> None:
    """Draw the results by one of the two speeds."""
    from matplotlib.ticker import FuncFormatter

    ahead = sorted(front(results, speed), key=speed)
    # A compressor above the line is beaten, in size and speed at once, by one on the line.
    axes.step([speed(each) for each in ahead], [each.bits_per_byte for each in ahead], where="pre", color=_LINE, zorder=1)
    for each in results:
        color = _OURS if each.is_ours else _OTHERS
        at = speed(each), each.bits_per_byte
        axes.scatter(*at, color=color, s=36 if each in ahead else 16, zorder=2)
        # There is room for names right of the front and below it: no compressor is there.
        offset, ha, va = ((6, -3), "left", "top") if each in ahead else ((0, 6), "center", "bottom")
        if each.is_ours:
            offset, ha, va = (0, -6), "center", "top"
        # The first result has its full name, further levels of nncomp only the level.
        name = each.compressor if each in results[:1] or not each.is_ours else each.compressor.removeprefix("nncomp ")
        axes.annotate(name, at, offset, textcoords="offset points", ha=ha, va=va, fontsize=8, color=color)
    if bound is not None:
        axes.axhline(bound, color=_BOUND, linestyle="--", linewidth=1, zorder=1)
        gap = min(each.bits_per_byte for each in results) / bound - 1
        says = f"estimated bound {bound:.3f}, the smallest is {gap:.1%} above it"
        axes.annotate(says, (1, bound), (-2, -4), xycoords=("axes fraction", "data"), textcoords="offset points",
                      ha="right", va="top", fontsize=8)  # fmt: skip
    axes.set_xscale("log")
    fastest, slowest = max(map(speed, results)), min(map(speed, results))
    axes.set_xlim(slowest / 3, fastest * max(10.0, (fastest / slowest) ** 0.3))  # room for the names
    axes.xaxis.set_major_formatter(FuncFormatter(_speed))
    axes.set_xlabel("speed")
    axes.set_ylim(0, 1.12 * max(each.bits_per_byte for each in results))
    axes.grid(which="major", color="#e7e5e4", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _speed(kb_per_s: float, _: object = None) -> str:
    """Return a speed in few characters.

    >>> _speed(0.1), _speed(100), _speed(1e4), _speed(1e6)
    ('0.1 KB/s', '100 KB/s', '10 MB/s', '1 GB/s')
    """
    for unit, name in ((1e6, "GB/s"), (1e3, "MB/s")):
        if kb_per_s >= unit:
            return f"{kb_per_s / unit:g} {name}"
    return f"{kb_per_s:g} KB/s"
