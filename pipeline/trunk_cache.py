"""What a frozen trunk says of every picture, computed once and kept on disk.

A frozen trunk gives the same answer every epoch, so it runs once over a few augmented views of
each training picture, and training reads its output instead.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from records.errors import InputError

BYTES_AT_MOST = 20 * 1024**3
_FLOAT16_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class TrunkCache:
    """Trunk outputs of `rows` pictures, in a memory-mapped file.

    Attributes:
        features: float16 `[rows, ...]`, memory mapped.
        labels: int64 `[rows]`.
    """

    features: np.memmap
    labels: np.ndarray

    def make_dataset(self, batch_size: int, *, shuffle_seed: int | None = None) -> tf.data.Dataset:
        """Batches of `(features float32, labels)`: once in order, or endless and shuffled.

        Args:
            batch_size: Rows a batch.
            shuffle_seed: Seed of the order; with one the data set is endless and every batch full.
        """
        rows = tf.data.Dataset.range(len(self.labels))
        if shuffle_seed is not None:
            rows = rows.shuffle(len(self.labels), seed=shuffle_seed).repeat()
        shape = self.features.shape[1:]

        def read(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            features, labels = tf.numpy_function(
                lambda i: (self.features[i].astype(np.float32), self.labels[i]),
                [index],
                [tf.float32, tf.int64],
            )
            return tf.ensure_shape(features, [None, *shape]), tf.ensure_shape(labels, [None])

        batches = rows.batch(batch_size, drop_remainder=shuffle_seed is not None)
        return batches.map(read, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def affordable_views(views: int, *, pictures: int, feature_shape: tuple[int, ...]) -> int:
    """How many views of each picture fit in `BYTES_AT_MOST`, at least 1 and at most `views`."""
    return max(1, min(views, BYTES_AT_MOST // (2 * pictures * math.prod(feature_shape))))


def fill_trunk_cache(
    path: Path,
    trunk: Callable[[tf.Tensor], tf.Tensor],
    batches: tf.data.Dataset,
    *,
    rows: int,
    feature_shape: tuple[int, ...],
    description: str,
) -> TrunkCache:
    """Runs the trunk over `batches` and keeps what it says.

    Args:
        path: The file to write.
        trunk: From float32 `[batch, size, size, channels]` to float32 `[batch, *feature_shape]`.
        batches: `(images, labels)`; as many pictures as `rows` are taken.
        rows: Pictures to take.
        feature_shape: Shape of one picture's features.
        description: Stands before the progress bar.

    Raises:
        InputError: The disk has no room for it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    needed = 2 * rows * math.prod(feature_shape)
    if needed > shutil.disk_usage(path.parent).free:
        raise InputError(
            f"{path} needs {needed / 1e9:.1f} GB, more than the disk has free.",
            "Make room, or give a --work_dir on another disk or a smaller --image_size.",
        )
    features = np.lib.format.open_memmap(
        path, mode="w+", dtype=np.float16, shape=(rows, *feature_shape)
    )
    labels = np.empty([rows], np.int64)
    done = 0
    with tqdm(total=rows, desc=description, unit="pictures", disable=None) as bar:
        for images, batch_labels in batches:
            taken = min(len(batch_labels), rows - done)
            answer = np.clip(trunk(images).numpy(), -_FLOAT16_LARGEST, _FLOAT16_LARGEST)
            features[done : done + taken] = answer[:taken]
            labels[done : done + taken] = batch_labels.numpy()[:taken]
            done += taken
            bar.update(taken)
            if done == rows:
                break
    return TrunkCache(features, labels)
