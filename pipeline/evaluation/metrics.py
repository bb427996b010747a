"""How good the answers are: counts, rates with exact intervals, curves.

The words follow the factory: an *escape* is a picture of the positive class (the one that must be
caught) that passed; a *false call* is a picture of the other class that was stopped. Confusion
matrices have true classes as rows and predicted ones as columns. What is undefined, such as the
precision of a class that was never predicted, is `None`, never NaN and never a made-up 0.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import metrics as sk

from pipeline.evaluation.curves import (
    PrecisionRecallCurve,
    RocCurve,
    trace_precision_recall,
    trace_roc,
)
from pipeline.evaluation.rates import Rate, measure_rate
from records.atomic import write_text
from records.sheets import format_csv

IntArray = npt.NDArray[np.integer]
FloatArray = npt.NDArray[np.floating]


@dataclass(frozen=True)
class ClassMetrics:
    """One class against the rest.

    Attributes:
        name: The class.
        support: Pictures that are of this class.
        precision: Of the pictures called this class, those that are.
        recall: Of the pictures of this class, those that were called so.
        f1: `2 TP / (2 TP + FP + FN)`; `None` when the class is neither present nor predicted.
    """

    name: str
    support: int
    precision: Rate
    recall: Rate
    f1: float | None


@dataclass(frozen=True)
class Average:
    """Means over the classes for which a value is defined; `None` when it is for none."""

    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True)
class BinaryMetrics:
    """What only two classes have.

    Attributes:
        positive_class: The class that must be caught.
        negative_class: The other one.
        escapes: Positives that were passed, out of the positives.
        false_calls: Negatives that were stopped, out of the negatives.
        roc: `None` when the pictures are all of one class, as is the next.
        precision_recall: See `PrecisionRecallCurve`.
    """

    positive_class: str
    negative_class: str
    escapes: Rate
    false_calls: Rate
    roc: RocCurve | None
    precision_recall: PrecisionRecallCurve | None


@dataclass(frozen=True)
class Metrics:
    """The evaluation in figures: the content of `metrics.json`.

    Attributes:
        pictures: How many were judged.
        classes: Class names, in the order of every other field.
        accuracy: Pictures called what they are.
        log_loss: Mean of `-ln p(true class)`; a probability of 0 counts as 2.2e-16.
        confusion_matrix: Counts `[true][predicted]`.
        confusion_matrix_normalized: Each row divided by its sum; `None` in rows without pictures.
        per_class: One entry a class.
        macro: Means in which every class counts the same.
        weighted: Means in which every picture counts the same.
        binary: With two classes, else `None`.
    """

    pictures: int
    classes: tuple[str, ...]
    accuracy: Rate
    log_loss: float
    confusion_matrix: tuple[tuple[int, ...], ...]
    confusion_matrix_normalized: tuple[tuple[float | None, ...], ...]
    per_class: tuple[ClassMetrics, ...]
    macro: Average
    weighted: Average
    binary: BinaryMetrics | None

    def to_json(self) -> dict[str, Any]:
        """The same as nested dicts, lists, numbers and `None`: strict JSON."""
        return dataclasses.asdict(self)


def compute_metrics(
    *,
    true: IntArray,
    predicted: IntArray,
    probabilities: FloatArray,
    classes: Sequence[str],
    positive_class: str = "",
) -> Metrics:
    """Compares answers with the truth.

    Args:
        true: Class indices `[pictures]`.
        predicted: Class indices `[pictures]` as decided: with two classes by the threshold.
        probabilities: `[pictures, classes]` in [0, 1], rows adding up to 1.
        classes: Class names in the order of the model's outputs; at least two.
        positive_class: With two classes the one that must be caught, else empty.

    Raises:
        ValueError: Shapes or class indices do not fit one another, a probability is outside
            [0, 1] or not a number, or there is no picture.
    """
    _check(true, predicted, probabilities, classes, positive_class)
    labels = range(len(classes))
    matrix = sk.confusion_matrix(true, predicted, labels=labels)
    rows = np.asarray(probabilities, np.float64)
    f1 = _scores(true, predicted, labels, average=None)[2]
    return Metrics(
        pictures=len(true),
        classes=tuple(classes),
        accuracy=measure_rate(count=int(np.trace(matrix)), of=len(true)),
        log_loss=float(sk.log_loss(true, rows / rows.sum(axis=1, keepdims=True), labels=labels)),
        confusion_matrix=tuple(tuple(row) for row in matrix.tolist()),
        confusion_matrix_normalized=tuple(_normalize(row) for row in matrix.tolist()),
        per_class=tuple(_one_class(matrix, i, classes[i], _defined(f1[i])) for i in labels),
        macro=_average(true, predicted, labels, "macro"),
        weighted=_average(true, predicted, labels, "weighted"),
        binary=_binary(matrix, true, probabilities, classes, positive_class),
    )


def write_confusion_matrix(
    path: Path, *, matrix: Sequence[Sequence[int]], classes: Sequence[str]
) -> None:
    """Writes counts as CSV: a row for each true class, a column for each predicted one."""
    rows = [["true \\ predicted", *classes]]
    rows += [[name, *map(str, row)] for name, row in zip(classes, matrix, strict=True)]
    write_text(path, format_csv(rows))


def _check(
    true: IntArray,
    predicted: IntArray,
    probabilities: FloatArray,
    classes: Sequence[str],
    positive_class: str,
) -> None:
    count = len(classes)
    if true.shape != predicted.shape or probabilities.shape != (*true.shape, count):
        raise ValueError(
            f"true {true.shape}, predicted {predicted.shape} and probabilities "
            f"{probabilities.shape} do not fit {count} classes"
        )
    if true.ndim != 1 or len(true) == 0 or count < 2:
        raise ValueError(f"need pictures and two classes; received {true.shape}, {count} classes")
    for name, indices in (("true", true), ("predicted", predicted)):
        if indices.min() < 0 or indices.max() >= count:
            raise ValueError(f"{name} holds a class index outside 0 to {count - 1}")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError("a probability is outside 0 to 1 or not a number")
    if count == 2 and positive_class not in classes:
        raise ValueError(f"positive_class must be one of {tuple(classes)}; got {positive_class!r}")


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _normalize(row: list[int]) -> tuple[float | None, ...]:
    total = sum(row)
    return tuple(value / total if total else None for value in row)


def _scores(true: IntArray, predicted: IntArray, labels: range, *, average: str | None) -> Any:
    return sk.precision_recall_fscore_support(
        true, predicted, labels=labels, average=average, zero_division=np.nan
    )


def _average(true: IntArray, predicted: IntArray, labels: range, kind: str) -> Average:
    precision, recall, f1, _ = _scores(true, predicted, labels, average=kind)
    return Average(_defined(precision), _defined(recall), _defined(f1))


def _one_class(matrix: IntArray, index: int, name: str, f1: float | None) -> ClassMetrics:
    hits = int(matrix[index, index])
    support = int(matrix[index].sum())
    return ClassMetrics(
        name=name,
        support=support,
        precision=measure_rate(count=hits, of=int(matrix[:, index].sum())),
        recall=measure_rate(count=hits, of=support),
        f1=f1,
    )


def _binary(
    matrix: IntArray,
    true: IntArray,
    probabilities: FloatArray,
    classes: Sequence[str],
    positive_class: str,
) -> BinaryMetrics | None:
    if len(classes) != 2:
        return None
    positive = classes.index(positive_class)
    negative = 1 - positive
    is_positive, scores = true == positive, probabilities[:, positive]
    mixed = bool(is_positive.any() and not is_positive.all())
    return BinaryMetrics(
        positive_class=positive_class,
        negative_class=classes[negative],
        escapes=measure_rate(count=int(matrix[positive, negative]), of=int(matrix[positive].sum())),
        false_calls=measure_rate(
            count=int(matrix[negative, positive]), of=int(matrix[negative].sum())
        ),
        roc=trace_roc(is_positive=is_positive, scores=scores) if mixed else None,
        precision_recall=trace_precision_recall(is_positive=is_positive, scores=scores)
        if mixed
        else None,
    )
