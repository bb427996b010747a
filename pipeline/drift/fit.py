"""The baseline of drift, measured on reference pictures.

What can be seen of a picture has the training pictures as its reference. What the model makes of
it has the validation pictures: the model knows the training pictures by heart, and new ones never
look like that to it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.drift.baseline import DriftBaseline, FloatArray, IntArray, Reference, rank_among

OF_THE_MODEL = ("confidence", "feature_distance", "reconstruction_error")
"""Statistics of what the model makes of a picture; all others are of the picture itself."""

_FEWEST = 20  # pictures of a class that are compared with by themselves
_MOST_KEPT = 100  # values of a class: a rank to a hundredth
_RUNS = 5


@dataclass(frozen=True, eq=False)
class Measured:
    """Statistics of some pictures.

    Attributes:
        source_ids: Their names.
        decided: Index of the class that each is decided to be `[pictures]`.
        statistics: `[pictures, statistics]`, finite.
    """

    source_ids: tuple[str, ...]
    decided: IntArray
    statistics: FloatArray


def fit_baseline(
    names: Sequence[str], classes: Sequence[str], *, train: Measured, validation: Measured
) -> DriftBaseline:
    """Measures reference pictures.

    Args:
        names: Of the statistics, in their order.
        classes: Class names.
        train: Pictures of the training split, in any order.
        validation: Pictures of the validation split.

    Raises:
        ValueError: A split is empty, shapes do not fit, or a value is not finite.
    """
    for split, one in (("train", train), ("validation", validation)):
        count = len(one.source_ids)
        if not count or one.statistics.shape != (count, len(names)) or len(one.decided) != count:
            raise ValueError(f"{split}: {count} names, statistics {one.statistics.shape}")
        if not np.isfinite(one.statistics).all():
            raise ValueError(f"{split}: a statistic is not finite")
    references = []
    for column, name in enumerate(names):
        split = "validation" if name in OF_THE_MODEL else "train"
        measured = validation if name in OF_THE_MODEL else train
        groups = _group_by_class(measured.decided, len(classes))
        values = measured.statistics[:, column].astype(np.float32)
        references.append(
            Reference(
                name=name,
                split=split,
                samples=_sample(values, groups, len(classes)),
                spread=_measure_spread(values, groups, _order_by_name(measured.source_ids)),
            )
        )
    return DriftBaseline(tuple(classes), tuple(references))


def _group_by_class(decided: IntArray, classes: int) -> IntArray:
    """The class of each picture, -1 of a class of few; one group behind all if each has few."""
    counts = np.bincount(decided, minlength=classes)
    if counts.max() < _FEWEST:
        return np.full_like(decided, classes)
    return np.where(counts[decided] >= _FEWEST, decided, -1)


def _sample(values: FloatArray, groups: IntArray, classes: int) -> tuple[tuple[float, ...], ...]:
    return tuple(_thin_out(np.sort(values[groups == index])) for index in range(classes + 1))


def _thin_out(ordered: FloatArray) -> tuple[float, ...]:
    count = min(len(ordered), _MOST_KEPT)
    rows = ((np.arange(count) + 0.5) / max(count, 1) * len(ordered)).astype(int)
    # By way of the shortest decimals that are this float32.
    return tuple(float(str(value)) for value in ordered[rows])


def _measure_spread(values: FloatArray, groups: IntArray, order: IntArray) -> float:
    """Root mean square distance of the mean rank of a run from 0.5, among the runs beside it."""
    shifts: list[float] = []
    for group in np.unique(groups[groups >= 0]):
        rows = order[groups[order] == group]
        for run in np.array_split(rows, min(_RUNS, len(rows))):
            others = np.sort(values[np.setdiff1d(rows, run)])
            # Of a single picture nothing is known.
            mean = rank_among(values[run], others).mean() if len(others) else 1.0
            shifts.append(float(mean) - 0.5)
    return float(np.sqrt(np.mean(np.square(shifts))))


def _order_by_name(source_ids: Sequence[str]) -> IntArray:
    """Rows in the order of their names, numbers in them by their value."""
    keys = [
        [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
        for name in source_ids
    ]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), np.int64)
