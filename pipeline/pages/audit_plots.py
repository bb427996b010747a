"""The drawings of the audit's page: grey-value curves, picture sizes, where boxes lie.

Curves and dots are coordinates for an SVG in the page, whose words are the page's own: they stay
readable on a small screen, and a name in any script is shown. Colours are those of M. Okabe and
K. Ito (2008), which colour-blind people tell apart.
"""

from __future__ import annotations

import io
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.pages.page import data_uri

CELLS = 40
"""Cells a side of a map of boxes."""
CHART_UNITS = 100
"""Height of a chart, and both sides of the one of sizes, in units of its SVG."""
APART_GREY_VALUES = 16
"""Difference of mean grey values from which a class is remarked on: a sixteenth of the range."""

_BOXES_AT_ONCE = 2**16
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_DASHES = ("none", "6 3", "2 3", "9 3 2 3", "12 3", "1 2")
_MOST_DOT_UNITS, _LEAST_DOT_UNITS = 4.0, 0.8


@dataclass(frozen=True, slots=True)
class GreyLine:
    """The grey values of one class.

    Attributes:
        name: Of the class.
        mean: Grey value, 0 to 255.
        difference: From the mean of the other classes' means.
        is_apart: Whether it differs by `APART_GREY_VALUES` or more.
        points: Of an SVG polyline: x is the number of the bin plus a half, y runs from
            `CHART_UNITS` (none of the pixels) up to 0, with the square root of their share.
        colour: In hexadecimal.
        dash: An SVG dash pattern.
    """

    name: str
    mean: float
    difference: float
    is_apart: bool
    points: str
    colour: str
    dash: str

    @property
    def distance(self) -> float:
        """`difference` without its sign."""
        return abs(self.difference)


@dataclass(frozen=True, slots=True)
class SizeDot:
    """Pictures of about one size: centre and radius in `CHART_UNITS`, y downwards."""

    x: float
    y: float
    radius: float


def draw_grey_lines(histograms: Mapping[str, Sequence[float]]) -> list[GreyLine]:
    """One line a class, in the order given; colours and dashes tell 42 apart.

    Args:
        histograms: Class to fractions of the pixels in equal steps of the grey values 0 to 255.
    """
    means = {name: _mean_grey(fractions) for name, fractions in histograms.items()}
    highest = max((max(fractions) for fractions in histograms.values()), default=0.0) or 1.0
    styles = itertools.cycle((colour, dash) for dash in _DASHES for colour in _COLOURS)
    lines = []
    for (name, fractions), (colour, dash) in zip(histograms.items(), styles, strict=False):
        others = [mean for other, mean in means.items() if other != name]
        difference = means[name] - float(np.mean(others)) if others else 0.0
        is_apart = abs(difference) >= APART_GREY_VALUES
        points = _draw_points(fractions, highest)
        lines.append(GreyLine(name, means[name], difference, is_apart, points, colour, dash))
    return lines


def draw_size_dots(sizes: Mapping[tuple[int, int], int]) -> list[SizeDot]:
    """Dots for widths (to the right) and heights (upwards); their areas grow with the pictures.

    Both axes run from 0 to the longest side. Sizes within a hundredth of it are one dot, so that
    there are never more than `CHART_UNITS` squared.

    Args:
        sizes: Width and height in pixels to the number of pictures.
    """
    longest_px = max((max(size) for size in sizes), default=1)
    cells: Counter[tuple[int, int]] = Counter()
    for (width, height), pictures in sizes.items():
        across, up = (round(CHART_UNITS * side / longest_px) for side in (width, height))
        cells[across, CHART_UNITS - up] += pictures
    most = max(cells.values(), default=1)
    return [
        SizeDot(x, y, max(_LEAST_DOT_UNITS, round(_MOST_DOT_UNITS * (count / most) ** 0.5, 2)))
        for (x, y), count in sorted(cells.items())
    ]


def measure_coverage(corners: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Where in their pictures boxes lie.

    Args:
        corners: float64 `[boxes, 4]`: xmin, ymin, xmax, ymax in fractions of the picture, 0 to 1.

    Returns:
        float64 `[CELLS, CELLS]`, row 0 on top: the mean over boxes of the part of each cell that a
        box covers, 0 to 1.
    """
    covered = np.zeros((CELLS, CELLS))
    for first in range(0, len(corners), _BOXES_AT_ONCE):
        chunk = corners[first : first + _BOXES_AT_ONCE]
        across, down = (_cover_cells(chunk[:, axis], chunk[:, axis + 2]) for axis in (0, 1))
        covered += down.T @ across
    # A sum of products may pass 1 by a rounding.
    return np.minimum(covered / max(len(corners), 1), 1.0)


def draw_coverage(coverage: npt.NDArray[np.float64]) -> str:
    """A map as PNG data URI, a pixel a cell: white where no box lies, darkest where most do."""
    strength = coverage / (coverage.max() or 1.0)
    colours = matplotlib.colormaps["Blues"](strength, bytes=True)[..., :3]
    colours[coverage == 0] = 255
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(colours)).save(buffer, format="PNG")
    return data_uri(buffer.getvalue(), image_format="png")


def _mean_grey(fractions: Sequence[float]) -> float:
    step = 256 / len(fractions)
    centres = step * np.arange(len(fractions)) + (step - 1) / 2
    return float(centres @ np.asarray(fractions) / (sum(fractions) or 1.0))


def _draw_points(fractions: Iterable[float], highest: float) -> str:
    heights = (CHART_UNITS * (1 - (fraction / highest) ** 0.5) for fraction in fractions)
    return " ".join(f"{number + 0.5:g},{height:.1f}" for number, height in enumerate(heights))


def _cover_cells(
    low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """`[boxes, CELLS]`: which part of each cell lies between `low` and `high` (fractions)."""
    edges = np.arange(CELLS)
    upper = np.minimum(CELLS * high[:, np.newaxis], edges + 1)
    lower = np.maximum(CELLS * low[:, np.newaxis], edges)
    return np.clip(upper - lower, 0.0, 1.0)
