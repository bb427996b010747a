"""A moving average of the weights: what is validated and kept, while training goes its own way.

B. Polyak and A. Juditsky, "Acceleration of stochastic approximation by averaging", SIAM J. Control
Optim. 30(4), 1992; as an exponential average: A. Tarvainen and H. Valpola, "Mean teachers are
better role models", NeurIPS 2017, arXiv 1703.01780, equation 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf


class WeightAverage(keras.callbacks.Callback):
    """Averages all weights over the steps; the model has the average while it is validated.

    After step `t = 1, 2, ...` the average `a` of a weight `w` becomes `m a + (1 - m) w` with
    `m = min(momentum, t / (t + 9))`: the random start is forgotten early, however close to 1
    `momentum` is. Statistics of batch normalisation are averaged like weights: they then belong to
    the average about as well as statistics measured anew with it (BUILD_NOTES.md).

    The model gets the average when validation begins and its own weights back at the end of the
    epoch: callbacks that are to see the average must stand before this one, those that are to see
    the weights themselves behind it.

    Args:
        model: The model that is fitted; the average starts from its weights.
        momentum: At least 0, below 1; the average is over some `1 / (1 - momentum)` steps.
    """

    def __init__(self, model: keras.Model, momentum: float) -> None:
        super().__init__()
        self._momentum = momentum
        self._own: list[np.ndarray] = []
        self._weights = model.weights
        self._step = tf.Variable(0, dtype=tf.int64)
        self._averages = [tf.Variable(weight.value) for weight in self._weights]
        strategy = tf.distribute.get_strategy()
        # In each replica by itself: all hold the same.
        self._update = tf.function(lambda: strategy.run(self._trace_update), autograph=False)

    @property
    def variables(self) -> list[tf.Variable]:
        """All state between two epochs."""
        return [self._step, *self._averages]

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Takes the weights of one step in."""
        self._update()

    def on_test_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Gives the model the average."""
        self._own = self.model.get_weights()
        self.model.set_weights([average.numpy() for average in self._averages])

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Gives the model its own weights back."""
        self.model.set_weights(self._own)

    def _trace_update(self) -> None:
        step = tf.cast(self._step.assign_add(1), tf.float32)
        share = 1.0 - tf.minimum(self._momentum, step / (step + 9.0))
        for average, weight in zip(self._averages, self._weights, strict=True):
            value = tf.convert_to_tensor(weight.value)
            average.assign_add(tf.cast(share, value.dtype) * (value - average))
