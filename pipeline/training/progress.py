"""How far a training is: a bar within the epoch, and the time that the rest will take at most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from tqdm import tqdm

from pipeline.training.phases import Phase

# The parts of the training loss stand in the history.
_SHOWN = (
    *("loss", "accuracy"),
    *("val_loss", "val_logits_loss", "val_reconstruction_loss", "val_accuracy"),
)


def seconds_left(
    phases: Sequence[Phase], *, current: Phase, epochs_done: int, epoch_seconds: float
) -> float:
    """Time for the rest of the training, if no phase stops early.

    Args:
        phases: All phases of the training, in order; `current` is one of them.
        current: The phase that runs now.
        epochs_done: Its epochs so far.
        epoch_seconds: What the latest of them took.

    Returns:
        Seconds; a step of a later phase is taken to last as long as one of this phase, times the
        ratio of their `effort`.
    """
    left = (current.epochs - epochs_done) * epoch_seconds
    unit = epoch_seconds / (current.steps_per_epoch * current.effort)
    names = [phase.name for phase in phases]
    for phase in phases[names.index(current.name) + 1 :]:
        left += phase.epochs * phase.steps_per_epoch * phase.effort * unit
    return left


def describe_epoch(phase: Phase, epoch: int, values: Mapping[str, float], *, left: float) -> str:
    """One line on an epoch: losses, accuracies, `seconds` of `values`, time left."""
    shown = [f"{name.replace('_', ' ')} {values[name]:.4f}" for name in _SHOWN if name in values]
    return (
        f"{phase.name} {epoch}/{phase.epochs}: {', '.join(shown)}; {values['seconds']:.1f} s, "
        f"at most {tqdm.format_interval(left)} left"
    )


class EpochBar(keras.callbacks.Callback):
    """A bar with rate and time left within each epoch, on a terminal alone.

    Args:
        phase: What the bar is for.
    """

    def __init__(self, phase: Phase) -> None:
        super().__init__()
        self._phase = phase
        self._bar: tqdm | None = None

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Opens the bar."""
        self._bar = tqdm(
            total=self._phase.steps_per_epoch,
            desc=f"{self._phase.name} {epoch + 1}/{self._phase.epochs}",
            unit="steps",
            leave=False,
            disable=None,
        )

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Moves it on."""
        if self._bar is not None:
            self._bar.update()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Takes it away, so that the line on the epoch stands in its place."""
        if self._bar is not None:
            self._bar.close()
