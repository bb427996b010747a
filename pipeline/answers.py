"""What a model says of a whole split, and what is decided from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tqdm import tqdm

from pipeline.modelfacts import ModelFacts
from pipeline.threshold import is_stopped

Outputs = dict[str, tf.Tensor]


@dataclass(frozen=True, eq=False)
class Answers:
    """What the model says of every picture of a split, in the order of the records.

    Attributes:
        true: int64 `[pictures]`.
        probabilities: float32 `[pictures, classes]`.
        reconstruction_error: float64 `[pictures]` in grey values, or None without a decoder.
    """

    true: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float32]
    reconstruction_error: npt.NDArray[np.float64] | None


def collect_answers(
    predict: Callable[[tf.Tensor], Outputs],
    dataset: tf.data.Dataset,
    *,
    count: int,
    description: str,
) -> Answers:
    """Runs a model over a data set once.

    Args:
        predict: From float32 `[batch, size, size, channels]`, 0 to 255, to `probabilities`
            `[batch, classes]` and perhaps `reconstruction_error` `[batch]`.
        dataset: Batches of `(images, labels)`.
        count: Pictures in it.
        description: Stands before the progress bar.
    """
    true, outputs = [], []
    with tqdm(total=count, desc=description, unit="pictures", disable=None) as bar:
        for images, labels in dataset:
            true.append(labels.numpy())
            outputs.append({name: value.numpy() for name, value in predict(images).items()})
            bar.update(len(labels))
    columns = {name: np.concatenate([batch[name] for batch in outputs]) for name in outputs[0]}
    error = columns.get("reconstruction_error")
    return Answers(
        true=np.concatenate(true),
        probabilities=columns["probabilities"],
        reconstruction_error=None if error is None else error.astype(np.float64),
    )


def decide(
    facts: ModelFacts, probabilities: npt.NDArray[np.float32], threshold: float
) -> npt.NDArray[np.int64]:
    """Class indices `[pictures]`: by the threshold with two classes, else the most probable.

    The same rule as `models.serving.judge` holds in the SavedModel.
    """
    if not facts.positive_class:
        return probabilities.argmax(axis=1)
    positive = facts.classes.index(facts.positive_class)
    stopped = is_stopped(probabilities[:, positive], threshold)
    return np.where(stopped, positive, 1 - positive).astype(np.int64)


def rank_errors(
    facts: ModelFacts, answers: Answers, predicted: npt.NDArray[np.int64], *, most: int
) -> list[int]:
    """The worst errors first: what passed before what was stopped, the surest before the unsure.

    Returns:
        Indices of at most `most` pictures.
    """
    passes = [name not in facts.fail_classes for name in facts.classes]
    confidence = answers.probabilities[np.arange(len(predicted)), predicted]
    wrong = np.flatnonzero(predicted != answers.true)
    ranked = sorted(wrong, key=lambda i: (not passes[predicted[i]], -confidence[i], i))
    return [int(index) for index in ranked[:most]]
