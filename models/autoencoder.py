"""The supervised autoencoder: one encoder, a decoder that reconstructs, a head that classifies.

Le, Patterson and White, "Supervised autoencoders: Improving generalization performance with
unsupervised regularizers", NeurIPS 2018: the reconstruction loss regularises the classifier.

A third output, `evidence`, says for every cell of the feature map and every class of labelled
objects whether such an object lies there. Where a data set has boxes it is trained on them: a
defect of a few pixels is then learned from far fewer pictures than from their classes alone. It
gates what the head sees.
"""

from __future__ import annotations

import math

import keras
import tensorflow as tf

FILTERS = (16, 32, 64, 96, 128)
"""Of the stages of the encoder, each of which halves the picture; smaller pictures leave out the
first ones."""
# At Keras' 0.99 the moving statistics lag some hundred steps behind the weights, which is more
# than an epoch here, and the validation loss is noise.
BATCH_NORM_MOMENTUM = 0.9
_CODE_CELLS = 8
# Most cells hold nothing; without it the first steps do nothing but learn that.
_EVIDENCE_BIAS = -3.0


def build_autoencoder(
    *,
    image_size: int,
    channels: int,
    classes: int,
    mean: float,
    variance: float,
    box_classes: int = 1,
    dropout: float = 0.3,
) -> keras.Model:
    """Builds the supervised autoencoder as one flat functional graph.

    Args:
        image_size: Side of the input in pixels; a multiple of 16, from 208 on of 32.
        channels: 1 or 3.
        classes: Number of classes.
        mean: Mean grey value of the training pictures, 0 to 255.
        variance: Variance of their grey values.
        box_classes: Number of classes of labelled objects, at least 1.
        dropout: Share of the pooled features dropped in training.

    Returns:
        Model from `image`, float32 `[batch, size, size, channels]`, 0 to 255, to a dict of
        `logits`, float32 `[batch, classes]`; `reconstruction`, float32 like the input and in its
        units; `evidence`, float32 `[batch, cells, cells, box_classes]`, logits.

    Raises:
        ValueError: `image_size` cannot be halved that often.
    """
    check_image_size(image_size)
    stages = count_stages(image_size)
    image = keras.Input([image_size, image_size, channels], name="image")
    x = keras.layers.Rescaling(variance**-0.5, -mean * variance**-0.5, name="normalize")(image)
    outputs = []
    for stage, filters in enumerate(FILTERS[-stages:], start=1):
        x = _convolve(x, filters, strides=2, name=f"reduce{stage}")
        # At full width the second convolution would cost as much as all that follows.
        x = x if stage == 1 else _convolve(x, filters, name=f"encode{stage}")
        outputs.append(x)
    # Cells of 8 pixels, in the smallest pictures of 4: coarser ones do not show where a crack is.
    merged = _merge(outputs[min(2, stages - 2) :])
    evidence = keras.layers.Conv2D(
        box_classes,
        1,
        bias_initializer=keras.initializers.Constant(_EVIDENCE_BIAS),
        dtype="float32",
        name="evidence",
    )(merged)
    features = keras.layers.Dropout(dropout, name="dropout")(_pool(merged, evidence))
    return keras.Model(
        image,
        {
            "logits": keras.layers.Dense(classes, dtype="float32", name="logits")(features),
            "reconstruction": _decode(merged, image_size, channels, mean, variance),
            "evidence": evidence,
        },
    )


def check_image_size(image_size: int, *, window_px: int = 0) -> None:
    """Raises ValueError if the encoder cannot halve `image_size`, or a window, often enough.

    Args:
        image_size: Side of the pictures in pixels.
        window_px: Side of the windows of them that are trained on, or 0.
    """
    stages = count_stages(image_size)
    for name, side in (("image size", image_size), ("window", window_px)):
        if side % 2**stages:
            raise ValueError(
                f"The autoencoder halves {side} pixels {stages} times, so its {name} must be "
                f"a multiple of {2**stages}."
            )
    if window_px > image_size:
        raise ValueError(f"A window of {window_px} pixels is larger than the picture.")


