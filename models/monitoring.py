"""What a picture looks like, in a few numbers: the part of the SavedModel that drift is watched by.

A further signature, `monitor`, answers as `serving_default` does and adds `statistics`, float32
`[batch, n]`, in the order of `list_statistics`. The picture is decoded once and passes through the
model once.

The statistics are those of `models.appearance` and, of the model,

| statistic | meaning |
| --- | --- |
| `confidence` | the highest probability: with two classes the score, or what it leaves of 1 |
| `feature_distance` | how far the pooled features are from those of the class decided for, about \
1 for training pictures |
| `reconstruction_error` | as answered; autoencoder only |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from models.appearance import PICTURE_STATISTICS, measure_picture
from models.picture import DECODED_AT_ONCE, decode_pixels, fit_pixels

_MOST_DIRECTIONS = 32
_PICTURES_A_DIRECTION = 10  # below that a variance is mostly chance
_LEAST_VARIANCE = 1e-6  # of the largest one: what is less is rounding

Answers = dict[str, tf.Tensor]


@dataclass(frozen=True, eq=False)
class FeatureSpace:
    """Where each class lies among the features that the head pools.

    Attributes:
        basis: float32 `[features, k]`: projects features on the directions in which training
            pictures of one class differ most, in units of their deviation.
        centres: float32 `[classes, k]`: the mean of each class, projected.
    """

    basis: npt.NDArray[np.float32]
    centres: npt.NDArray[np.float32]


def fit_feature_space(
    features: npt.NDArray[np.floating], labels: npt.NDArray[np.integer], *, classes: int
) -> FeatureSpace:
    """Fits a Gaussian of one covariance to the features of each class.

    K. Lee, K. Lee, H. Lee and J. Shin, "A simple unified framework for detecting
    out-of-distribution samples and adversarial attacks", NeurIPS 2018, equation 1. Unlike there,
    only the directions of largest variance count, at most one for ten pictures: the others cannot
    be estimated.

    Args:
        features: Of the training pictures `[pictures, features]`.
        labels: Their class indices `[pictures]`.
        classes: Number of classes; one without a picture lies at the mean of all.

    Raises:
        ValueError: Shapes do not fit, there is no picture, or a feature is not finite.
    """
    if features.ndim != 2 or labels.shape != features.shape[:1] or not len(features):
        raise ValueError(f"features {features.shape} and classes {labels.shape} do not fit")
    if not np.isfinite(features).all():
        raise ValueError("a feature is not finite")
    rows = features.astype(np.float64)
    means = np.tile(rows.mean(axis=0), (classes, 1))
    for index in np.unique(labels):
        means[index] = rows[labels == index].mean(axis=0)
    covariance = np.atleast_2d(np.cov(rows - means[labels], rowvar=False, ddof=0))
    variances, directions = np.linalg.eigh(covariance)
    most = int(np.clip(len(rows) // _PICTURES_A_DIRECTION, 1, _MOST_DIRECTIONS))
    kept = np.argsort(variances)[::-1][:most]
    kept = kept[variances[kept] > _LEAST_VARIANCE * variances.max()]
    # Features that do not vary at all have no distance.
    basis = np.zeros([rows.shape[1], 1])
    if len(kept):
        basis = directions[:, kept] / np.sqrt(variances[kept])
    return FeatureSpace(basis.astype(np.float32), (means @ basis).astype(np.float32))


def list_statistics(*, reconstructs: bool) -> tuple[str, ...]:
    """Names of the statistics that `monitor` gives, in its order.

    Args:
        reconstructs: Whether the model answers with a `reconstruction_error`.
    """
    own = ("reconstruction_error",) if reconstructs else ()
    return (*PICTURE_STATISTICS, "confidence", "feature_distance", *own)


def find_features(model: keras.Model) -> keras.KerasTensor:
    """What the head of a model reads: a tensor `[batch, features]` of its graph."""
    return model.get_layer("logits").input


def make_monitor(
    answer: Callable[[tf.Tensor], Answers], space: FeatureSpace, **form: Any
) -> Callable[[tf.Tensor], Answers]:
    """What the signature `monitor` computes.

    Args:
        answer: From the model's input, float32 `[batch, size, size, channels]`, to the answers and
            `features`, as `find_features` gives them.
        space: Of these features.
        **form: The arguments of `models.picture.decode_picture`.

    Returns:
        From pictures' bytes, string `[batch]`, to the answers and `statistics`.
    """

    def monitor(image_bytes: tf.Tensor) -> Answers:
        images, pictures = decode_and_measure(image_bytes, **form)
        answers = dict(answer(images))
        distance = measure_distance(answers.pop("features"), answers["label_index"], space)
        columns = [tf.reduce_max(answers["probabilities"], axis=-1), distance]
        if "reconstruction_error" in answers:
            columns.append(answers["reconstruction_error"])
        return answers | {"statistics": tf.concat([pictures, tf.stack(columns, axis=1)], axis=1)}

    return monitor


def decode_and_measure(
    encoded: tf.Tensor, *, image_size: int, channels: int, **form: Any
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes pictures, each once, for the model and for `measure_picture`.

    Args:
        encoded: string `[batch]`.
        image_size: As for `models.picture.decode_picture`.
        channels: Likewise.
        **form: Its `resize` and `standardize`.

    Returns:
        float32 `[batch, image_size, image_size, channels]`, and float32 `[batch, statistics]`.
    """

    def decode(one: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pixels = decode_pixels(one, channels=channels)
        return fit_pixels(pixels, image_size=image_size, **form), measure_picture(pixels)

    kinds = (
        tf.TensorSpec([image_size, image_size, channels], tf.float32),
        tf.TensorSpec([len(PICTURE_STATISTICS)], tf.float32),
    )
    return tf.map_fn(
        decode, encoded, fn_output_signature=kinds, parallel_iterations=DECODED_AT_ONCE
    )


def measure_distance(features: tf.Tensor, label_index: tf.Tensor, space: FeatureSpace) -> tf.Tensor:
    """Distance of features from the centre of a class, float32 `[batch]`.

    The Mahalanobis distance over the square root of the number of directions: root mean square 1
    over the training pictures.

    Args:
        features: float `[batch, features]`.
        label_index: The class of each, int64 `[batch]`.
        space: As `fit_feature_space` gives it.
    """
    projected = tf.cast(features, tf.float32) @ tf.constant(space.basis)
    offsets = projected - tf.gather(tf.constant(space.centres), label_index)
    return tf.sqrt(tf.reduce_mean(tf.square(offsets), axis=1))
