"""Records inside a `tf.data` pipeline. The one module of this room that needs TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import tensorflow as tf

from records.schema import (
    BOX_LABEL,
    BOX_SIDES,
    BOX_TEXT,
    ENCODED,
    HEIGHT,
    LABEL,
    SHA256,
    SOURCE_ID,
    WIDTH,
)

_PARSED: Final = {
    ENCODED: tf.io.FixedLenFeature([], tf.string),
    LABEL: tf.io.FixedLenFeature([], tf.int64),
    SOURCE_ID: tf.io.FixedLenFeature([], tf.string),
    SHA256: tf.io.FixedLenFeature([], tf.string),
    WIDTH: tf.io.FixedLenFeature([], tf.int64),
    HEIGHT: tf.io.FixedLenFeature([], tf.int64),
    BOX_LABEL: tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True),
    BOX_TEXT: tf.io.FixedLenSequenceFeature([], tf.string, allow_missing=True),
    **{
        side: tf.io.FixedLenSequenceFeature([], tf.float32, allow_missing=True)
        for side in BOX_SIDES
    },
}


@tf.autograph.experimental.do_not_convert  # No branch depends on a tensor; rewriting takes long.
def parse_record(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """Decodes one record; for `tf.data.Dataset.map`. The picture stays encoded.

    Args:
        serialized: A serialised `tf.train.Example`, tf.string scalar.

    Returns:
        `encoded` tf.string []; `label` tf.int64 [], from 0; `source_id` tf.string []; `sha256`
        tf.string [], of `encoded` in hexadecimal; `width` and `height` tf.int64 [] in pixels;
        `boxes` tf.float32 [n, 4], xmin, ymin, xmax, ymax as fractions of the picture in 0..1;
        `box_labels` tf.int64 [n], from 1; `box_names` tf.string [n].
    """
    parsed = tf.io.parse_single_example(serialized, _PARSED)
    return {
        "encoded": parsed[ENCODED],
        "label": parsed[LABEL],
        "source_id": parsed[SOURCE_ID],
        "sha256": parsed[SHA256],
        "width": parsed[WIDTH],
        "height": parsed[HEIGHT],
        "boxes": tf.stack([parsed[side] for side in BOX_SIDES], axis=-1),
        "box_labels": parsed[BOX_LABEL],
        "box_names": parsed[BOX_TEXT],
    }


def read_records(shards: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """The records of TFRecord files in their order, as `parse_record` gives them, in NumPy."""
    records = tf.data.TFRecordDataset([str(path) for path in shards]).map(parse_record)
    return records.as_numpy_iterator()
