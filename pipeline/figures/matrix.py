"""The confusion matrix as a figure, readable with two classes and with many."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from pipeline.evaluation.metrics import Metrics
from pipeline.evaluation.rates import format_per_cent

_POINTS_PER_INCH = 72
_SIDE_INCHES = 14.0  # that the cells share as long as they stay within the next two bounds
_SMALLEST_CELL_INCHES, _LARGEST_CELL_INCHES = 0.12, 0.95
_LARGEST_SIDE_INCHES = 24.0
_SMALLEST_FONT_POINTS = 4.5
_FONT_ASPECT = 0.64  # width over height of a digit of DejaVu Sans
_MANY_CLASSES = 12


def shorten_name(name: str, *, longest: int = 24) -> str:
    """A class name on one line, with an ellipsis in the middle when it is too long."""
    line = " ".join(name.split())
    half = (longest - 1) // 2
    return line if len(line) <= longest else f"{line[: longest - 1 - half]}…{line[-half:]}"


def confusion_figure(metrics: Metrics, *, normalized: bool) -> Figure:
    """Draws the confusion matrix, rows true and columns predicted.

    Shades grow with the square root of the value, so that a few errors show beside many hits.
    Where numbers would not fit their cells, a scale stands for them.

    Args:
        metrics: Of two classes or more.
        normalized: Rows divided by their sums, in per cent, instead of counts.
    """
    cells = metrics.confusion_matrix_normalized if normalized else metrics.confusion_matrix
    values = np.array(cells, np.float64)  # None, in rows without pictures, becomes NaN
    cell_points = _POINTS_PER_INCH * _choose_cell_inches(len(values))
    # The axes fill the figure; the tight box of the PNG adds the room that the labels need.
    side = len(values) * cell_points / _POINTS_PER_INCH
    figure = Figure(figsize=(side, side))
    axes = figure.add_axes((0, 0, 1, 1))
    norm = PowerNorm(0.5, vmin=0, vmax=1.0 if normalized else values.max())
    colours = colormaps["Blues"].with_extremes(bad="#dddddd")
    image = axes.imshow(values, cmap=colours, norm=norm)
    texts = [[_format_cell(v, cell_points, normalized, len(values)) for v in r] for r in values]
    if not _write_cells(axes, texts, cell_points, colours(norm(np.ma.masked_invalid(values)))):
        figure.colorbar(image, cax=figure.add_axes((1.02, 0, 0.03, 1)))
    _label_axes(axes, metrics, cell_points)
    axes.set_title("Each true class in per cent" if normalized else "Pictures", pad=12)
    return figure


def _choose_cell_inches(classes: int) -> float:
    wanted = min(max(_SIDE_INCHES / classes, _SMALLEST_CELL_INCHES), _LARGEST_CELL_INCHES)
    return min(wanted, _LARGEST_SIDE_INCHES / classes)


def _format_cell(value: float, cell_points: float, normalized: bool, classes: int) -> str:
    if math.isnan(value):
        return "-"
    if value == 0 and classes > _MANY_CLASSES:
        return ""
    if not normalized:
        return f"{value:.0f}"
    return format_per_cent(value, digits=1 if cell_points > 40 else 0)


def _write_cells(
    axes: Axes, texts: Sequence[Sequence[str]], cell_points: float, rgba: npt.NDArray[np.float64]
) -> bool:
    """Writes all numbers in one size and returns True, or none when they would not fit."""
    longest = max(len(text) for row in texts for text in row)
    size = min(13.0, 0.6 * cell_points, 0.88 * cell_points / (_FONT_ASPECT * max(longest, 1)))
    if size < _SMALLEST_FONT_POINTS:
        return False
    lightness = rgba[..., :3] @ (0.2126, 0.7152, 0.0722)  # Rec. 709, close enough for a choice
    for row, cells in enumerate(texts):
        for column, text in enumerate(cells):
            colour = "black" if lightness[row, column] > 0.5 else "white"
            axes.text(column, row, text, color=colour, size=size, ha="center", va="center")
    return True


def _label_axes(axes: Axes, metrics: Metrics, cell_points: float) -> None:
    names = [shorten_name(name) for name in metrics.classes]
    size = min(11.0, max(0.8 * cell_points, 6.0))
    step = math.ceil(size / cell_points)
    shown = range(0, len(names), step)
    rows = [f"{names[i]} ({metrics.per_class[i].support})" for i in shown]
    axes.set_yticks(list(shown), rows, size=size, parse_math=False)
    fits = max(map(len, names)) * _FONT_ASPECT * size < cell_points
    angle = 0 if fits else 45 if len(names) <= _MANY_CLASSES else 90
    axes.set_xticks(
        list(shown),
        [names[i] for i in shown],
        size=size,
        parse_math=False,
        rotation=angle,
        ha="center" if angle != 45 else "right",
        rotation_mode="anchor" if angle == 45 else "default",
    )
    axes.set_xlabel("predicted", size=12)
    axes.set_ylabel("true (pictures)", size=12)
    axes.set_xticks(np.arange(len(names) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(names) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=0.6)
    axes.tick_params(which="minor", length=0)
