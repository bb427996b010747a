from __future__ import annotations

import numpy as np
import pytest

from pipeline.inputs.feature_table import FeatureTable, pack_rows
from pipeline.inputs.order import rows_of_step
from records.errors import InputError


def table(views: int = 2, rows: int = 5) -> FeatureTable:
    labels = np.arange(views * rows)
    features = np.stack([labels, labels + 0.5], axis=1).astype(np.float32)
    packed = pack_rows(features, labels)
    return FeatureTable(tuple(packed[v * rows : (v + 1) * rows] for v in range(views)))


def test_in_order_every_row_of_every_view_comes_once() -> None:
    batches = list(table().make_dataset(4).as_numpy_iterator())
    assert [labels.tolist() for _, labels in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert batches[0][0].dtype == np.float32
    assert batches[2][0].tolist() == [[8, 8.5], [9, 9.5]]


def test_training_takes_the_rows_of_the_step_with_their_labels() -> None:
    dataset = table().make_training_dataset(4, seed=3, first_step=7).take(5)
    for step, (features, labels) in enumerate(dataset.as_numpy_iterator(), start=7):
        assert labels.tolist() == rows_of_step(step, batch_size=4, count=10, seed=3).tolist()
        np.testing.assert_array_equal(features, np.stack([labels, labels + 0.5], axis=1))


def test_training_knows_its_shapes_beforehand() -> None:
    features, labels = table().make_training_dataset(4, seed=3).element_spec
    assert (features.shape, labels.shape) == ((4, 2), (4,))


def test_through_a_model_come_its_answers_and_the_labels() -> None:
    squared = table().through(lambda x: x[:, :1] ** 2)
    (rows,) = squared.views
    assert rows["features"].tolist() == [[float(n * n)] for n in range(10)]
    assert rows["label"].tolist() == list(range(10))


def test_what_float16_cannot_hold_is_cut_not_infinite() -> None:
    values = np.array([[1e6, -np.inf, 0.1]], np.float32)
    rows = pack_rows(values, np.array([7]))
    assert rows["features"].tolist() == [[65504, -65504, np.float16(0.1)]]


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(InputError, match="not numbers"):
        pack_rows(np.array([[np.nan]], np.float32), np.array([0]))
