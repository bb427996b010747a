"""Losses that carry what Keras' arguments cannot."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf


class WeightedCrossEntropy(keras.losses.Loss):
    """Cross-entropy from logits in which each class counts with its own weight.

    The weights sit in the loss because `fit(class_weight=...)` does not take a model of several
    outputs, and because validation must be measured with the same weights as training.

    Args:
        class_weights: One positive number a class.
    """

    def __init__(self, class_weights: Sequence[float]) -> None:
        super().__init__(name="weighted_cross_entropy")
        self._weights = tf.constant(class_weights, tf.float32)

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Returns float32 `[batch]` from int labels `[batch]` and logits `[batch, classes]`."""
        labels = tf.cast(tf.reshape(y_true, [-1]), tf.int32)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, tf.cast(y_pred, tf.float32))
        return losses * tf.gather(self._weights, labels)


class ReconstructionLoss(keras.losses.Loss):
    """Mean squared error in units of the training pictures' variance; 1 is the mean picture's.

    Args:
        variance: Variance of the training pictures' grey values.
    """

    def __init__(self, variance: float) -> None:
        super().__init__(name="reconstruction")
        self._variance = variance

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Returns float32 `[batch]` from two `[batch, height, width, channels]`, 0 to 255."""
        return tf.reduce_mean(tf.square(y_true - y_pred), axis=[1, 2, 3]) / self._variance


def balanced_class_weights(counts: Sequence[int]) -> list[float]:
    """Weights that give every class the same sum: `n / (classes * n_class)`.

    Args:
        counts: Training pictures of each class, all at least 1.
    """
    total = sum(counts)
    return [total / (len(counts) * count) for count in counts]