def count_stages(image_size: int) -> int:
    """How often the encoder halves a picture: until about 8 cells are left, 3 to 5 times."""
    return min(max(round(math.log2(image_size / _CODE_CELLS)), 3), len(FILTERS))


def reconstruction_model(model: keras.Model) -> keras.Model:
    """The encoder and decoder of `model` alone, sharing its weights: for pretraining."""
    return keras.Model(model.input, model.output["reconstruction"])


def of_any_size(model: keras.Model) -> keras.Model:
    """The same network, sharing all layers, for pictures of any size it can halve often enough.

    Nothing in it has a size of its own: the outputs of a window are those of a small picture.
    """
    image = keras.Input([None, None, model.input.shape[-1]], name="image")
    return keras.models.clone_model(model, input_tensors=image, clone_function=lambda layer: layer)


def reconstruction_error(images: tf.Tensor, reconstruction: tf.Tensor) -> tf.Tensor:
    """Root mean squared difference in grey values, float32 `[batch]`, 0 to 255."""
    return tf.sqrt(tf.reduce_mean(tf.square(images - reconstruction), axis=[1, 2, 3]))


def _merge(outputs: list[keras.KerasTensor]) -> keras.KerasTensor:
    """What is seen in small and what is seen in large, at the finest resolution of `outputs`.

    T.-Y. Lin et al., "Feature pyramid networks for object detection", CVPR 2017.
    """
    x = outputs[-1]
    for level, fine in reversed(list(enumerate(outputs[:-1]))):
        x = _convolve(x, fine.shape[-1], kernel=1, name=f"lateral{level}")
        x = keras.layers.UpSampling2D(name=f"enlarge{level}")(x)
        x = keras.layers.Concatenate(name=f"fine_and_coarse{level}")([fine, x])
    return _convolve(x, outputs[0].shape[-1], name="merged")


def _pool(merged: keras.KerasTensor, evidence: keras.KerasTensor) -> keras.KerasTensor:
    """Features of the picture: the mean knows texture, the maxima a defect that fills one cell."""
    gate = keras.layers.Activation("sigmoid", name="gate")(evidence)
    gated = keras.layers.Multiply(name="gated")(
        [merged, keras.ops.max(gate, axis=-1, keepdims=True)]
    )
    return keras.layers.Concatenate(name="pooled")(
        [
            keras.layers.GlobalAveragePooling2D(name="mean_pooled")(merged),
            keras.layers.GlobalMaxPooling2D(name="max_pooled")(merged),
            keras.layers.GlobalMaxPooling2D(name="gated_max_pooled")(gated),
            keras.layers.GlobalMaxPooling2D(name="gate_max_pooled")(gate),
        ]
    )


def _decode(
    x: keras.KerasTensor, image_size: int, channels: int, mean: float, variance: float
) -> keras.KerasTensor:
    """Lays the channels of each cell side by side as its pixels.

    W. Shi et al., "Real-time single image and video super-resolution using an efficient sub-pixel
    convolutional neural network", CVPR 2016. Half the time of enlarging step by step to the end.
    """
    px = image_size // x.shape[1]
    x = keras.layers.Conv2D(px * px * channels, 3, padding="same", name="pixels")(x)
    x = keras.ops.depth_to_space(x, px)
    return keras.layers.Rescaling(variance**0.5, mean, dtype="float32", name="reconstruction")(x)


def _convolve(
    x: keras.KerasTensor, filters: int, *, name: str, strides: int = 1, kernel: int = 3
) -> keras.KerasTensor:
    x = keras.layers.Conv2D(
        filters, kernel, strides=strides, padding="same", use_bias=False, name=f"{name}_conv"
    )(x)
    x = keras.layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, name=f"{name}_norm")(x)
    return keras.layers.ReLU(name=name)(x)
