"""What every convolution of a network makes of one picture.

Shown is what the network goes on with. A convolution's bare output has an arbitrary scale and
sign where normalisation and activation follow, so these are taken along.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

_CONVOLUTIONS = (
    keras.layers.Conv2D,
    keras.layers.SeparableConv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.Conv2DTranspose,
)
_ACTIVATIONS = (
    keras.layers.Activation,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ELU,
)


@dataclass(frozen=True)
class Convolution:
    """One convolution of a model.

    Attributes:
        name: Name of its layer.
        shown: Name of the layer whose output is shown for it: itself, its batch normalisation or
            its activation.
    """

    name: str
    shown: str


def find_convolutions(model: keras.Model) -> tuple[Convolution, ...]:
    """Finds the convolutions of a model and what is shown for each.

    From a convolution on, batch normalisation and then an activation are followed, each if there
    is one and nothing else reads what comes before it. So the chain ends where paths part, at an
    output of the model, and at a convolution that has an activation of its own. A convolution
    whose result is added to another path before the activation is shown normalised, with its
    negative values.

    Args:
        model: One flat functional graph that calls each of its layers once.

    Returns:
        In the order of `model.layers`: none comes before what it reads.

    Raises:
        ValueError: The model holds another model, or no convolution.
    """
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            raise ValueError(
                f"The model {model.name!r} holds the model {layer.name!r}, whose layers cannot be "
                "shown: build the head on the backbone's output."
            )
    readers = _find_readers(model)
    found = tuple(
        Convolution(layer.name, _follow(layer, readers).name)
        for layer in model.layers
        if isinstance(layer, _CONVOLUTIONS)
    )
    if not found:
        raise ValueError(f"The model {model.name!r} has no convolution.")
    return found


class FeatureMaps:
    """The maps of all convolutions of a model, computed in one graph.

    Args:
        model: As for `find_convolutions`, with one input `[batch, h, w, channels]`.

    Attributes:
        convolutions: What is given, in this order.

    Raises:
        ValueError: As `find_convolutions`.
    """

    def __init__(self, model: keras.Model) -> None:
        self.convolutions = find_convolutions(model)
        self._input_shape = model.input_shape[1:]
        outputs = [model.get_layer(found.shown).output for found in self.convolutions]
        self._graph = keras.Model(model.input, outputs)
        self._run = tf.function(self._trace, reduce_retracing=True, autograph=False)

    def __call__(self, image: npt.ArrayLike) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
        """Gives the maps of one picture, in the mode of inference.

        One picture at a time: the maps of a picture of 200 x 200 pixels take some 40 MB in
        Xception.

        Args:
            image: float32 `[h, w, channels]`, in the model's own units.

        Returns:
            For each of `convolutions` its name and float32 `[h, w, channels]`.

        Raises:
            ValueError: The picture has not the shape of the model's input.
        """
        picture = tf.convert_to_tensor(image, tf.float32)
        if not picture.shape.is_compatible_with(self._input_shape):
            raise ValueError(
                f"The model takes one picture of shape {self._input_shape}, got {picture.shape}."
            )
        maps = self._run(picture[tf.newaxis])
        names = (found.name for found in self.convolutions)
        return ((name, one.numpy()) for name, one in zip(names, maps, strict=True))

    def _trace(self, images: tf.Tensor) -> list[tf.Tensor]:
        # Of a model with one convolution Keras gives the tensor, not a list of one.
        outputs = keras.tree.flatten(self._graph(images, training=False))
        return [tf.cast(output[0], tf.float32) for output in outputs]


_Readers = Mapping[int, Sequence[keras.Operation]]


def _find_readers(model: keras.Model) -> _Readers:
    """Who reads each tensor, by the tensor's id; an output of the model is read by the model."""
    readers: dict[int, list[keras.Operation]] = {id(tensor): [model] for tensor in model.outputs}
    for operation in model.operations:
        if not isinstance(operation, keras.layers.InputLayer):
            for tensor in keras.tree.flatten(operation.input):
                readers.setdefault(id(tensor), []).append(operation)
    return readers


def _follow(convolution: keras.layers.Layer, readers: _Readers) -> keras.layers.Layer:
    """The layer whose output is shown for a convolution."""
    own = getattr(convolution, "activation", None)
    if own is not None and own is not keras.activations.linear:
        return convolution
    shown = convolution
    for kinds in ((keras.layers.BatchNormalization,), _ACTIVATIONS):
        following = readers.get(id(shown.output), ())
        if len(following) == 1 and isinstance(following[0], kinds):
            shown = following[0]
    return shown
