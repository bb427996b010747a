"""Features of pictures, row by row, and the batches that training takes from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pipeline.inputs.order import rows_of_step
from records.errors import InputError

_FLOAT16_LARGEST = float(np.finfo(np.float16).max)
_READ_AT_ONCE = 64

_Batch = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]


def row_type(shape: tuple[int, ...]) -> np.dtype:
    """How a row is kept: `label` int64, `features` float16 of `shape`, `checksum` uint32."""
    return np.dtype([("label", "<i8"), ("features", "<f2", shape), ("checksum", "<u4")])


def pack_rows(features: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> np.ndarray:
    """Rows as they are kept, but for the checksum; what float16 cannot hold is cut off.

    Args:
        features: float32 `[n, ...]`.
        labels: int64 `[n]`.

    Raises:
        InputError: A feature is not a number.
    """
    if np.isnan(features).any():
        raise InputError(
            "The backbone's features hold values that are not numbers.",
            "Give a sound weights file, or --backbone_weights=calibrated.",
        )
    rows = np.zeros([len(labels)], row_type(features.shape[1:]))
    rows["label"] = labels
    rows["features"] = np.clip(features, -_FLOAT16_LARGEST, _FLOAT16_LARGEST)
    return rows


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """Rows of one split, of one or several views of its pictures.

    Attributes:
        views: Arrays of the same length and of one `row_type`; they may be mapped from files. Row
            `r` of view `v` is row `v * length + r` of the table.
    """

    views: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return len(self.views) * len(self.views[0])

    def make_dataset(self, batch_size: int) -> tf.data.Dataset:
        """Batches of `(features float32, labels)`, once, in order; the last may be smaller."""
        rows = tf.data.Dataset.range(len(self)).batch(batch_size)
        return self._make_batches(rows, self._read, None)

    def make_training_dataset(
        self, batch_size: int, *, seed: int, first_step: int = 0
    ) -> tf.data.Dataset:
        """Endless full batches of `(features float32, labels)` in the order of `rows_of_step`.

        Args:
            batch_size: Rows a batch.
            seed: Seed of the order.
            first_step: Number of the first batch; a training that goes on has taken those before.
        """

        def read(step: np.int64) -> _Batch:
            return self._read(
                rows_of_step(int(step), batch_size=batch_size, count=len(self), seed=seed)
            )

        return self._make_batches(tf.data.Dataset.counter(first_step), read, batch_size)

    def through(self, model: Callable[[tf.Tensor], tf.Tensor]) -> FeatureTable:
        """What `model` makes of every row, in memory."""
        packed = [
            pack_rows(model(features).numpy(), labels.numpy())
            for features, labels in self.make_dataset(_READ_AT_ONCE)
        ]
        return FeatureTable((np.concatenate(packed),))

    def _make_batches(
        self, places: tf.data.Dataset, read: Callable[..., _Batch], batch_size: int | None
    ) -> tf.data.Dataset:
        shape = self.views[0].dtype["features"].shape

        @tf.autograph.experimental.do_not_convert
        def make_batch(place: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            features, labels = tf.numpy_function(read, [place], [tf.float32, tf.int64])
            return (
                tf.ensure_shape(features, [batch_size, *shape]),
                tf.ensure_shape(labels, [batch_size]),
            )

        return places.map(make_batch, num_parallel_calls=tf.data.AUTOTUNE).prefetch(
            tf.data.AUTOTUNE
        )

    def _read(self, rows: npt.NDArray[np.int64]) -> _Batch:
        places = zip(*np.divmod(rows, len(self.views[0])), strict=True)
        taken = np.stack([self.views[view][row] for view, row in places])
        return taken["features"].astype(np.float32), taken["label"]
