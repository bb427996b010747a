from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from pipeline.training.history import (
    COLUMNS,
    TensorBoardWriter,
    mean_wait_fraction,
    name_columns,
    write_history_csv,
)


def test_what_keras_says_gets_our_names_in_our_order() -> None:
    logs = {"val_loss": 2, "logits_mean": 0.5, "logits_loss": 9.0, "val_logits_accuracy": 0.75,
            "loss": 1.0, "seconds": 3.5, "reconstruction_mean": 0.25,
            "evidence_loss": 8.0}  # fmt: skip
    named = name_columns(logs)
    assert named == {"seconds": 3.5, "loss": 1.0, "logits_loss": 0.5, "evidence_loss": 8.0,
                     "reconstruction_loss": 0.25, "val_loss": 2.0,
                     "val_accuracy": 0.75}  # fmt: skip
    assert list(named) == [name for name in COLUMNS if name in named]


def test_a_row_without_a_column_leaves_it_empty(tmp_path: Path) -> None:
    rows = [{"epoch": 1, "phase": "head", "loss": 0.5}, {"epoch": 2, "phase": "head"}]
    write_history_csv(tmp_path / "history.csv", rows)
    with (tmp_path / "history.csv").open() as file:
        first, second = csv.DictReader(file)
    assert tuple(first) == COLUMNS
    assert (first["loss"], second["loss"], second["epoch"]) == ("0.5", "", "2")


def test_the_share_of_waiting_counts_epochs_by_their_length() -> None:
    rows = [
        {"seconds": 1.0, "input_wait_fraction": 0.5},
        {"seconds": 9.0, "input_wait_fraction": 0.1},
    ]
    assert mean_wait_fraction(rows) == pytest.approx((0.5 + 0.9) / 10)


def test_nothing_is_written_before_there_is_something_to_say(tmp_path: Path) -> None:
    TensorBoardWriter(tmp_path / "logs")
    assert not (tmp_path / "logs").exists()


def test_pictures_in_tensorboard_are_whole_grey_values(tmp_path: Path) -> None:
    writer = TensorBoardWriter(tmp_path)
    images = np.array([[-5.0, 0.4, 127.5, 300.0]], np.float32).reshape(1, 2, 2, 1)
    writer.write(3, {"loss": 0.25}, {"some": images})
    (path,) = tmp_path.iterdir()
    values: dict[str, Any] = {}
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        event = tf.compat.v1.Event.FromString(record)
        values |= {value.tag: (event.step, value.tensor) for value in event.summary.value}
    step, tensor = values["loss"]
    assert (step, float(tf.make_ndarray(tensor))) == (3, 0.25)
    _, tensor = values["some"]
    encoded = tf.make_ndarray(tensor)[2]  # after width and height
    np.testing.assert_array_equal(tf.io.decode_png(encoded).numpy().ravel(), [0, 0, 128, 255])
