"""The supervised autoencoder: one encoder, a decoder that reconstructs, a head that classifies.

Le, Patterson and White, "Supervised autoencoders: Improving generalization performance with
unsupervised regularizers", NeurIPS 2018: the reconstruction loss regularises the classifier.
"""

from __future__ import annotations

import keras
import tensorflow as tf

FILTERS = (24, 48, 96, 160)
# At Keras' 0.99 the moving statistics lag some hundred steps behind the weights, which is more
# than an epoch here, and the validation loss is noise.
BATCH_NORM_MOMENTUM = 0.9


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
        image_size: Side of the input in pixels; a multiple of 16.
        channels: 1 or 3.
        classes: Number of classes.
        mean: Mean grey value of the training pictures, 0 to 255.
        variance: Variance of their grey values.
        dropout: Share of the pooled features dropped in training.

    Returns:
        Model from `image`, float32 `[batch, size, size, channels]`, 0 to 255, to a dict of
        `logits`, float32 `[batch, classes]`, and `reconstruction`, float32 like the input and in
        its units.

    Raises:
        ValueError: `image_size` is no multiple of 16.
    """
    stride = 2 ** len(FILTERS)
    if image_size % stride:
        raise ValueError(
            f"The autoencoder needs an image size that is a multiple of {stride}, got {image_size}."
        )
    image = keras.Input([image_size, image_size, channels], name="image")
    x = keras.layers.Rescaling(variance**-0.5, -mean * variance**-0.5, name="normalize")(image)
    for stage, filters in enumerate(FILTERS, start=1):
        x = _convolve(x, filters, strides=2, name=f"reduce{stage}")
        x = _convolve(x, filters, name=f"encode{stage}")
    code = x
    # The mean sees texture, the maximum sees a defect that fills one cell of the map.
    pooled = keras.layers.Concatenate(name="pooled")(
        [
            keras.layers.GlobalAveragePooling2D(name="mean_pooled")(code),
            keras.layers.GlobalMaxPooling2D(name="max_pooled")(code),
        ]
    )
    features = keras.layers.Dropout(dropout, name="dropout")(pooled)
    logits = keras.layers.Dense(classes, name="logits")(features)
    # Each stage convolves before it enlarges, which costs a quarter of the other order.
    for stage, filters in reversed(list(enumerate((FILTERS[0] // 2, *FILTERS[:-1]), start=1))):
        x = _convolve(x, filters, name=f"decode{stage}")
        x = keras.layers.UpSampling2D(name=f"enlarge{stage}")(x)
    x = keras.layers.Conv2D(channels, 3, padding="same", name="reconstruct")(x)
    reconstruction = keras.layers.Rescaling(variance**0.5, mean, name="reconstruction")(x)
    return keras.Model(image, {"logits": logits, "reconstruction": reconstruction})


def reconstruction_model(model: keras.Model) -> keras.Model:
    """The encoder and decoder of `model` alone, sharing its weights: for pretraining."""
    return keras.Model(model.input, model.get_layer("reconstruction").output)


def reconstruction_error(images: tf.Tensor, reconstruction: tf.Tensor) -> tf.Tensor:
    """Root mean squared difference in grey values, float32 `[batch]`, 0 to 255."""
    return tf.sqrt(tf.reduce_mean(tf.square(images - reconstruction), axis=[1, 2, 3]))


def _convolve(
    x: keras.KerasTensor, filters: int, *, name: str, strides: int = 1
) -> keras.KerasTensor:
    x = keras.layers.Conv2D(
        filters, 3, strides=strides, padding="same", use_bias=False, name=f"{name}_conv"
    )(x)
    x = keras.layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, name=f"{name}_norm")(x)
    return keras.layers.ReLU(name=name)(x)
