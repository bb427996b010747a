"""When training ends, and with which weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np


class FluctuationStopping(keras.callbacks.Callback):
    """Stops when the validation loss no longer improves or fluctuates excessively; keeps the best.

    The fluctuation is the mean absolute change from epoch to epoch over the last `window` changes,
    divided by `scale`. Small against `scale` means that training settles, whatever the loss is.

    Args:
        monitor: Name of the loss in the epoch's logs.
        patience: Epochs without a new minimum before training stops.
        window: Changes the fluctuation is measured over; it also waits that long at the start.
        bound: Largest fluctuation that is let pass.
        scale: The loss of a model that knows nothing, `ln(classes)` for cross-entropy.

    Attributes:
        reason: Why training ended, in words.
        best_epoch: The 1-based epoch whose weights the model has in the end; 0 before the first.
        best_value: The loss of that epoch.
    """

    def __init__(
        self,
        *,
        monitor: str = "val_loss",
        patience: int = 12,
        window: int = 6,
        bound: float = 0.5,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self._monitor, self._patience = monitor, patience
        self._window, self._bound, self._scale = window, bound, scale

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Forgets what an earlier training left."""
        self._values: list[float] = []
        self._best_weights: list[np.ndarray] | None = None
        self.best_epoch, self.best_value = 0, math.inf
        self.reason = "ran all its epochs"

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Keeps the weights of a new minimum; decides whether to go on."""
        value = float((logs or {})[self._monitor])
        self._values.append(value)
        if not math.isfinite(value):
            self._stop(f"{self._monitor} is {value}")
        elif value < self.best_value:
            self.best_value, self.best_epoch = value, epoch + 1
            self._best_weights = self.model.get_weights()
        elif epoch + 1 - self.best_epoch >= self._patience:
            self._stop(f"{self._monitor} did not improve for {self._patience} epochs")
        if self.fluctuation() > self._bound:
            self._stop(
                f"{self._monitor} fluctuated by {self.fluctuation():.2f} of its scale over "
                f"{self._window} epochs (bound {self._bound:g})"
            )

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Puts the best weights back."""
        if self._best_weights is not None:
            self.model.set_weights(self._best_weights)

    def fluctuation(self) -> float:
        """Mean absolute change over the window, in units of the scale; 0 before it is full."""
        if len(self._values) <= self._window:
            return 0.0
        recent = np.array(self._values[-self._window - 1 :])
        return float(np.abs(np.diff(recent)).mean() / self._scale)

    def _stop(self, reason: str) -> None:
        self.model.stop_training = True
        self.reason = reason
