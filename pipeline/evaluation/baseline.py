"""What the mean grey value alone achieves: the bar that a model has to clear to mean anything.

A data set in which the defective pictures are simply darker makes any model look good. This
baseline sees one number a picture, is fitted on the training split and scored on the test split.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import balanced_accuracy_score, roc_auc_score, roc_curve
from sklearn.naive_bayes import GaussianNB

from pipeline.evaluation.rates import measure_rate

IntArray = npt.NDArray[np.integer]
FloatArray = npt.NDArray[np.floating]

_NEAR = 0.01  # an area this much below the model's is "as good" on any affordable test split


def measure_baseline(
    *,
    train_grey: FloatArray,
    train_true: IntArray,
    test_grey: FloatArray,
    test_true: IntArray,
    positive: int | None,
) -> dict[str, Any]:
    """Fits the baseline on the training split and scores it on the test split.

    Args:
        train_grey: Mean grey value of each picture `[n]`, in any one unit.
        train_true: Class indices `[n]`.
        test_grey: `[m]`, in the same unit.
        test_true: `[m]`.
        positive: Index of the class that must be caught with two classes, else `None`.

    Returns:
        For `metrics.json` and the report; undefined values are `None`. With two classes:
        `kind` = `threshold`, `positive_is` (`brighter` or `darker`), `threshold` (in the unit of
        the grey values), `auroc` and `balanced_accuracy` on the test split. With more: `kind` =
        `gaussian_naive_bayes` and `accuracy`, a `pipeline.evaluation.rates.Rate` as a dict.

    Raises:
        ValueError: Lengths differ, a split is empty or a grey value is not finite.
    """
    for name, grey, true in (("train", train_grey, train_true), ("test", test_grey, test_true)):
        if grey.ndim != 1 or grey.shape != true.shape or not len(grey):
            raise ValueError(f"{name}: grey values {grey.shape}, classes {true.shape}")
        if not np.isfinite(grey).all():
            raise ValueError(f"{name}: a grey value is not finite")
    if positive is None:
        return _measure_naive_bayes(train_grey, train_true, test_grey, test_true)
    return _measure_threshold(train_grey, train_true == positive, test_grey, test_true == positive)


def rivals_model(baseline: Mapping[str, Any], metrics: Mapping[str, Any]) -> bool | None:
    """Whether the baseline does as well as the model on the test split.

    With two classes: an area under the ROC curve less than 0.01 below the model's, or better.
    With more: an accuracy not below the model's 95 % interval.

    Args:
        baseline: What `measure_baseline` returned.
        metrics: `pipeline.evaluation.metrics.Metrics.to_json()` of the model on the same pictures.

    Returns:
        `None` when one of the two figures is undefined.
    """
    if baseline["kind"] == "threshold":
        roc = (metrics["binary"] or {}).get("roc")
        if roc is None or baseline["auroc"] is None:
            return None
        return bool(baseline["auroc"] >= roc["area"] - _NEAR)
    return bool(baseline["accuracy"]["value"] >= metrics["accuracy"]["low"])


def _measure_threshold(
    train_grey: FloatArray,
    train_positive: npt.NDArray[np.bool_],
    test_grey: FloatArray,
    test_positive: npt.NDArray[np.bool_],
) -> dict[str, Any]:
    result: dict[str, Any] = dict.fromkeys(("positive_is", "threshold", "auroc"))
    result |= {"kind": "threshold", "balanced_accuracy": None}
    if train_positive.all() or not train_positive.any():
        return result
    sign = 1.0 if roc_auc_score(train_positive, train_grey) >= 0.5 else -1.0
    threshold = _best_threshold(train_positive, sign * train_grey)
    result["positive_is"] = "brighter" if sign > 0 else "darker"
    result["threshold"] = sign * threshold
    if test_positive.any() and not test_positive.all():
        stopped = sign * test_grey >= threshold
        result["auroc"] = float(roc_auc_score(test_positive, sign * test_grey))
        result["balanced_accuracy"] = float(balanced_accuracy_score(test_positive, stopped))
    return result


def _best_threshold(is_positive: npt.NDArray[np.bool_], scores: FloatArray) -> float:
    """The score that maximises recall minus false-call rate (W. J. Youden, Cancer 3 (1950) 32).

    The first point of the curve, above all scores, is left out: its threshold is infinite.
    """
    false_call_rate, recall, thresholds = roc_curve(is_positive, scores)
    return float(thresholds[1:][np.argmax((recall - false_call_rate)[1:])])


def _measure_naive_bayes(
    train_grey: FloatArray, train_true: IntArray, test_grey: FloatArray, test_true: IntArray
) -> dict[str, Any]:
    if np.ptp(train_grey) == 0:  # no variance, which the classifier would divide by
        predicted = np.full_like(test_true, np.bincount(train_true).argmax())
    else:
        classifier = GaussianNB().fit(train_grey[:, None], train_true)
        predicted = classifier.predict(test_grey[:, None])
    rate = measure_rate(count=int((predicted == test_true).sum()), of=len(test_true))
    return {"kind": "gaussian_naive_bayes", "accuracy": asdict(rate)}
