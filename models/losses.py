"""Losses that carry what Keras' arguments cannot."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from models.replicas import mean_over_batch


class WeightedCrossEntropy(keras.losses.Loss):
    """Cross-entropy from logits in which each class counts with its own weight.

    The weights sit in the loss because `fit(class_weight=...)` does not take a model of several
    outputs, and because validation must be measured with the same weights as training.

    Pictures whose label is -1 are passed over; the others of the batch then count the more, so that
    the mean over the batch is the mean over those with a label; over that of all replicas.

    Args:
        class_weights: One positive number a class.
    """

    def __init__(self, class_weights: Sequence[float]) -> None:
        super().__init__(name="weighted_cross_entropy")
        self._weights = tf.constant(class_weights, tf.float32)

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Returns float32 `[batch]` from int labels `[batch]` and logits `[batch, classes]`."""
        is_known = tf.cast(tf.reshape(y_true, [-1]) >= 0, tf.float32)
        return self.of_pictures(y_true, y_pred) * _share_out(is_known)

    def of_pictures(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """The same of each picture by itself: for metrics, which count pictures, not batches."""
        labels = tf.maximum(tf.cast(tf.reshape(y_true, [-1]), tf.int32), 0)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, tf.cast(y_pred, tf.float32))
        return losses * tf.gather(self._weights, labels)


class EvidenceLoss(keras.losses.Loss):
    """Cross-entropy of the evidence, in which cells with and without an object weigh the same.

    Cells of objects are few. Class-balanced as in S. Xie and Z. Tu, "Holistically-nested edge
    detection", ICCV 2015, but a sum of means: over the cells of the objects of each class, and over
    all that hold no object of theirs. Maps that know nothing lose 2 ln 2 = 1.39 on a picture with
    objects of one class.

    Pictures of which nobody knows where their objects are hold -1 in every cell and are passed
    over, as those without a label in `WeightedCrossEntropy`.
    """

    def __init__(self) -> None:
        super().__init__(name="evidence")

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Returns float32 `[batch]` from `[batch, cells, cells, classes]`: 0, 1 or -1; logits."""
        is_object, is_empty = (tf.cast(y_true == value, tf.float32) for value in (1, 0))
        losses = tf.nn.sigmoid_cross_entropy_with_logits(is_object, tf.cast(y_pred, tf.float32))
        is_known = tf.cast(y_true[:, 0, 0, 0] >= 0, tf.float32)
        of_objects = tf.reduce_sum(_mean_where(is_object, losses, axis=[1, 2]), axis=1)
        return (of_objects + _mean_where(is_empty, losses, axis=[1, 2, 3])) * _share_out(is_known)


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


def _share_out(is_known: tf.Tensor) -> tf.Tensor:
    """Weights `[batch]` of mean 1: 0 where `is_known` is 0, else equal; all 0 if none is known."""
    return tf.math.divide_no_nan(is_known, mean_over_batch(is_known))


def _mean_where(mask: tf.Tensor, values: tf.Tensor, *, axis: list[int]) -> tf.Tensor:
    """Mean of the values where `mask` is 1; 0 where it is nowhere."""
    return tf.math.divide_no_nan(
        tf.reduce_sum(values * mask, axis=axis), tf.reduce_sum(mask, axis=axis)
    )


def balanced_class_weights(counts: Sequence[int]) -> list[float]:
    """Weights that give every class the same sum: `n / (classes * n_class)`.

    Args:
        counts: Training pictures of each class, all at least 1.
    """
    total = sum(counts)
    return [total / (len(counts) * count) for count in counts]
