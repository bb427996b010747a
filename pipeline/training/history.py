"""What happened in every epoch: `history.csv`, and the same for TensorBoard."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from records.atomic import write_text

COLUMNS = (
    *("epoch", "phase", "seconds", "input_wait_fraction", "learning_rate"),
    *("loss", "accuracy", "logits_loss", "evidence_loss", "reconstruction_loss"),
    *("val_loss", "val_accuracy", "val_logits_loss", "val_evidence_loss"),
    "val_reconstruction_loss",
)

# Our columns, by what Keras calls them in a model of several outputs.
_KERAS_NAMES = {
    "accuracy": "logits_accuracy",
    "logits_loss": "logits_mean",
    "reconstruction_loss": "reconstruction_mean",
}


def name_columns(logs: Mapping[str, Any]) -> dict[str, float]:
    """What Keras says at the end of an epoch, under the names of our columns."""
    values = {name: float(value) for name, value in logs.items()}
    for prefix in ("", "val_"):
        for ours, keras_name in _KERAS_NAMES.items():
            if prefix + keras_name in values:
                values[prefix + ours] = values.pop(prefix + keras_name)
    return {name: values[name] for name in COLUMNS if name in values}


def write_history_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes all epochs anew, whole or not at all; what a row does not have stays empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def mean_wait_fraction(rows: Sequence[Mapping[str, Any]]) -> float:
    """Share of all training that waited for pictures; epochs count by their length."""
    seconds = sum(row["seconds"] for row in rows)
    return sum(row["seconds"] * row["input_wait_fraction"] for row in rows) / seconds


class TensorBoardWriter:
    """Event files for TensorBoard; the first is made when there is something to say.

    Args:
        folder: Where they go.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: tf.summary.SummaryWriter | None = None

    def write(
        self,
        step: int,
        values: Mapping[str, float],
        pictures: Mapping[str, npt.ArrayLike] | None = None,
    ) -> None:
        """Writes the numbers and pictures of one step.

        Args:
            step: Epochs so far, over all phases.
            values: Numbers by name.
            pictures: By name: `[n, height, width, channels]`, grey values 0 to 255.
        """
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self._folder))
        with self._writer.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
            for name, images in (pictures or {}).items():
                grey = np.clip(np.rint(np.asarray(images, np.float32)), 0, 255).astype(np.uint8)
                tf.summary.image(name, grey, max_outputs=len(grey))
        self._writer.flush()
