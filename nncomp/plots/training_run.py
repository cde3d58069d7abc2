"""A plot of a training run: bits per byte against the text seen. Needs matplotlib: the extra `plot` installs it."""

from __future__ import annotations

from itertools import pairwise

from nncomp.plots.picture import encode

_TRAIN, _HELD_OUT = "#c2410c", "#1c1917"


def draw(rows: list[dict[str, float]], title: str, kind: str) -> bytes:
    """Return the plot of the rows of a run's log as a file of `kind` png or svg, the same for the same rows and matplotlib."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.add_subplot()
    train = [(row["bytes"] / 1e6, row["train_bpb"]) for row in rows if "bytes" in row]
    held_out = [(row["bytes"] / 1e6, row["valid_bpb"]) for row in rows if "bytes" in row and "valid_bpb" in row]
    if train:
        axes.plot(*zip(*train, strict=True), color=_TRAIN, linewidth=0.6, alpha=0.45, label="of each 25 steps")
        smooth = _smooth(train)
        axes.plot(*zip(*smooth, strict=True), color=_TRAIN, linewidth=1.2, label=f"training, in the end {smooth[-1][1]:.3f}")
        usual = sorted(bits for _, bits in train)[int(0.98 * (len(train) - 1))]  # the first steps are far above all others
        axes.set_ylim(0.95 * min(bits for _, bits in train + held_out), 1.02 * max(usual, *(bits for _, bits in held_out), 0))
    if held_out:
        label = f"held out, in the end {held_out[-1][1]:.3f}"
        axes.plot(*zip(*held_out, strict=True), color=_HELD_OUT, linewidth=1, marker="o", markersize=3.5, label=label)
    if train:
        axes.legend(loc="upper right", frameon=False)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g} MB"))
    axes.set_title(title, loc="left", fontsize=10, parse_math=False)
    axes.set_xlabel("text seen")
    axes.set_ylabel("bits per byte")
    axes.grid(which="major", color="#e7e5e4", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return encode(figure, kind)


def _smooth(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points with a running mean over a fortieth of them, over fewer at the start, where the figures fall fast."""
    memory, mean, found = max(1, len(points) // 40), points[0][1], [points[0]]
    for (_, _), (place, bits) in pairwise(points):
        mean += (bits - mean) / min(memory, max(1, len(found) // 4))
        found.append((place, mean))
    return found
