"""Xception with a head of ours, and three ways to start it.

F. Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", CVPR 2017.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

FINE_TUNE_FROM = "block13_sepconv1_act"
"""The first layer that fine-tuning trains; all below it is the frozen trunk."""
_DOWNLOAD_PAUSE_SECONDS = 30.0


def build_xception(
    *, image_size: int, channels: int, classes: int, dropout: float = 0.5
) -> keras.Model:
    """Builds Xception and a head as one flat functional graph, with random weights.

    Args:
        image_size: Side of the input in pixels, at least 71 (Keras' own limit for Xception).
        channels: 1 or 3; grey is repeated three times, as the trunk was made for colour.
        classes: Number of classes.
        dropout: Share of the pooled features dropped in training.

    Returns:
        Model from `image`, float32 `[batch, size, size, channels]`, 0 to 255, to `logits`, float32
        `[batch, classes]`.

    Raises:
        ValueError: `image_size` is too small.
    """
    if image_size < 71:
        raise ValueError(f"Xception needs an image size of at least 71, got {image_size}.")
    image = keras.Input([image_size, image_size, channels], name="image")
    x = keras.layers.Rescaling(1 / 127.5, -1.0, name="normalize")(image)
    if channels == 1:
        x = keras.layers.Concatenate(name="grey_to_colour")([x, x, x])
    base = keras.applications.Xception(include_top=False, weights=None, input_tensor=x)
    pooled = keras.layers.GlobalAveragePooling2D(name="mean_pooled")(base.output)
    features = keras.layers.Dropout(dropout, name="dropout")(pooled)
    logits = keras.layers.Dense(classes, name="logits")(features)
    return keras.Model(image, logits)


def load_backbone(model: keras.Model, weights: str) -> None:
    """Puts published weights into the backbone of `model`.

    Args:
        model: As `build_xception` returns it.
        weights: `imagenet` (downloaded by Keras), or the path of the file that
            `keras.applications.Xception(include_top=False)` publishes.

    Raises:
        OSError: The download failed or the file cannot be opened.
        ValueError: The file holds other weights.
    """
    if weights != "imagenet" and not Path(weights).is_file():
        raise OSError(f"there is no weights file {weights}")
    # Without a limit a peer that says nothing would be waited for without end.
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_PAUSE_SECONDS)
    try:
        source = keras.applications.Xception(
            include_top=False, weights=weights, input_shape=(*model.input_shape[1:3], 3)
        )
    except (OSError, ValueError, KeyError):
        raise
    except Exception as error:  # Keras raises a bare Exception for a download that failed
        raise OSError(str(error)) from error
    finally:
        socket.setdefaulttimeout(before)
    # By rank, not by name: Keras counts four of Xception's layer names up through the process.
    weighted = [layer for layer in model.layers if layer.weights and layer.name != "logits"]
    for layer, published in zip(weighted, (x for x in source.layers if x.weights), strict=True):
        layer.set_weights(published.get_weights())


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

    @tf.function
    def observe(images: tf.Tensor) -> None:
        model(images, training=True)

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


def segment(model: keras.Model, start: str = "", end: str = "") -> keras.Model:
    """The part of `model` from the input of layer `start` to the input of layer `end`.

    Segments share the model's weights, and follow one another: with layers `a` and `b`,
    `segment(m, b)(segment(m, a, b)(segment(m, "", a)(images)))` equals `m(images)`.

    Args:
        model: A flat functional model of one output, as it was built and not itself a segment.
        start: A layer with one input, through which every path to the output passes; empty for
            the model's input.
        end: Such a layer further up; empty for the model's output.
    """
    first = model.get_layer(start).input if start else model.input
    last = model.get_layer(end).input if end else model.output
    return keras.Model(first, last)
