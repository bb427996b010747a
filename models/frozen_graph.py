"""A trained model made ready for service: fewer operations, cheaper arithmetic, constant weights.

What is done here is done to the graph itself: a SavedModel carries no options for who runs it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

FULL_PRECISION = "float32"
PRECISIONS = (FULL_PRECISION, "bfloat16")

_CONVOLUTIONS = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
)
# They only choose, arrange or add what convolutions give; in 16 bit they spare the casts between.
_BETWEEN = (
    keras.layers.Add,
    keras.layers.Concatenate,
    keras.layers.Dropout,
    keras.layers.MaxPooling2D,
    keras.layers.ReLU,
    keras.layers.ZeroPadding2D,
)


class ChannelBias(keras.layers.Layer):
    """Adds one number to each channel, in the one form that TensorFlow joins to a convolution.

    Keras adds the bias of a convolution by an addition that broadcasts; that is joined only where
    oneDNN is switched on.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the weight `bias`, `[channels]`."""
        self.bias = self.add_weight(shape=[input_shape[-1]], name="bias")

    def call(self, x: tf.Tensor, training: object = None, mask: object = None) -> tf.Tensor:
        """`[batch, h, w, channels]`, as given; called as the normalisation is, in whose place."""
        return tf.nn.bias_add(x, self.bias)


def fold_batch_norm(
    model: keras.Model, *, keep: Collection[str] = (), precision: str = FULL_PRECISION
) -> keras.Model:
    """A copy of `model` for inference, its batch normalisation moved into the convolutions before.

    In inference a normalisation multiplies each channel by `s = gamma / sqrt(variance + epsilon)`
    and adds `beta - mean * s`. The first goes into the kernel of a convolution that feeds nothing
    else, the second stays as a `ChannelBias` of the normalisation's name. B. Jacob et al.,
    "Quantization and training of neural networks for efficient integer-arithmetic-only inference",
    CVPR 2018, equation 14.

    Args:
        model: One flat functional graph.
        keep: Names of layers whose outputs are to stay what they are. All others do too, but for
            the convolutions that are folded.
        precision: `float32`: the copy says what the model says, to rounding. `bfloat16`:
            convolutions, dense layers and what lies between them take and give bfloat16, and their
            weights are rounded to it. Grey values before they are scaled, means, gates and what the
            model gives stay float32.

    Returns:
        The copy, with inputs, outputs and layers of the same names.

    Raises:
        ValueError: `precision` is unknown.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision!r} is unknown; it is one of {PRECISIONS}.")
    folds = _find_folds(model, keep)
    convolutions = {convolution.name for convolution in folds.values()}
    ends = {tensor._keras_history.operation.name for tensor in model.outputs}

    def copy(layer: keras.Operation) -> keras.Operation:
        if not isinstance(layer, keras.layers.Layer):  # a function of `keras.ops`: of any type
            return type(layer).from_config(layer.get_config())
        is_low = layer.name not in ends and (layer.name in folds or _computes_in_16_bit(layer))
        if layer.name in folds:
            return ChannelBias(name=layer.name, dtype=precision if is_low else FULL_PRECISION)
        config = layer.get_config()
        if is_low:
            config["dtype"] = precision
        if layer.name in convolutions:
            config["use_bias"] = False
        return type(layer).from_config(config)

    folded = keras.models.clone_model(model, clone_function=copy)
    _copy_weights(model, folded, folds)
    return folded


def freeze(
    answer: Callable[[tf.Tensor], Mapping[str, tf.Tensor]], images: tf.TensorSpec
) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """`answer` with the variables it reads as constants of its graph, as they are now.

    Only of constant weights does oneDNN keep the layout that it computes in from call to call. The
    first call takes longer: TensorFlow carries constants through all its passes over a graph.

    Args:
        answer: From pictures to named tensors.
        images: What it is given.
    """
    traced = tf.function(answer, autograph=False).get_concrete_function(images)
    frozen = convert_variables_to_constants_v2(traced)
    names = sorted(traced.structured_outputs)  # as TensorFlow flattens a dictionary

    def call(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return dict(zip(names, frozen(x), strict=True))

    return call


def _find_folds(model: keras.Model, keep: Collection[str]) -> dict[str, keras.layers.Layer]:
    """By the name of a normalisation the convolution that it can be folded into."""
    nodes = [node for level in model._nodes_by_depth.values() for node in level]
    uses = Counter(id(parent) for node in nodes for parent in node.parent_nodes)
    calls = Counter(node.operation.name for node in nodes)
    kept = {*keep, *(tensor._keras_history.operation.name for tensor in model.outputs)}
    folds = {}
    for node in nodes:
        if not isinstance(node.operation, keras.layers.BatchNormalization):
            continue
        (before,) = node.parent_nodes
        norm, convolution = node.operation, before.operation
        if (
            _can_scale(convolution)
            and norm.axis in (-1, 3)
            and uses[id(before)] == calls[norm.name] == calls[convolution.name] == 1
            and convolution.name not in kept
        ):
            folds[norm.name] = convolution
    return folds


def _can_scale(layer: keras.Operation) -> bool:
    return (
        isinstance(layer, _CONVOLUTIONS)
        and layer.activation is keras.activations.linear
        and layer.data_format == "channels_last"
    )


def _computes_in_16_bit(layer: keras.layers.Layer) -> bool:
    if isinstance(layer, keras.layers.Activation):
        return layer.activation is keras.activations.relu
    if isinstance(layer, keras.layers.UpSampling2D):
        return layer.interpolation == "nearest"
    return isinstance(layer, (*_CONVOLUTIONS, *_BETWEEN, keras.layers.Dense))


def _copy_weights(
    model: keras.Model, folded: keras.Model, folds: Mapping[str, keras.layers.Layer]
) -> None:
    done = set()
    for name, convolution in folds.items():
        scale, offset = _read_norm(model.get_layer(name))
        kernels = convolution.get_weights()
        if convolution.use_bias:
            offset = offset + scale * kernels.pop()
        *first, last = kernels  # of a separable one the second makes the channels
        if isinstance(convolution, keras.layers.DepthwiseConv2D):
            scale = scale.reshape(last.shape[2:])  # [channels, multiplier]
        folded.get_layer(convolution.name).set_weights([*first, last * scale])
        folded.get_layer(name).set_weights([offset])
        done |= {name, convolution.name}
    for layer in model.layers:
        if layer.weights and layer.name not in done:
            folded.get_layer(layer.name).set_weights(layer.get_weights())


def _read_norm(
    norm: keras.layers.BatchNormalization,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """What it multiplies each channel by, and what it then adds; in float64, rounded once later."""
    mean, variance = (
        np.asarray(weight, np.float64) for weight in (norm.moving_mean, norm.moving_variance)
    )
    scale = 1.0 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        scale = scale * np.asarray(norm.gamma, np.float64)
    offset = -mean * scale
    return scale, offset + np.asarray(norm.beta, np.float64) if norm.center else offset
