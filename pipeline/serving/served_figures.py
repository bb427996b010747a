"""Figures of a SavedModel that computes in another precision than the model evaluated."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.calibration import measure_reliability
from pipeline.evaluation.metrics import compute_metrics
from pipeline.evaluation.predictions import Predictions
from pipeline.serving.drift_reference import answer_records
from pipeline.serving.golden_set import PictureSet
from pipeline.serving.saved_model import Signature

Figures = dict[str, float | None]


def compare_figures(
    answer: Signature, pictures: PictureSet, *, positive_class: str
) -> dict[str, Figures]:
    """Measures what is served as what was evaluated: the same pictures, the same formulas.

    Labels and decisions are the gate's business; here are the figures that probabilities make.

    Args:
        answer: A signature of the SavedModel that takes `image_bytes`.
        pictures: Pictures with the evaluated answers.
        positive_class: With two classes the one that must be caught, else empty.

    Returns:
        `evaluated` and `served`, each with `accuracy`, `log_loss`, `expected_calibration_error`,
        `auroc` and `average_precision`; the last two are None with more than two classes, or
        pictures of one class alone.
    """
    return {
        "evaluated": _measure(pictures.expected, positive_class),
        "served": _measure(_ask(answer, pictures), positive_class),
    }


def _ask(answer: Signature, pictures: PictureSet) -> Predictions:
    """The evaluated answers with labels and probabilities replaced by what `answer` says."""
    predicted: list[npt.NDArray[np.int64]] = []
    probabilities: list[npt.NDArray[np.float32]] = []
    for _, outputs in answer_records(answer, pictures.shards, description="figures"):
        predicted.append(outputs["label_index"].numpy())
        probabilities.append(outputs["probabilities"].numpy())
    return dataclasses.replace(
        pictures.expected,
        predicted=np.concatenate(predicted),
        probabilities=np.concatenate(probabilities),
    )


def _measure(answers: Predictions, positive_class: str) -> Figures:
    metrics = compute_metrics(
        true=answers.true,
        predicted=answers.predicted,
        probabilities=answers.probabilities,
        classes=answers.classes,
        positive_class=positive_class,
    )
    positive = answers.classes.index(positive_class) if positive_class else None
    reliability = measure_reliability(answers.probabilities, answers.true, positive=positive)
    roc = metrics.binary and metrics.binary.roc
    curve = metrics.binary and metrics.binary.precision_recall
    return {
        "accuracy": metrics.accuracy.value,
        "log_loss": metrics.log_loss,
        "expected_calibration_error": reliability.expected_calibration_error,
        "auroc": roc.area if roc else None,
        "average_precision": curve.area if curve else None,
    }
