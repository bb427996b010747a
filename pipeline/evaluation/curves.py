"""What every possible threshold would do: ROC and precision against recall."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn import metrics as sk

FloatArray = npt.NDArray[np.floating]


@dataclass(frozen=True)
class RocCurve:
    """Receiver operating characteristic; points run from "stop nothing" to "stop everything".

    Attributes:
        false_call_rate: Of the negative pictures those with a score of at least the threshold.
        recall: The same of the positive ones.
        thresholds: Score of each point; `None` for the first, above all scores.
        area: Trapezoidal; 0.5 is chance, 1 perfect.
    """

    false_call_rate: tuple[float, ...]
    recall: tuple[float, ...]
    thresholds: tuple[float | None, ...]
    area: float


@dataclass(frozen=True)
class PrecisionRecallCurve:
    """Precision against recall; points run from "stop everything" to "stop nothing".

    Attributes:
        recall: Of the positive pictures those with a score of at least the threshold.
        precision: Of the pictures with such a score those that are positive.
        thresholds: Score of each point; `None` for the last, above all scores.
        area: Average precision, `sum((R_n - R_(n-1)) P_n)`: no interpolation, which would flatter.
    """

    recall: tuple[float, ...]
    precision: tuple[float, ...]
    thresholds: tuple[float | None, ...]
    area: float


def trace_roc(*, is_positive: npt.NDArray[np.bool_], scores: FloatArray) -> RocCurve:
    """Lowers the threshold from above all scores to the lowest one.

    Args:
        is_positive: `[pictures]`; must hold both values, else the curve is undefined.
        scores: Probability of the positive class `[pictures]`.
    """
    false_call_rate, recall, thresholds = sk.roc_curve(is_positive, scores)
    return RocCurve(
        false_call_rate=tuple(false_call_rate.tolist()),
        recall=tuple(recall.tolist()),
        thresholds=(None, *thresholds[1:].tolist()),
        area=float(sk.roc_auc_score(is_positive, scores)),
    )


def trace_precision_recall(
    *, is_positive: npt.NDArray[np.bool_], scores: FloatArray
) -> PrecisionRecallCurve:
    """Raises the threshold from the lowest score to above all; arguments as for `trace_roc`."""
    precision, recall, thresholds = sk.precision_recall_curve(
        is_positive, scores, drop_intermediate=True
    )
    return PrecisionRecallCurve(
        recall=tuple(recall.tolist()),
        precision=tuple(precision.tolist()),
        thresholds=(*thresholds.tolist(), None),
        area=float(sk.average_precision_score(is_positive, scores)),
    )


def format_area(area: float) -> str:
    """An area with four digits, rounded down: only a perfect curve reads 1.0000."""
    # The last bits say nothing: rates that add up to 1 may come to less, and 1e4 * 0.0003 to 2.99….
    return f"{math.floor(round(1e4 * area, 6)) / 1e4:.4f}"
