"""A published network of `keras.applications` with a head of ours, and three ways to start it.

Xception: F. Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", CVPR 2017.
"""

from __future__ import annotations

import functools
import socket
from collections.abc import Iterable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from models.registry import Backbone

_DOWNLOAD_PAUSE_SECONDS = 30.0
_HEAD_FROM = "dropout"
# Layers of ours around the published ones.
_OURS = ("image", "grey_to_colour", "normalize", "mean_pooled", _HEAD_FROM, "logits")

# Mean and deviation of ImageNet's pictures, as `keras.applications` took them to train on.
_TORCH_MEAN, _TORCH_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CAFFE_MEAN = (103.939, 116.779, 123.68)  # blue first


def build_backbone(
    backbone: Backbone, *, image_size: int, channels: int, classes: int, dropout: float = 0.5
) -> keras.Model:
    """Builds a backbone and a head as one flat functional graph, with random weights.

    Args:
        backbone: Which one.
        image_size: Side of the input in pixels.
        channels: 1 or 3; grey is repeated three times, as the trunk was made for colour.
        classes: Number of classes.
        dropout: Share of the pooled features dropped in training.

    Returns:
        Model from `image`, float32 `[batch, size, size, channels]`, 0 to 255, to `logits`, float32
        `[batch, classes]`.

    Raises:
        ValueError: `image_size` is too small.
    """
    check_image_size(backbone, image_size)
    image = keras.Input([image_size, image_size, channels], name="image")
    x = image
    if channels == 1:
        x = keras.layers.Concatenate(name="grey_to_colour")([x, x, x])
    base = _application(backbone)(
        include_top=False, weights=None, input_tensor=preprocess(x, backbone.preprocessing)
    )
    pooled = keras.layers.GlobalAveragePooling2D(name="mean_pooled")(base.output)
    features = keras.layers.Dropout(dropout, name=_HEAD_FROM)(pooled)
    # In float32 under any policy: a softmax of bfloat16 logits would have steps of a percent.
    logits = keras.layers.Dense(classes, dtype="float32", name="logits")(features)
    return keras.Model(image, logits)


def check_image_size(backbone: Backbone, image_size: int) -> None:
    """Raises ValueError if the network cannot be built for `image_size`."""
    if image_size < backbone.smallest_size:
        raise ValueError(
            f"{backbone.function} needs an image size of at least {backbone.smallest_size}, "
            f"got {image_size}."
        )


def _application(backbone: Backbone) -> type[keras.Model]:
    return getattr(keras.applications, backbone.function)


def preprocess(x: keras.KerasTensor, mode: str) -> keras.KerasTensor:
    """From colours 0 to 255 to what a backbone was trained to see.

    Args:
        x: `[batch, height, width, 3]`, red first.
        mode: As in `models.registry.Backbone`.

    Raises:
        ValueError: There is no such mode.
    """
    scale: float | list[float]
    offset: float | list[float]
    if mode == "none":
        return x
    if mode == "tf":
        scale, offset = 1 / 127.5, -1.0
    elif mode == "torch":
        scale = [1 / (255 * deviation) for deviation in _TORCH_DEVIATION]
        offset = [-m / s for m, s in zip(_TORCH_MEAN, _TORCH_DEVIATION, strict=True)]
    elif mode == "caffe":
        x = keras.ops.flip(x, axis=-1)
        scale, offset = 1.0, [-mean for mean in _CAFFE_MEAN]
    else:
        raise ValueError(f"There is no preprocessing {mode!r}; use tf, torch, caffe or none.")
    return keras.layers.Rescaling(scale, offset, name="normalize")(x)


def load_backbone(model: keras.Model, backbone: Backbone, weights: str) -> None:
    """Puts published weights into the backbone of `model`.

    Args:
        model: As `build_backbone` returns it.
        backbone: What it was built from.
        weights: `imagenet` (downloaded by Keras), or the path of the file that `keras.applications`
            publishes for the network without its top.

    Raises:
        OSError: The download failed or the file cannot be opened.
        KeyError: The file lacks a layer.
        ValueError: The file holds other weights, or the published network has other layers than
            the one that is built without weights.
    """
    if weights != "imagenet" and not Path(weights).is_file():
        raise OSError(f"there is no weights file {weights}")
    # Without a limit a peer that says nothing would be waited for without end.
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_PAUSE_SECONDS)
    try:
        source = _application(backbone)(
            include_top=False, weights=weights, input_shape=(*model.input_shape[1:3], 3)
        )
    except (OSError, ValueError, KeyError):
        raise
    except Exception as error:  # Keras raises a bare Exception for a download that failed
        raise OSError(str(error)) from error
    finally:
        socket.setdefaulttimeout(before)
    _copy_weights(source, model)


