"""What every threshold would do, as figures; with more than two classes how each class fares."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.evaluation.curves import format_area
from pipeline.evaluation.metrics import BinaryMetrics, Metrics
from pipeline.evaluation.rates import Rate
from pipeline.figures.matrix import shorten_name
from pipeline.figures.palette import BLUE, GREY, ORANGE

_HIGHEST_INCHES = 100.0


def curves_figure(metrics: Metrics) -> Figure:
    """Draws ROC and precision against recall, or with more than two classes each one's recall."""
    if metrics.binary is None:
        return _per_class_figure(metrics)
    figure = Figure(figsize=(10.0, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_roc(left, metrics.binary)
    _draw_precision_recall(right, metrics)
    for axes in (left, right):
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
        axes.grid(color="#dddddd")
        axes.set_axisbelow(True)
    return figure


def operating_figure(binary: BinaryMetrics) -> Figure:
    """Draws what every threshold would let escape against what it would stop for nothing.

    Args:
        binary: With a ROC curve.
    """
    roc = binary.roc
    if roc is None:
        raise ValueError("there is no curve: all pictures are of one class")
    figure = Figure(figsize=(8.0, 5.0), layout="constrained")
    axes = figure.subplots()
    escapes = [100 * (1 - recall) for recall in roc.recall]
    false_calls = [100 * rate for rate in roc.false_call_rate]
    axes.step(false_calls, escapes, where="post", color=BLUE, linewidth=2, label="any threshold")
    across, up = binary.false_calls, binary.escapes
    if across.value is not None and up.value is not None:
        axes.errorbar(
            100 * across.value,
            100 * up.value,
            xerr=100 * _error(across),
            yerr=100 * _error(up),
            fmt="o",
            color=ORANGE,
            capsize=3,
            zorder=3,
            label="operating point, 95 % intervals",
        )
    # Small rates are what counts, and 0 must have a place.
    axes.set_xscale("symlog", linthresh=1)
    axes.set_yscale("symlog", linthresh=1)
    ticks = [0, 0.5, 1, 2, 5, 10, 20, 50, 100]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set(xlim=(-0.05, 105), ylim=(-0.05, 105))
    axes.set(xlabel="false calls, % of the good parts", ylabel="escapes, % of the bad parts")
    axes.grid(color="#dddddd")
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


def _draw_roc(axes: Axes, binary: BinaryMetrics) -> None:
    axes.set(xlabel="false-call rate", ylabel="recall (1 - escape rate)")
    if binary.roc is None:
        _say_undefined(axes, "ROC")
        return
    axes.set_title(f"ROC, area {format_area(binary.roc.area)}")
    axes.plot([0, 1], [0, 1], ":", color=GREY, label="chance")
    axes.plot(binary.roc.false_call_rate, binary.roc.recall, color=BLUE, linewidth=2)
    caught = _complement(binary.escapes)
    _draw_operating_point(axes, binary.false_calls, caught)
    axes.legend(loc="lower right")


def _draw_precision_recall(axes: Axes, metrics: Metrics) -> None:
    binary = metrics.binary
    axes.set(xlabel="recall (1 - escape rate)", ylabel="precision")
    if binary is None or binary.precision_recall is None:
        _say_undefined(axes, "Precision and recall")
        return
    curve = binary.precision_recall
    share = binary.escapes.of / metrics.pictures
    positive = metrics.per_class[metrics.classes.index(binary.positive_class)]
    axes.set_title(f"Precision and recall, average precision {format_area(curve.area)}")
    axes.axhline(share, linestyle=":", color=GREY, label="chance")
    axes.step(curve.recall, curve.precision, where="post", color=BLUE, linewidth=2)
    _draw_operating_point(axes, positive.recall, positive.precision)
    axes.legend(loc="lower left")


def _draw_operating_point(axes: Axes, across: Rate, up: Rate) -> None:
    if across.value is None or up.value is None:
        return
    axes.errorbar(
        across.value,
        up.value,
        xerr=_error(across),
        yerr=_error(up),
        fmt="o",
        color=ORANGE,
        capsize=3,
        zorder=3,
        label="at the threshold, 95 % intervals",
    )


def _per_class_figure(metrics: Metrics) -> Figure:
    """Recall and precision of every class with their intervals; classes from top to bottom."""
    count = len(metrics.classes)
    row_inches = min(0.34, _HIGHEST_INCHES / count)
    figure = Figure(figsize=(8.0, 1.4 + row_inches * count), layout="constrained")
    axes = figure.subplots()
    for offset, colour, marker, label in (
        (-0.14, BLUE, "o", "recall"),
        (0.14, ORANGE, "s", "precision"),
    ):
        rates = [getattr(entry, label) for entry in metrics.per_class]
        known = [(row + offset, rate) for row, rate in enumerate(rates) if rate.value is not None]
        axes.errorbar(
            [rate.value for _, rate in known],
            [row for row, _ in known],
            xerr=np.hstack([np.empty((2, 0)), *(_error(rate) for _, rate in known)]),
            fmt=marker,
            color=colour,
            capsize=2,
            markersize=5,
            label=f"{label}, 95 % interval",
        )
    names = [f"{shorten_name(entry.name)} ({entry.support})" for entry in metrics.per_class]
    axes.set_yticks(range(count), names, parse_math=False, size=min(10.0, 60.0 * row_inches))
    bounds = [rate.low for entry in metrics.per_class for rate in (entry.recall, entry.precision)]
    lowest = math.floor(10 * min((low for low in bounds if low is not None), default=0)) / 10
    axes.set(ylim=(count - 0.5, -0.5), xlim=(lowest - 0.01, 1.01), ylabel="class (pictures)")
    axes.grid(axis="x", color="#dddddd")
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


def _complement(rate: Rate) -> Rate:
    if rate.value is None or rate.low is None or rate.high is None:
        return rate
    return Rate(rate.of - rate.count, rate.of, 1 - rate.value, 1 - rate.high, 1 - rate.low)


def _error(rate: Rate) -> npt.NDArray[np.float64]:
    """Lengths of the error bar to either side, `[2, 1]`; never below 0 for rounding."""
    value, low, high = (float(v or 0.0) for v in (rate.value, rate.low, rate.high))
    return np.maximum([[value - low], [high - value]], 0.0)


def _say_undefined(axes: Axes, title: str) -> None:
    axes.set_title(title)
    axes.text(0.5, 0.5, "undefined:\nall pictures are of one class", ha="center", va="center")
