"""How well class activation maps find what is boxed: scores of a map, and means of them.

A map covers the whole picture, at whatever resolution; boxes are fractions of the picture. A pixel
is in a box when its centre is (on the upper or left edge too, on the others not). A box too thin to
hold a centre along an axis counts there as the one pixel nearest its own centre: no box is empty.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import find_objects, label

from pipeline.evaluation.rates import Rate, measure_rate

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]

THRESHOLDS: Final = tuple(step / 20 for step in range(1, 20))  # shares of a map's maximum
OVERLAPS: Final = (0.3, 0.5, 0.7)  # intersections over union that count as found
# Boxes come as float32; in a map of fewer than 1e5 pixels an overlap falls short by more than this.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class MapScores:
    """One map against the boxes of its picture. An empty map, 0 everywhere, scores 0.

    Attributes:
        pointing: The pointing game, in [0, 1] (J. Zhang et al., "Top-down neural attention by
            excitation backprop", IJCV 126 (2018) 1084): 1 when the maximum lies in a box, else 0.
            Equal maxima count as the share of them inside, so that a uniform map scores `area`.
            The paper lets a maximum miss by 15 pixels; here none may.
        energy: Share of the map's sum that is in the boxes, in [0, 1]: the energy-based pointing
            game (H. Wang et al., "Score-CAM", CVPR workshops 2020, arXiv 1910.01279).
        area: Share of the map's pixels that are in the boxes, in (0, 1].
        overlaps: At each of `THRESHOLDS` the largest intersection over union, in [0, 1], of a true
            box and the box around a connected part (8 neighbours) of what reaches the threshold.
            The paper (see `tune_thresholds`) first takes its minimum off the map; here 0 stays 0.
    """

    pointing: float
    energy: float
    area: float
    overlaps: tuple[float, ...]


@dataclass(frozen=True)
class ScoredPicture:
    """A picture's class, whether the model gave it that class, and the scores of its map."""

    class_name: str
    is_right: bool
    scores: MapScores


def centre_map(height: int, width: int) -> FloatArray:
    """A map that sees no picture: float32 `[height, width]`, a tent that falls off to the edges.

    What reaches a share `t` of it has a centred box with `1 - t` of the picture's sides. Along an
    even side two pixels share the maximum, so "is the centre in a box" holds to half a pixel.
    """
    down, across = (1 - np.abs(2 * np.arange(size) + 1 - size) / size for size in (height, width))
    return np.outer(down, across).astype(np.float32)


def uniform_map(height: int, width: int) -> FloatArray:
    """A map that says nothing: ones, float32 `[height, width]`."""
    return np.ones((height, width), np.float32)


BASELINES: Final[Mapping[str, Callable[[int, int], FloatArray]]] = {
    "centre": centre_map,
    "uniform": uniform_map,
}


def score_map(heatmap: FloatArray, boxes: FloatArray) -> MapScores:
    """Scores one map.

    Args:
        heatmap: `[h, w]`, not negative, of any scale.
        boxes: `[n, 4]`, at least one: xmin, ymin, xmax, ymax as fractions of the picture.

    Raises:
        ValueError: A shape or a number is not as above.
    """
    _check(heatmap, boxes)
    inside = mark_boxes(boxes, *heatmap.shape)
    area, peak = float(inside.mean()), float(heatmap.max())
    if peak == 0:
        return MapScores(0.0, 0.0, area, (0.0,) * len(THRESHOLDS))
    shares = heatmap.astype(np.float64) / peak
    return MapScores(
        pointing=float(inside[heatmap == peak].mean()),
        energy=min(float(shares[inside].sum() / shares.sum()), 1.0),
        area=area,
        overlaps=_best_overlaps(shares, boxes.astype(np.float64)),
    )


def mark_boxes(boxes: FloatArray, height: int, width: int) -> npt.NDArray[np.bool_]:
    """Which pixels are in a box, `[height, width]`; boxes as for `score_map`."""
    mask = np.zeros((height, width), bool)
    for xmin, ymin, xmax, ymax in boxes.tolist():
        mask[_span(ymin, ymax, height), _span(xmin, xmax, width)] = True
    return mask


def tune_thresholds(validation: Sequence[ScoredPicture]) -> dict[float, float]:
    """For each of `OVERLAPS` the threshold that is best on validation pictures; `{}` without any.

    A picture is found when a box overlaps a true one that much (MaxBoxAccV2: J. Choe et al.,
    "Evaluating weakly supervised object localization methods right", CVPR 2020, arXiv 2001.07437).
    The best threshold finds the largest share of pictures, in the mean over the classes; of several
    it is the middle one, of two in the middle the lower. The paper maximises on the pictures that
    it reports, which flatters; test pictures have no part in this.
    """
    groups = [of_class(validation, name) for name in {one.class_name for one in validation}]
    overlaps = [np.array([one.scores.overlaps for one in group]) for group in groups]
    chosen = {}
    for wanted in OVERLAPS if groups else ():
        found = np.mean([is_found(one, wanted).mean(axis=0) for one in overlaps], axis=0)
        best = np.flatnonzero(found > found.max() - 1e-9)  # equal means may differ by rounding
        chosen[wanted] = THRESHOLDS[best[(len(best) - 1) // 2]]
    return chosen


def is_found(overlaps: npt.ArrayLike, wanted: float) -> npt.NDArray[np.bool_]:
    """Whether overlaps, of any shape, reach the one wanted, give or take the rounding of boxes."""
    return np.asarray(overlaps) >= wanted - _ROUNDING


def of_class(pictures: Sequence[ScoredPicture], name: str) -> list[ScoredPicture]:
    """The pictures of one class."""
    return [one for one in pictures if one.class_name == name]


def pointing_rate(pictures: Sequence[ScoredPicture]) -> Rate:
    """The mean of the pointing game; shares that add up to a fraction widen the interval."""
    shares = [one.scores.pointing for one in pictures]
    total, of = math.fsum(shares), len(shares)
    low, high = (measure_rate(count=f(total), of=of) for f in (math.floor, math.ceil))
    return Rate(shares.count(1.0), of, total / of if of else None, low.low, high.high)


def mean_rate(rates: Sequence[Rate]) -> Rate:
    """The mean of independent rates, each with the same weight, those of nothing left out.

    Counts are added up. The interval is put together from theirs (G. Y. Zou, W. Huang and X. Zhang,
    Computational Statistics and Data Analysis 53 (2009) 1080): to either side the root of the sum
    of the squared distances from value to bound, divided by their number.
    """
    known = np.array([(r.value, r.low, r.high) for r in rates if r.of], np.float64)
    if not len(known):
        return Rate(0, 0, None, None, None)
    value = float(known[:, 0].mean())
    down, up = np.linalg.norm(known[:, 1:] - known[:, :1], axis=0).tolist()
    low, high = max(value - down / len(known), 0.0), min(value + up / len(known), 1.0)
    return Rate(sum(r.count for r in rates), sum(r.of for r in rates), value, low, high)


def _check(heatmap: FloatArray, boxes: FloatArray) -> None:
    if heatmap.ndim != 2 or heatmap.size == 0 or boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"need [h, w] and [n, 4]; received {heatmap.shape} and {boxes.shape}")
    if not len(boxes):
        raise ValueError("there is no box")
    if not (np.isfinite(heatmap).all() and heatmap.min() >= 0):
        raise ValueError("a map must be finite and not negative")
    low, high = boxes[:, :2], boxes[:, 2:]
    if not ((low >= -_ROUNDING) & (low <= high) & (high <= 1 + _ROUNDING)).all():
        raise ValueError(f"boxes must be fractions, minima first; received {boxes.tolist()}")


def _span(low: float, high: float, size: int) -> slice:
    """Of `size` pixels along an axis those whose centres are in `[low, high)`, or the nearest."""
    first, end = (max(math.ceil(side * size - 0.5), 0) for side in (low, high))
    nearest = min(max(int((low + high) / 2 * size), 0), size - 1)
    return slice(first, end) if first < end else slice(nearest, nearest + 1)


def _best_overlaps(shares: FloatArray, boxes: FloatArray) -> tuple[float, ...]:
    """As `MapScores.overlaps`; `shares` is the map divided by its maximum."""
    corners, levels = _frame_parts(shares)
    low = np.maximum(corners[:, None, :2], boxes[:, :2])
    high = np.minimum(corners[:, None, 2:], boxes[:, 2:])
    shared = np.maximum(high - low, 0.0).prod(axis=2)
    areas = [(one[:, 2:] - one[:, :2]).prod(axis=1) for one in (corners, boxes)]
    overlaps = (shared / (areas[0][:, None] + areas[1] - shared)).max(axis=1)
    best = np.zeros(len(THRESHOLDS))
    np.maximum.at(best, levels, overlaps)
    return tuple(best.tolist())


def _frame_parts(shares: FloatArray) -> tuple[FloatArray, IntArray]:
    """The boxes around all connected parts at all thresholds.

    Returns:
        Boxes `[parts, 4]` as fractions of the picture, and the index of each one's threshold.
    """
    corners, levels = [], []
    for level, threshold in enumerate(THRESHOLDS):
        parts, _ = label(shares >= threshold, structure=np.ones((3, 3)))
        for rows, columns in find_objects(parts):
            corners.append((columns.start, rows.start, columns.stop, rows.stop))
            levels.append(level)
    height, width = shares.shape
    return np.array(corners) / [width, height, width, height], np.array(levels)
