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
        stopped: Whether it ended before its last epoch.
        best_epoch: The 1-based epoch whose weights the model has in the end; 0 before the first.
        best_value: The loss of that epoch.
        best_weights: Weights of that epoch, as `keras.Model.get_weights` gives them.
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
        self._values: list[float] = []
        self.best_weights: list[np.ndarray] = []
        self.best_epoch, self.best_value = 0, math.inf
        self.stopped, self.reason = False, "ran all its epochs"

    @property
    def epochs_run(self) -> int:
        """Epochs seen so far."""
        return len(self._values)

    def facts(self) -> dict[str, Any]:
        """All that the rule knows besides `best_weights`, as JSON values (NaN included)."""
        return {"values": self._values, "stopped": self.stopped, "reason": self.reason}

    def restore(self, facts: Mapping[str, Any], best_weights: list[np.ndarray]) -> None:
        """Puts the rule where another one was when it gave these facts and weights."""
        self._values = list(facts["values"])
        self.stopped, self.reason = facts["stopped"], facts["reason"]
        self.best_weights = best_weights
        if best_weights:
            finite = [value for value in self._values if math.isfinite(value)]
            self.best_value = min(finite)
            self.best_epoch = self._values.index(self.best_value) + 1

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Keeps the weights of a new minimum; decides whether to go on."""
        value = float((logs or {})[self._monitor])
        self._values.append(value)
        if not math.isfinite(value):
            self._stop(f"{self._monitor} is {value}")
            return
        if value < self.best_value:
            self.best_value, self.best_epoch = value, epoch + 1
            self.best_weights = self.model.get_weights()
        elif epoch + 1 - self.best_epoch >= self._patience:
            self._stop(f"{self._monitor} did not improve for {self._patience} epochs")
        if self.fluctuation() > self._bound:
            self._stop(
                f"{self._monitor} fluctuated by {self.fluctuation():.2f} of its scale over "
                f"{self._window} epochs (bound {self._bound:g})"
            )

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Puts the best weights back."""
        if self.best_weights:
            self.model.set_weights(self.best_weights)

    def fluctuation(self) -> float:
        """Mean absolute change over the window, in units of the scale; 0 before it is full."""
        if len(self._values) <= self._window:
            return 0.0
        recent = np.array(self._values[-self._window - 1 :])
        return float(np.abs(np.diff(recent)).mean() / self._scale)

    def _stop(self, reason: str) -> None:
        self.model.stop_training = self.stopped = True
        self.reason = reason
