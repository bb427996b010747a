"""What must be looked at over the whole batch where replicas of a model share it out.

Under a strategy of `tf.distribute` each replica sees its share of a batch. Everything that mixes
pictures has to mix those of all replicas, or training on many machines would not be training.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf


@contextlib.contextmanager
def over_replicas(model: keras.Model) -> Iterator[keras.Model]:
    """Within the block the model yielded learns on replicas as `model` does on one machine.

    Batch normalisation takes its statistics over the batch of all replicas, and dropout draws for
    all of it. Without replicas `model` itself is yielded.

    Args:
        model: A functional model of one input whose variables belong to the strategy in force.

    Yields:
        A model that shares all layers and variables with it.
    """
    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        yield model
        return
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    earlier = [norm.synchronized for norm in norms]
    try:
        for norm in norms:
            norm.synchronized = True
        yield _with_joint_dropout(model)
    finally:
        for norm, synchronized in zip(norms, earlier, strict=True):
            norm.synchronized = synchronized


def mean_over_batch(values: tf.Tensor) -> tf.Tensor:
    """Mean of `values`, float32 `[batch]`, over the shares of all replicas: float32 `[]`."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return tf.reduce_mean(values)
    count = tf.cast(tf.size(values), values.dtype)
    total, pictures = tf.unstack(
        context.all_reduce("SUM", tf.stack([tf.reduce_sum(values), count]))
    )
    return total / pictures


class JointDropout(keras.layers.Layer):
    """Dropout of the batch of all replicas, of which each applies its share.

    All replicas hold the same seed; each by itself would drop the same features of its first
    picture as the others of theirs.

    Args:
        dropout: The layer that draws; it is used as it is.
    """

    def __init__(self, dropout: keras.layers.Dropout) -> None:
        super().__init__(name=dropout.name, dtype=dropout.dtype_policy)
        self._dropout = dropout

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns a tensor like `inputs`, `[share of the batch, ...]`."""
        context = tf.distribute.get_replica_context()
        if not training or context is None or context.num_replicas_in_sync == 1:
            return self._dropout(inputs, training=training)
        rows = tf.shape(inputs)[0]
        everywhere = tf.concat([[rows * context.num_replicas_in_sync], tf.shape(inputs)[1:]], 0)
        kept = self._dropout(tf.ones(everywhere, inputs.dtype), training=True)
        first = context.replica_id_in_sync_group * rows
        return inputs * tf.reshape(kept[first : first + rows], tf.shape(inputs))


def _with_joint_dropout(model: keras.Model) -> keras.Model:
    def share(layer: keras.layers.Layer) -> keras.layers.Layer:
        return JointDropout(layer) if isinstance(layer, keras.layers.Dropout) else layer

    return keras.models.clone_model(model, clone_function=share)
