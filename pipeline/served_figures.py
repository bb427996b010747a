"""Figures of a SavedModel that computes in another precision than the model evaluated."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tqdm import tqdm

from pipeline.calibration import measure_reliability
from pipeline.golden_set import PictureSet
from pipeline.metrics import compute_metrics
from pipeline.predictions import Predictions
from pipeline.saved_model import Signature
from records.parsing import read_records

Figures = dict[str, float | None]

_BATCH_SIZE = 32


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
    evaluated = pictures.expected
    served = _ask(answer, pictures.shards, len(evaluated.source_ids), evaluated)
    return {
        name: _measure(one, positive_class)
        for name, one in (("evaluated", evaluated), ("served", served))
    }


def _ask(
    answer: Signature, shards: Sequence[Path], count: int, evaluated: Predictions
) -> Predictions:
    """The evaluated answers with labels and probabilities replaced by what `answer` says."""
    predicted: list[npt.NDArray[np.int64]] = []
    probabilities: list[npt.NDArray[np.float32]] = []
    records = read_records(shards)
    with tqdm(total=count, desc="figures", unit="pictures", disable=None) as bar:
        while batch := list(itertools.islice(records, _BATCH_SIZE)):
            outputs = answer(image_bytes=tf.constant([record["encoded"] for record in batch]))
            predicted.append(outputs["label_index"].numpy())
            probabilities.append(outputs["probabilities"].numpy())
            bar.update(len(batch))
    return dataclasses.replace(
        evaluated, predicted=np.concatenate(predicted), probabilities=np.concatenate(probabilities)
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
