"""Batches of pictures: for training from a table, for everything that is measured in order.

How a picture's bytes become the model's input is not decided here: the stage hands in
`models.picture.decode_picture`, the same function that the SavedModel holds.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipeline.distribution.workers import sum_over_workers
from pipeline.inputs import augment
from pipeline.inputs.operations import Operation
from pipeline.inputs.order import rows_of_step
from pipeline.inputs.pictures import STEPS_A_GREY_VALUE, PictureTable
from records.parsing import parse_record

Decode = Callable[[tf.Tensor], tf.Tensor]
Batch = tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]


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

    @tf.autograph.experimental.do_not_convert
    def read(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        record = parse_record(serialized)
        return decode(record["encoded"]), record["label"]

    pictures = tf.data.TFRecordDataset([str(shard) for shard in shards]).map(
        read, num_parallel_calls=tf.data.AUTOTUNE
    )
    counted = pictures.apply(tf.data.experimental.assert_cardinality(count))
    return counted.batch(batch_size).prefetch(tf.data.AUTOTUNE)


def make_training_dataset(
    table: PictureTable,
    *,
    batch_size: int,
    operations: tuple[Operation, ...],
    seed: int,
    first_step: int = 0,
) -> tf.data.Dataset:
    """Endless shuffled, augmented batches of `(images, labels, boxes, box_labels)`.

    All are of `batch_size`. The batch of a step is a pure function of `seed` and the step: order as
    `rows_of_step` has it, augmentation drawn anew for every step.

    Args:
        table: Pictures of the training split, and of no other.
        batch_size: Pictures a batch.
        operations: Augmentation, as `pipeline.inputs.operations.parse_augmentation` reads it.
        seed: Seed of the order and of the augmentation.
        first_step: Number of the first batch; a training that goes on has taken those before it.

    Returns:
        Dataset of float32 `[batch, size, size, channels]`, 0 to 255, of the size of the windows if
        there are such; int64 `[batch]`; float32 `[batch, k, 4]`, the boxes as they lie in the
        augmented picture, cut off at its edges, rows without a box all zero; int64 `[batch, k]`,
        their labels.
    """
    content = tf.constant(table.content)

    @tf.autograph.experimental.do_not_convert
    def make_batch(step: tf.Tensor) -> Batch:
        rows = tf.numpy_function(
            lambda step: rows_of_step(
                int(step), batch_size=batch_size, count=len(table.labels), seed=seed
            ),
            [step],
            tf.int64,
        )
        rows = tf.ensure_shape(rows, [batch_size])
        images, labels, boxes, box_labels = _read_rows(table, rows)
        if not operations:
            return images, labels, boxes, box_labels
        drawn = augment.draw(
            operations,
            boxes,
            tf.stack([tf.constant(seed, tf.int64), step]),
            image_size=images.shape[1],
            content=tf.gather(content, rows),
        )
        augmented = augment.apply(operations, images, drawn)
        return augmented, labels, augment.apply_to_boxes(drawn, boxes), box_labels

    steps = tf.data.Dataset.counter(first_step)
    return steps.map(make_batch, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def make_table_dataset(table: PictureTable, *, batch_size: int) -> tf.data.Dataset:
    """Batches of `(images, labels, boxes, box_labels)`, each picture once, in order.

    Args:
        table: Pictures of any split.
        batch_size: Pictures a batch; the last one may be smaller.

    Returns:
        Dataset of the same form as that of `make_training_dataset`, not augmented.
    """
    rows = tf.data.Dataset.range(len(table.labels)).batch(batch_size)
    return rows.map(
        lambda rows: _read_rows(table, rows), num_parallel_calls=tf.data.AUTOTUNE
    ).prefetch(tf.data.AUTOTUNE)


def measure_grey(table: PictureTable) -> tuple[float, float]:
    """Mean and variance of all values of all pictures, 0 to 255, channels together.

    Args:
        table: Pictures of the training split, of which each worker has its part. What was filled in
            beside them does not count.

    Returns:
        Mean and variance; the variance is at least 1, so that a set of one flat grey can be
        divided by it.
    """
    count, total, squares = 0, 0.0, 0.0
    corners = np.rint(table.content * table.images.shape[1]).astype(np.int64)
    for image, (left, top, right, bottom) in zip(table.images, corners, strict=True):
        values = image[top:bottom, left:right] / STEPS_A_GREY_VALUE
        count, total = count + values.size, total + values.sum()
        squares += np.square(values).sum()
    count, total, squares = sum_over_workers(np.array([count, total, squares], np.float64))
    mean = total / count
    return float(mean), float(max(squares / count - mean**2, 1.0))


@tf.autograph.experimental.do_not_convert  # No branch depends on a tensor; rewriting takes long.
def _read_rows(table: PictureTable, rows: tf.Tensor) -> Batch:
    """The rows asked for: images float32 0 to 255, labels, boxes, labels of the boxes."""
    images, *columns = tf.numpy_function(
        lambda rows: (
            *(table.images[rows], table.labels[rows]),
            *(table.boxes[rows], table.box_labels[rows]),
        ),
        [rows],
        [tf.uint16, tf.int64, tf.float32, tf.int64],
    )
    images = tf.ensure_shape(images, [*rows.shape, *table.images.shape[1:]])
    shapes = (table.labels.shape, table.boxes.shape, table.box_labels.shape)
    return (
        tf.cast(images, tf.float32) / STEPS_A_GREY_VALUE,
        *(
            tf.ensure_shape(column, [*rows.shape, *shape[1:]])
            for column, shape in zip(columns, shapes, strict=True)
        ),
    )