def _copy_weights(source: keras.Model, model: keras.Model) -> None:
    # By rank, not by name: Keras counts up the names of layers through the process.
    published = source.layers[1:]
    own = [layer for layer in model.layers if layer.name not in _OURS]
    if [type(layer) for layer in published] != [type(layer) for layer in own]:
        # EfficientNetB0 to B7 scale their input once more when they come with ImageNet's weights.
        raise ValueError("the published network has other layers than the one built here")
    for layer, counterpart in zip(own, published, strict=True):
        layer.set_weights(counterpart.get_weights())


def calibrate_batch_norm(model: keras.Model, batches: Iterable[tf.Tensor]) -> None:
    """Sets the statistics of every batch normalisation from training pictures.

    Random weights scale their input down layer by layer; with the initial statistics (mean 0,
    variance 1) the features vanish. In training mode each layer normalises by its batch, so one
    pass gives every layer the statistics of a normalised input.

    Args:
        model: Model with batch normalisation; its statistics are replaced, its weights kept.
        batches: float32 `[batch, size, size, channels]`, 0 to 255; training pictures only.

    Raises:
        ValueError: There is no batch.
    """
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    momenta = [norm.momentum for norm in norms]
    means: list[list[np.ndarray]] = []
    variances: list[list[np.ndarray]] = []
    for norm in norms:
        norm.momentum = 0.0  # the moving statistics are then those of the last batch

    # A concrete function: of one that is traced anew at every calibration TensorFlow warns.
    observe = tf.function(
        functools.partial(model, training=True), autograph=False
    ).get_concrete_function(tf.TensorSpec([None, *model.input_shape[1:]], tf.float32))
    for images in batches:
        observe(images)
        means.append([norm.moving_mean.numpy() for norm in norms])
        variances.append([norm.moving_variance.numpy() for norm in norms])
    if not means:
        raise ValueError("Calibration needs at least one batch of pictures.")
    for index, (norm, momentum) in enumerate(zip(norms, momenta, strict=True)):
        batch_means = np.stack([batch[index] for batch in means])
        batch_variances = np.stack([batch[index] for batch in variances])
        norm.momentum = momentum
        norm.moving_mean.assign(batch_means.mean(axis=0))
        # Law of total variance; the batches are of one size.
        norm.moving_variance.assign(batch_variances.mean(axis=0) + batch_means.var(axis=0))


def cut_model(
    model: keras.Model, fine_tune_from: str
) -> tuple[keras.Model, keras.Model, keras.Model, keras.Model]:
    """The parts that training takes one after another; they share the weights of `model`.

    Args:
        model: As `build_backbone` returns it.
        fine_tune_from: Start of the name of the first layer above the frozen trunk.

    Returns:
        The trunk; the blocks above it, pooled; the head on these; blocks and head in one.

    Raises:
        ValueError: No layer is called so, or there is a path around it.
    """
    names = [layer.name for layer in model.layers]
    start = next((name for name in names[1:] if name.startswith(fine_tune_from)), "")
    if not start or not fine_tune_from:
        raise ValueError(f"No layer of this model has a name that starts with {fine_tune_from!r}.")
    try:
        return (
            segment(model, end=start),
            segment(model, start, _HEAD_FROM),
            segment(model, _HEAD_FROM),
            segment(model, start),
        )
    except ValueError as error:
        raise ValueError(
            f"The model cannot be cut before its layer {start}: another path leads around it."
        ) from error


def segment(model: keras.Model, start: str = "", end: str = "") -> keras.Model:
    """The part of `model` from the input of layer `start` to the input of layer `end`.

    Segments share the model's weights, and follow one another: with layers `a` and `b`,
    `segment(m, b)(segment(m, a, b)(segment(m, "", a)(images)))` equals `m(images)`.

    Args:
        model: A flat functional model of one output, as it was built and not itself a segment.
        start: A layer with one input, through which every path to the output passes; empty for
            the model's input.
        end: Such a layer further up; empty for the model's output.

    Raises:
        ValueError: A path leads around `start`.
    """
    first = model.get_layer(start).input if start else model.input
    last = model.get_layer(end).input if end else model.output
    return keras.Model(first, last)
