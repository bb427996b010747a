"""One phase of training: schedule, stopping, record of what happened.

The phases of each model are put together in `pipeline.autoencoder_training` and
`pipeline.backbone_training`.
"""

from __future__ import annotations

import csv
import io
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from pipeline.stopping import FluctuationStopping
from records.atomic import write_text
from records.errors import InputError


@dataclass(frozen=True)
class Phase:
    """What one phase is to do.

    Attributes:
        name: Stands in `history.csv`.
        epochs: At most.
        steps_per_epoch: Batches an epoch.
        learning_rate: Peak; reached after a tenth of all steps, then a half cosine down to 0.
        monitor: What is watched on the validation split; the weights with its minimum are kept.
        scale: The watched loss of a model that knows nothing; fluctuation is measured against it.
    """

    name: str
    epochs: int
    steps_per_epoch: int
    learning_rate: float
    monitor: str = "val_loss"
    scale: float = 1.0


@dataclass(frozen=True)
class PhaseOutcome:
    """What one phase did: written to `config.json`."""

    name: str
    epochs_run: int
    best_epoch: int
    best_value: float
    stopped: str
    seconds: float


# Our columns, by what Keras calls them in a model of several outputs.
_KERAS_NAMES = {
    "accuracy": "logits_accuracy",
    "logits_loss": "logits_mean",
    "reconstruction_loss": "reconstruction_mean",
}


class HistoryWriter(keras.callbacks.Callback):
    """Writes `history.csv` anew after every epoch, over all phases.

    Args:
        path: The file.
        log_dir: Where TensorBoard's event files go.
    """

    COLUMNS = (
        *("epoch", "phase", "seconds", "learning_rate"),
        *("loss", "accuracy", "logits_loss", "reconstruction_loss"),
        *("val_loss", "val_accuracy", "val_logits_loss", "val_reconstruction_loss"),
    )

    def __init__(self, path: Path, log_dir: Path) -> None:
        super().__init__()
        self._path, self._phase = path, ""
        self._rows: list[dict[str, Any]] = []
        self._summaries = tf.summary.create_file_writer(str(log_dir))

    def begin_phase(self, name: str) -> None:
        """Names the phase of the epochs to come."""
        self._phase = name

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Starts the clock."""
        self._started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Adds a row, and the same numbers for TensorBoard."""
        values = {name: float(value) for name, value in (logs or {}).items()}
        for prefix in ("", "val_"):
            for ours, keras_name in _KERAS_NAMES.items():
                if prefix + keras_name in values:
                    values[prefix + ours] = values.pop(prefix + keras_name)
        values["learning_rate"] = float(self.model.optimizer.learning_rate)
        row = {"epoch": len(self._rows) + 1, "phase": self._phase, **values}
        row["seconds"] = round(time.monotonic() - self._started, 3)
        self._rows.append({name: row.get(name, "") for name in self.COLUMNS})
        text = io.StringIO()
        writer = csv.DictWriter(text, self.COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_text(self._path, text.getvalue())
        with self._summaries.as_default(step=len(self._rows)):
            for name, value in values.items():
                tf.summary.scalar(f"{self._phase}/{name}", value)
        self._summaries.flush()


def run_phase(
    model: keras.Model,
    training: tf.data.Dataset,
    validation: tf.data.Dataset,
    *,
    phase: Phase,
    loss: Any,
    history: HistoryWriter,
    metrics: Any = None,
    loss_weights: Mapping[str, float] | None = None,
) -> PhaseOutcome:
    """Fits `model` and leaves it with the best weights of the phase.

    Args:
        model: Is compiled anew here.
        training: Endless batches.
        validation: Finite batches.
        phase: What to do.
        loss: As `keras.Model.compile` takes it.
        history: Records every epoch.
        metrics: As `compile` takes it.
        loss_weights: As `compile` takes it.

    Returns:
        What was done.

    Raises:
        InputError: The watched loss was never a finite number.
    """
    model.compile(
        optimizer=keras.optimizers.Adam(_schedule(phase)),
        loss=loss,
        loss_weights=loss_weights,
        metrics=metrics,
    )
    stopping = FluctuationStopping(monitor=phase.monitor, scale=phase.scale)
    history.begin_phase(phase.name)
    print(f"{phase.name}: up to {phase.epochs} epochs of {phase.steps_per_epoch} steps", flush=True)
    started = time.monotonic()
    epochs = model.fit(
        training,
        steps_per_epoch=phase.steps_per_epoch,
        epochs=phase.epochs,
        validation_data=validation,
        callbacks=[stopping, history],
        shuffle=False,
        verbose=1 if sys.stdout.isatty() else 2,
    ).epoch
    if not stopping.best_epoch:
        raise InputError(
            f"The training diverged in the phase {phase.name}: {stopping.reason}.",
            "Give a larger --batch_size, a weaker --augment or another --seed.",
        )
    print(
        f"{phase.name}: {stopping.reason}; kept epoch {stopping.best_epoch} "
        f"({phase.monitor} {stopping.best_value:.4f})",
        flush=True,
    )
    return PhaseOutcome(
        name=phase.name,
        epochs_run=len(epochs),
        best_epoch=stopping.best_epoch,
        best_value=stopping.best_value,
        stopped=stopping.reason,
        seconds=round(time.monotonic() - started, 1),
    )


def _schedule(phase: Phase) -> keras.optimizers.schedules.LearningRateSchedule:
    steps = phase.epochs * phase.steps_per_epoch
    warm_up = max(1, steps // 10)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        decay_steps=max(1, steps - warm_up),
        warmup_target=phase.learning_rate,
        warmup_steps=warm_up,
    )
