"""The scores of maps against boxes as a figure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import cycle
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.figures.matrix import shorten_name
from pipeline.figures.palette import BLACK, BLUE, GREEN, GREY, ORANGE, PINK, SKY, YELLOW
from pipeline.maps.localization import BASELINES, OVERLAPS
from pipeline.maps.localization_table import MEAN_OVER_CLASSES, LocalizationRow

_HIGHEST_INCHES = 100.0
# Shapes tell them apart as well.
_LOOKS: Final = (
    (BLUE, "o"), (ORANGE, "s"), (GREEN, "^"), (PINK, "D"), (YELLOW, "v"), (SKY, "P"),
    (BLACK, "X"),
)  # fmt: skip
_STYLES: Final[tuple[Literal["solid", "dotted", "dashed"], ...]] = ("solid", "dotted", "dashed")


def localization_figure(
    rows: Sequence[LocalizationRow], *, baselines: Collection[str] = tuple(BASELINES)
) -> Figure:
    """Draws the pointing game class by class, and below it how many pictures' boxes are found.

    Args:
        rows: Of one or more methods, of each as `summarize` gives them, with the same classes.
        baselines: Those methods that see no picture: lines for the others to beat.
    """
    methods = {row.method: [one for one in rows if one.method == row.method] for row in rows}
    first = next(iter(methods.values()))
    counts = (len(first), len(OVERLAPS) + 1)
    inches = min(max(0.34, 0.13 * len(methods)), _HIGHEST_INCHES / sum(counts))
    figure = Figure(figsize=(8.0, 2.4 + inches * sum(counts)), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=counts)
    names = [
        f"{shorten_name(row.class_name) or MEAN_OVER_CLASSES} ({row.pointing.of})" for row in first
    ]
    pointing = {
        method: np.array(
            [(r.pointing.value, r.pointing.low, r.pointing.high) for r in group], float
        )
        for method, group in methods.items()
    }
    _draw(top, pointing, names, baselines)
    found = {  # without intervals
        method: np.array(
            [[v] * 3 for v in (*group[0].box_accuracies, group[0].box_accuracy)], float
        )
        for method, group in methods.items()
    }
    _draw(bottom, found, [*(f"overlap ≥ {o:g}" for o in OVERLAPS), "mean of these"], baselines)
    top.set_title("Pointing game: the map's maximum is in a box; 95 % intervals", size=11)
    bottom.set_title("MaxBoxAcc: a box around part of the map overlaps a true one", size=11)
    for axes, mean in ((top, 0), (bottom, -1)):
        axes.get_yticklabels()[mean].set_fontweight("bold")
    top.set_ylabel("class (pictures)")
    top.tick_params(labelbottom=True)
    bottom.set(xlabel="per cent of the pictures", ylabel=MEAN_OVER_CLASSES, xlim=(-2, 102))
    figure.align_ylabels()
    handles, labels = top.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
    return figure


def _draw(
    axes: Axes,
    values: Mapping[str, npt.NDArray[np.float64]],
    labels: Sequence[str],
    baselines: Collection[str],
) -> None:
    """Draws rows from top to bottom, in each the methods one below the other.

    Args:
        axes: Where.
        values: Of each method `[rows, 3]`: value and its bounds in [0, 1]; NaN where unknown.
        labels: Of the rows.
        baselines: Methods drawn as lines across their rows.
    """
    rows = np.arange(len(labels))
    shown = [method for method in values if method not in baselines]
    for method, style in zip((m for m in values if m in baselines), cycle(_STYLES), strict=False):
        at, label = 100 * values[method][:, 0], f"{method} (baseline)"
        axes.vlines(at, rows - 0.4, rows + 0.4, GREY, style, linewidth=2, label=label)
    for place, (method, look) in enumerate(zip(shown, cycle(_LOOKS), strict=False)):
        value, low, high = 100 * values[method].T
        axes.errorbar(
            value,
            rows + 0.7 * ((place + 0.5) / len(shown) - 0.5),
            xerr=np.maximum([value - low, high - value], 0.0),
            color=look[0],
            fmt=look[1],
            markersize=5,
            elinewidth=0.8,
            label=method,
        )
    for row in rows[::2]:
        axes.axhspan(row - 0.5, row + 0.5, color="#f3f3f3", zorder=0)
    axes.set_yticks(rows, labels, parse_math=False)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(axis="x", color="#dddddd")
    axes.set_axisbelow(True)
