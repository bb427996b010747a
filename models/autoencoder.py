"""The supervised autoencoder: one encoder, a decoder that reconstructs, a head that classifies.

Le, Patterson and White, "Supervised autoencoders: Improving generalization performance with
unsupervised regularizers", NeurIPS 2018: the reconstruction loss regularises the classifier.

A third output, `evidence`, says for every cell of the feature map whether a labelled object lies
there. Where a data set has boxes it is trained on them: a defect of a few pixels is then learned
from far fewer pictures than from their classes alone. It gates what the head sees.
"""

from __future__ import annotations

import math

import keras
import tensorflow as tf

FILTERS = (16, 32, 64, 96, 128)
"""Of the stages of the encoder, each of which halves the picture; smaller pictures leave out the
first ones."""
CAM_LAYER = "merged"
# At Keras' 0.99 the moving statistics lag some hundred steps behind the weights, which is more
# than an epoch here, and the validation loss is noise.
BATCH_NORM_MOMENTUM = 0.9
_CODE_CELLS = 8
# Most cells hold nothing; without it the first steps do nothing but learn that.
_EVIDENCE_BIAS = -3.0
_DECODED_PX = 8  # a cell of the decoder's last feature map, whose pixels are its channels


def build_autoencoder(
    *,
    image_size: int,
    channels: int,
    classes: int,
    mean: float,
    variance: float,
    dropout: float = 0.3,
) -> keras.Model:
    """Builds the supervised autoencoder as one flat functional graph.

    Args:
        image_size: Side of the input in pixels; a multiple of 16, from 208 on of 32.
        channels: 1 or 3.
        classes: Number of classes.
        mean: Mean grey value of the training pictures, 0 to 255.
        variance: Variance of their grey values.
        dropout: Share of the pooled features dropped in training.

    Returns:
        Model from `image`, float32 `[batch, size, size, channels]`, 0 to 255, to a dict of
        `logits`, float32 `[batch, classes]`; `reconstruction`, float32 like the input and in its
        units; `evidence`, float32 `[batch, cells, cells]`, logits.

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
    merged = _merge(outputs[-2], outputs[-1])
    evidence = keras.layers.Conv2D(
        1, 1, bias_initializer=keras.initializers.Constant(_EVIDENCE_BIAS), name="evidence_logits"
    )(merged)
    features = keras.layers.Dropout(dropout, name="dropout")(_pool(merged, evidence))
    return keras.Model(
        image,
        {
            "logits": keras.layers.Dense(classes, dtype="float32", name="logits")(features),
            "reconstruction": _decode(merged, image_size, channels, mean, variance),
            "evidence": keras.layers.Reshape(evidence.shape[1:3], dtype="float32", name="evidence")(
                evidence
            ),
        },
    )


def check_image_size(image_size: int) -> None:
    """Raises ValueError if the encoder cannot halve `image_size` as often as it would."""
    stages = count_stages(image_size)
    if image_size % 2**stages:
        raise ValueError(
            f"The autoencoder halves {image_size} pixels {stages} times, so its image size must be "
            f"a multiple of {2**stages}."
        )


def count_stages(image_size: int) -> int:
    """How often the encoder halves a picture: until about 8 cells are left, 3 to 5 times."""
    return min(max(round(math.log2(image_size / _CODE_CELLS)), 3), len(FILTERS))


def reconstruction_model(model: keras.Model) -> keras.Model:
    """The encoder and decoder of `model` alone, sharing its weights: for pretraining."""
    return keras.Model(model.input, model.get_layer("reconstruction").output)


def reconstruction_error(images: tf.Tensor, reconstruction: tf.Tensor) -> tf.Tensor:
    """Root mean squared difference in grey values, float32 `[batch]`, 0 to 255."""
    return tf.sqrt(tf.reduce_mean(tf.square(images - reconstruction), axis=[1, 2, 3]))


def _merge(fine: keras.KerasTensor, coarse: keras.KerasTensor) -> keras.KerasTensor:
    """What is seen in small and what is seen in large, at the finer resolution.

    T.-Y. Lin et al., "Feature pyramid networks for object detection", CVPR 2017.
    """
    filters = fine.shape[-1]
    coarse = _convolve(coarse, filters, kernel=1, name="lateral")
    coarse = keras.layers.UpSampling2D(name="enlarge_code")(coarse)
    both = keras.layers.Concatenate(name="fine_and_coarse")([fine, coarse])
    return _convolve(both, filters, name=CAM_LAYER)


def _pool(merged: keras.KerasTensor, evidence: keras.KerasTensor) -> keras.KerasTensor:
    """Features of the picture: the mean knows texture, the maxima a defect that fills one cell."""
    gate = keras.layers.Activation("sigmoid", name="gate")(evidence)
    gated = keras.layers.Multiply(name="gated")([merged, gate])
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
    """Enlarges to cells of 8 pixels, whose channels are laid side by side as those pixels.

    W. Shi et al., "Real-time single image and video super-resolution using an efficient sub-pixel
    convolutional neural network", CVPR 2016. Half the time of enlarging step by step to the end.
    """
    filters = x.shape[-1]
    while image_size // x.shape[1] > _DECODED_PX:
        filters = max(filters * 2 // 3, FILTERS[1])
        x = _convolve(x, filters, name=f"decode{x.shape[1]}")
        x = keras.layers.UpSampling2D(name=f"enlarge{x.shape[1]}")(x)
    cells, px = x.shape[1], image_size // x.shape[1]
    x = keras.layers.Conv2D(px * px * channels, 3, padding="same", name="pixels")(x)
    x = keras.layers.Reshape([cells, cells, px, px * channels], name="cells")(x)
    x = keras.layers.Permute([1, 3, 2, 4], name="rows")(x)
    x = keras.layers.Reshape([image_size, image_size, channels], name="side_by_side")(x)
    return keras.layers.Rescaling(variance**0.5, mean, dtype="float32", name="reconstruction")(x)


def _convolve(
    x: keras.KerasTensor, filters: int, *, name: str, strides: int = 1, kernel: int = 3
) -> keras.KerasTensor:
    x = keras.layers.Conv2D(
        filters, kernel, strides=strides, padding="same", use_bias=False, name=f"{name}_conv"
    )(x)
    x = keras.layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, name=f"{name}_norm")(x)
    return keras.layers.ReLU(name=name)(x)
