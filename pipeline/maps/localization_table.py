"""What the localization scores of a split come to: rows, and tables of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from pipeline.evaluation.rates import Rate
from pipeline.maps.localization import (
    OVERLAPS,
    THRESHOLDS,
    MapScores,
    ScoredPicture,
    is_found,
    mean_rate,
    of_class,
    pointing_rate,
)

MEAN_OVER_CLASSES: Final = "mean over classes"


@dataclass(frozen=True)
class LocalizationRow:
    """A method's scores on one class, or their mean over the classes; `None` without pictures.

    Attributes:
        method: What made the maps.
        class_name: Whose pictures; empty: means in which every class with pictures counts the same.
        pointing: `value` is the mean of the pointing game, `of` the pictures with boxes, `count`
            those whose maxima are all in them. Both are sums where classes are averaged.
        right_pointing: The same among pictures that the model gives their class.
        area: Mean share of a picture that is boxed: `pointing` and `energy` of a uniform map.
        energy: Mean share of the map's sum in the boxes.
        energy_ratio: `energy / area`. Not the mean of the pictures' ratios: small boxes rule that.
        box_accuracies: For each of `OVERLAPS` the share of pictures with a box that overlaps a true
            one at least so much; `None` where there was nothing to tune on.
        box_accuracy: Their mean: MaxBoxAccV2, but see `tune_thresholds`.
        thresholds: For each of `OVERLAPS` the threshold used.
    """

    method: str
    class_name: str
    pointing: Rate
    right_pointing: Rate
    area: float | None
    energy: float | None
    energy_ratio: float | None
    box_accuracies: tuple[float | None, ...]
    box_accuracy: float | None
    thresholds: tuple[float | None, ...]


def summarize(
    method: str,
    pictures: Sequence[ScoredPicture],
    thresholds: Mapping[float, float],
    classes: Sequence[str],
) -> tuple[LocalizationRow, ...]:
    """The mean over the classes, then each class.

    Args:
        method: What made the maps.
        pictures: Test pictures.
        thresholds: From `tune_thresholds` on validation pictures of the same method.
        classes: All names in the order wanted, those without pictures too.

    Raises:
        ValueError: A picture is of another class.
    """
    if strange := {one.class_name for one in pictures} - set(classes):
        raise ValueError(f"classes must be {', '.join(classes)}; received {sorted(strange)}")
    rows, means = [], []
    for name in classes:
        group = of_class(pictures, name)
        rates = (pointing_rate(group), pointing_rate([one for one in group if one.is_right]))
        scores = [_list_scores(one.scores, thresholds) for one in group]
        rows.append(_make_row(method, name, rates, scores, thresholds))
        means += [np.mean(scores, axis=0).tolist()] if scores else []
    rates = (mean_rate([r.pointing for r in rows]), mean_rate([r.right_pointing for r in rows]))
    return _make_row(method, "", rates, means, thresholds), *rows


def format_rows(rows: Sequence[LocalizationRow]) -> list[list[str]]:
    """A table for `records.sheets.format_csv`, headed; a cell is empty where nothing is known."""
    flat = [_flatten(row) for row in rows]
    header = ["method", "class", *(flat[0] if flat else ())]
    return [header] + [
        [row.method, row.class_name or f"({MEAN_OVER_CLASSES})"]
        + ["" if value is None else f"{value:.6g}" for value in values.values()]
        for row, values in zip(rows, flat, strict=True)
    ]


def localization_json(rows: Sequence[LocalizationRow]) -> dict[str, Any]:
    """The rows as strict JSON takes them, and which overlaps their lists are for."""
    return {"overlaps": list(OVERLAPS), "rows": [dataclasses.asdict(row) for row in rows]}


def _flatten(row: LocalizationRow) -> dict[str, float | None]:
    """The row's numbers by column name, in the order of the columns."""
    pointing, right = row.pointing, row.right_pointing
    return {
        "pictures": pointing.of,
        "area": row.area,
        "pointing": pointing.value,
        "pointing_low": pointing.low,
        "pointing_high": pointing.high,
        "hits": pointing.count,
        "right_pictures": right.of,
        "right_pointing": right.value,
        "right_pointing_low": right.low,
        "right_pointing_high": right.high,
        "right_hits": right.count,
        "energy": row.energy,
        "energy_ratio": row.energy_ratio,
        **{f"box_accuracy_{o:g}": v for o, v in zip(OVERLAPS, row.box_accuracies, strict=True)},
        "box_accuracy": row.box_accuracy,
        **{f"threshold_{o:g}": v for o, v in zip(OVERLAPS, row.thresholds, strict=True)},
    }


def _list_scores(scores: MapScores, thresholds: Mapping[float, float]) -> list[float]:
    """What is averaged alike: area, energy, and whether found (1 or 0) for each of `OVERLAPS`."""
    best = {o: scores.overlaps[THRESHOLDS.index(thresholds[o])] for o in OVERLAPS if thresholds}
    return [scores.area, scores.energy, *(float(is_found(best[o], o)) for o in best)]


def _make_row(
    method: str,
    name: str,
    rates: tuple[Rate, Rate],
    scores: Sequence[Sequence[float]],
    thresholds: Mapping[float, float],
) -> LocalizationRow:
    area, energy, *found = np.mean(scores, axis=0).tolist() if scores else (None, None)
    return LocalizationRow(
        method=method,
        class_name=name,
        pointing=rates[0],
        right_pointing=rates[1],
        area=area,
        energy=energy,
        energy_ratio=energy / area if energy is not None and area else None,
        box_accuracies=tuple(found) or (None,) * len(OVERLAPS),
        box_accuracy=float(np.mean(found)) if found else None,
        thresholds=tuple(thresholds.get(wanted) for wanted in OVERLAPS),
    )
