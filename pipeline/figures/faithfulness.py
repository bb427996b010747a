"""Figures of how faithful maps are: deletion, insertion, and how they take random weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.evaluation.rates import format_per_cent
from pipeline.figures.palette import BLUE, GREEN, GREY, ORANGE
from pipeline.maps.faithfulness import RANDOM, UNIFORM

# The second three have the colours of the first, but other lines and empty marks.
_STYLES: tuple[dict[str, Any], ...] = (
    {"color": BLUE, "marker": "o"},
    {"color": ORANGE, "marker": "s"},
    {"color": GREEN, "marker": "^"},
    {"color": BLUE, "marker": "D", "linestyle": "--", "markerfacecolor": "white"},
    {"color": ORANGE, "marker": "v", "linestyle": "--", "markerfacecolor": "white"},
    {"color": GREEN, "marker": "P", "linestyle": "--", "markerfacecolor": "white"},
)
_PANELS = (
    ("deletion", "Deletion: lower is better", "most important pixels taken out, per cent"),
    ("insertion", "Insertion: higher is better", "most important pixels put in, per cent"),
)


def faithfulness_figure(faithfulness: Mapping[str, Any]) -> Figure:
    """Draws the mean probability of the class while pixels are deleted and inserted.

    A uniform map has no order of its own and is left out.

    Args:
        faithfulness: As `faithfulness_json` gives it; at most six methods.

    Raises:
        ValueError: There are more methods.
    """
    methods = [one for one in faithfulness["methods"] if one["method"] != UNIFORM]
    own = [one["method"] for one in methods if one["method"] != RANDOM]
    _check_count(own)
    styles = dict(zip(own, _STYLES, strict=False))
    styles[RANDOM] = {"color": GREY, "linestyle": ":", "linewidth": 2.5}
    figure = Figure(figsize=(10.0, 4.6), layout="constrained")
    grid = figure.subplots(1, 2, sharey=True)
    for axes, (curve, title, label) in zip(grid, _PANELS, strict=True):
        for one in methods:
            values = one[f"{curve}_curve"]
            places = np.linspace(0, 100, len(values))
            axes.plot(
                places, values, markersize=4, label=_label(one["method"]), **styles[one["method"]]
            )
        axes.set_title(title, size=11)
        axes.set(xlabel=label, xlim=(-2, 102), ylim=(-0.03, 1.03))
        _add_grid(axes)
    grid[0].set_ylabel("probability of the class, mean")
    _add_legend(figure, grid[0])
    return figure


def sanity_figure(sanity: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws how similar maps stay to those of the trained model, with 95 % intervals.

    Args:
        sanity: As `pipeline.maps.sanity.sanity_json` gives it; one to six methods, of the same
            stages.

    Raises:
        ValueError: There are more methods.
    """
    _check_count(sanity)
    steps = sanity[0]["steps"]
    figure = Figure(figsize=(10.0, 5.0), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.axhline(sanity[0]["bound"], linestyle=":", color=GREY, label="must end below")
    for place, one in enumerate(sanity):
        _draw_similarity(axes, one, _STYLES[place], shift=0.06 * (place - (len(sanity) - 1) / 2))
    axes.set_xticks(
        range(len(steps) + 1),
        ["as trained", *(f"{one['stage']}\n{format_per_cent(one['fraction'])} %" for one in steps)],
        rotation=30,
        ha="right",
        rotation_mode="anchor",
        size=9,
        parse_math=False,
    )
    axes.set(
        xlabel="weights randomised down to this layer",
        ylabel="rank correlation with the trained model's maps",
        ylim=(min(-0.25, *(low for one in sanity for low in _bounds(one)[0])) - 0.03, 1.05),
    )
    _add_grid(axes)
    _add_legend(figure, axes)
    return figure


def _draw_similarity(
    axes: Axes, one: Mapping[str, Any], style: dict[str, Any], *, shift: float
) -> None:
    means = [step["similarity"]["value"] for step in one["steps"]]
    lows, highs = _bounds(one)
    places = np.arange(len(means) + 1) + shift
    # Beside one another: intervals of several methods would hide each other.
    axes.vlines(places[1:], lows, highs, color=style["color"], linewidth=1)
    axes.plot(places, [1.0, *means], markersize=5, label=_label(one["method"]), **style)


def _bounds(one: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Ends of the intervals; of a single picture there are none, and both are the mean."""
    means = [step["similarity"] for step in one["steps"]]
    lows, highs = (
        [mean["value"] if mean[end] is None else mean[end] for mean in means]
        for end in ("low", "high")
    )
    return lows, highs


def _check_count(methods: Sequence[Any]) -> None:
    if len(methods) > len(_STYLES):
        raise ValueError(f"At most {len(_STYLES)} methods can be told apart, got {len(methods)}.")


def _label(method: str) -> str:
    return "random map" if method == RANDOM else method


def _add_grid(axes: Axes) -> None:
    axes.grid(axis="y", color="#dddddd")
    axes.set_axisbelow(True)


def _add_legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
