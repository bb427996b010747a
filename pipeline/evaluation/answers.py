"""What a model says of a whole split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tqdm import tqdm

Outputs = dict[str, tf.Tensor]


@dataclass(frozen=True, eq=False)
class Answers:
    """What the model says of every picture of a split, in the order of the records.

    Attributes:
        true: int64 `[pictures]`.
        logits: float32 `[pictures, classes]`.
        reconstruction_error: float32 `[pictures]` in grey values, or None without a decoder.
    """

    true: npt.NDArray[np.int64]
    logits: npt.NDArray[np.float32]
    reconstruction_error: npt.NDArray[np.float32] | None


def collect_answers(
    predict: Callable[[tf.Tensor], Outputs],
    dataset: tf.data.Dataset,
    *,
    count: int,
    description: str,
) -> Answers:
    """Runs a model over a data set once.

    Args:
        predict: From float32 `[batch, size, size, channels]`, 0 to 255, to `logits` `[batch,
            classes]` and perhaps `reconstruction_error` `[batch]`.
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
    return Answers(
        true=np.concatenate(true),
        logits=columns["logits"],
        reconstruction_error=columns.get("reconstruction_error"),
    )
