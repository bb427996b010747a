"""A model as a fixed function: no variables, batch normalisation folded into what is before it."""

from __future__ import annotations

import functools

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2


class FrozenGraph:
    """A model in inference mode with its weights as constants of the graph.

    It says what `model(x, training=False)` says, to rounding, and does so faster. The weights are
    taken at the first call; what becomes of the model later does not show.

    Args:
        model: A model of one input and one output.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """The model's answer, float32, whatever the model computes in."""
        return self._function(tf.convert_to_tensor(x))[0]

    @functools.cached_property
    def _function(self) -> tf.types.experimental.ConcreteFunction:
        model = self._model
        answer = tf.function(
            lambda x: tf.cast(model(x, training=False), tf.float32), autograph=False
        )
        spec = tf.TensorSpec(model.input_shape, tf.float32)
        return convert_variables_to_constants_v2(answer.get_concrete_function(spec))
