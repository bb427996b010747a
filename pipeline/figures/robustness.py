"""How rates change with each kind of perturbation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.figures.palette import BLUE, GREEN, GREY, ORANGE

_COLUMNS = 3
_CURVES = (
    ("accuracy", "right", BLUE, "o"),
    ("recall", "defects caught", ORANGE, "s"),
    ("false_calls", "good parts stopped", GREEN, "^"),
)


def robustness_figure(robustness: Mapping[str, Any]) -> Figure:
    """Draws a panel for each kind, the clean pictures at its left.

    Args:
        robustness: As in `metrics.json`.
    """
    clean, *levels = robustness["levels"]
    kinds = list(robustness["units"])
    rows = math.ceil(len(kinds) / _COLUMNS)
    figure = Figure(figsize=(10.0, 2.6 * rows + 0.6), layout="constrained")
    grid = figure.subplots(rows, _COLUMNS, sharey=True, squeeze=False)
    for axes, kind in zip(grid.flat, kinds, strict=False):
        entries = [clean, *(one for one in levels if one["kind"] == kind)]
        _draw(axes, entries, robustness["target_recall"])
        unit = robustness["units"][kind]
        axes.set_title(f"{kind}, {unit}" if unit else kind, size=11)
        failure = robustness["first_failures"][kind]
        if failure is not None:
            place = [one["level"] for one in entries[1:]].index(failure) + 1
            axes.axvspan(place - 0.5, len(entries) - 0.5, color="#f4d9cc", zorder=0)
    for axes in grid[:, 0]:
        axes.set_ylabel("per cent")
    for axes in list(grid.flat)[len(kinds) :]:
        axes.set_axis_off()
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
    return figure


def _draw(axes: Axes, entries: Sequence[Mapping[str, Any]], target: float) -> None:
    axes.axhline(100 * target, linestyle=":", color=GREY, label="recall asked for")
    places = range(len(entries))
    for name, label, colour, marker in _CURVES:
        rates = [one[name]["value"] for one in entries]
        if None not in rates:
            values = [100 * rate for rate in rates]
            axes.plot(places, values, marker=marker, color=colour, markersize=4, label=label)
    axes.set_xticks(list(places), ["clean", *(f"{one['level']:g}" for one in entries[1:])])
    axes.set(ylim=(-3, 103), xlim=(-0.5, len(entries) - 0.5))
    axes.grid(axis="y", color="#dddddd")
    axes.set_axisbelow(True)
