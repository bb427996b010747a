"""From TFRecords to batches: one pipeline for training, one for everything that is measured.

How a picture's bytes become the model's input is not decided here: the stage hands in
`models.picture.decode_picture`, the same function that the SavedModel holds.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipeline import augment
from pipeline.operations import Operation
from records.parsing import parse_record

Decode = Callable[[tf.Tensor], tf.Tensor]

CACHE_BYTES_AT_MOST = 2 * 1024**3


def make_evaluation_dataset(
    shards: list[Path], *, decode: Decode, batch_size: int, count: int
) -> tf.data.Dataset:
    """Batches of `(images, labels)` in the order of the records, each picture once.

    Args:
        shards: TFRecord files.
        decode: From encoded bytes, string `[]`, to float32 `[size, size, channels]`, 0 to 255.
        batch_size: Pictures a batch; the last one may be smaller.
        count: Pictures in `shards`; another number found there is an error, not a short answer.

    Returns:
        Dataset of float32 `[batch, size, size, channels]` and int64 `[batch]`.
    """
    pictures = _make_pictures(shards, decode).apply(tf.data.experimental.assert_cardinality(count))
    return pictures.batch(batch_size).prefetch(tf.data.AUTOTUNE)


def make_training_dataset(
    shards: list[Path],
    *,
    decode: Decode,
    batch_size: int,
    operations: tuple[Operation, ...],
    count: int,
    seed: int,
) -> tf.data.Dataset:
    """Endless shuffled, augmented batches of `(images, labels)`, all of `batch_size`.

    Decoded pictures are kept in memory where they fit in `CACHE_BYTES_AT_MOST`, since decoding is
    most of the work; augmentation comes after the cache, so that no two epochs see the same.

    Args:
        shards: TFRecord files of the training split, and of no other.
        decode: As in `make_evaluation_dataset`.
        batch_size: Pictures a batch.
        operations: Augmentation, as `pipeline.operations.parse_augmentation` reads it.
        count: Pictures in `shards`.
        seed: Seed of the order and of the augmentation.

    Returns:
        Dataset of float32 `[batch, size, size, channels]`, 0 to 255, and int64 `[batch]`.
    """
    pictures = _make_pictures(shards, decode)
    side, _, channels = pictures.element_spec[0].shape
    if 4 * side * side * channels * count <= CACHE_BYTES_AT_MOST:
        pictures = pictures.cache()
    batches = (
        pictures.shuffle(min(count, 10_000), seed=seed, reshuffle_each_iteration=True)
        .repeat()
        .batch(batch_size, drop_remainder=True)
    )
    if operations:
        batches = tf.data.Dataset.zip(batches, tf.data.Dataset.counter()).map(
            lambda batch, step: (_augment(operations, batch[0], seed, step), batch[1]),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
    return batches.prefetch(tf.data.AUTOTUNE)


def measure_grey(dataset: tf.data.Dataset) -> tuple[float, float]:
    """Mean and variance of all values of all pictures, 0 to 255, channels together.

    Args:
        dataset: Batches of `(images, labels)`: the training split, as it is not augmented.

    Returns:
        Mean and variance; the variance is at least 1, so that a set of one flat grey can be
        divided by it.
    """
    count, total, squares = 0, 0.0, 0.0
    for images, _ in dataset:
        values = images.numpy().astype(np.float64)
        count, total = count + values.size, total + values.sum()
        squares += np.square(values).sum()
    mean = total / count
    return mean, max(squares / count - mean**2, 1.0)


def _make_pictures(shards: list[Path], decode: Decode) -> tf.data.Dataset:
    def read(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        record = parse_record(serialized)
        return decode(record["encoded"]), record["label"]

    return tf.data.TFRecordDataset([str(shard) for shard in shards]).map(
        read, num_parallel_calls=tf.data.AUTOTUNE
    )


def _augment(
    operations: tuple[Operation, ...], images: tf.Tensor, seed: int, step: tf.Tensor
) -> tf.Tensor:
    batch = images.shape[0]
    drawn = augment.draw(operations, batch, tf.stack([tf.cast(seed % 2**31, tf.int64), step]))
    return augment.apply(operations, images, drawn)
