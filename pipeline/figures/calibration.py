"""The reliability diagram: what probabilities said, and how often it came true."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.figures.palette import BLUE, GREY

_LIGHT = "#9cc9e3"
_OF = {
    "positive_class": ("score", "share that was positive"),
    "predicted": ("probability of the predicted class", "share that was right"),
}


def calibration_figure(calibration: Mapping[str, Any]) -> Figure:
    """Draws reliability before and after calibration, and how many pictures each bin holds.

    Args:
        calibration: As in `metrics.json`: `temperature`, and under `before` and `after` a
            `pipeline.evaluation.calibration.Reliability` as a dict.
    """
    figure = Figure(figsize=(10.0, 5.6), layout="constrained")
    grid = figure.subplots(2, 2, sharex=True, height_ratios=[3, 1])
    temperature = calibration["temperature"]
    for column, (name, title) in enumerate(
        (("before", "As trained"), ("after", f"Calibrated, temperature {temperature:.3g}"))
    ):
        reliability = calibration[name]
        error = 100 * reliability["expected_calibration_error"]
        grid[0, column].set_title(f"{title}: expected calibration error {error:.2f} %")
        _draw_frequencies(grid[0, column], reliability)
        _draw_counts(grid[1, column], reliability)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False)
    return figure


def _draw_frequencies(axes: Axes, reliability: Mapping[str, Any]) -> None:
    axes.plot([0, 1], [0, 1], ":", color=GREY, label="as often as said")
    bins = [one for one in reliability["bins"] if one["mean"] is not None]
    observed = [one["observed"] for one in bins]
    errors = np.array(
        [[rate["value"] - rate["low"], rate["high"] - rate["value"]] for rate in observed]
    )
    axes.errorbar(
        [one["mean"] for one in bins],
        [rate["value"] for rate in observed],
        yerr=np.maximum(errors.reshape(-1, 2).T, 0),
        fmt="o",
        color=BLUE,
        capsize=3,
        label="seen, 95 % intervals",
    )
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), ylabel=_OF[reliability["of"]][1])
    axes.grid(color="#dddddd")
    axes.set_axisbelow(True)


def _draw_counts(axes: Axes, reliability: Mapping[str, Any]) -> None:
    bins = reliability["bins"]
    axes.bar(
        [one["low"] for one in bins],
        [one["observed"]["of"] for one in bins],
        width=[one["high"] - one["low"] for one in bins],
        align="edge",
        color=_LIGHT,
        edgecolor="white",
    )
    axes.set_yscale("symlog", linthresh=1)
    axes.set(xlabel=_OF[reliability["of"]][0], ylabel="pictures", ylim=(0, None))
