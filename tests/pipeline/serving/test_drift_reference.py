from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipeline.serving.drift_reference import measure_records
from tests.pipeline.picture_tables import decode, write_two_shards


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
def monitor(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
    """The mean grey value, and a tenth of it, which is the label of these pictures."""
    images = tf.map_fn(decode, image_bytes, fn_output_signature=tf.float32)
    grey = tf.reduce_mean(images, axis=[1, 2, 3])
    label = tf.cast(tf.round(grey / 10), tf.int64)
    return {"statistics": tf.stack([grey, -grey], axis=1), "label_index": label}


@pytest.mark.parametrize(("most", "expected"), [(2000, 25), (25, 25), (7, 7)])
def test_each_picture_is_measured_once_in_order(tmp_path: Path, most: int, expected: int) -> None:
    measured = measure_records(monitor, write_two_shards(tmp_path, count=25), most=most)
    labels = np.arange(expected)
    assert measured.decided.tolist() == labels.tolist()
    np.testing.assert_allclose(measured.statistics, np.stack([10, -10]) * labels[:, None])
    assert len(set(measured.source_ids)) == expected


def test_no_picture_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no picture"):
        measure_records(monitor, write_two_shards(tmp_path, count=2), most=0)
