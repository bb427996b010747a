from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipeline import trunk_cache
from pipeline.trunk_cache import TrunkCache, affordable_views, fill_trunk_cache


def filled(folder: Path, rows: int = 10) -> TrunkCache:
    images = np.arange(rows * 4, dtype=np.float32).reshape(rows, 2, 2, 1)
    batches = tf.data.Dataset.from_tensor_slices((images, np.arange(rows))).repeat().batch(4)
    return fill_trunk_cache(
        folder / "a.npy",
        lambda x: tf.reduce_mean(x, axis=[2, 3]) * 2,
        batches,
        rows=rows,
        feature_shape=(2,),
        description="",
    )


def test_rows_are_the_trunks_answers_in_order(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    expected = np.arange(40).reshape(10, 2, 2).mean(axis=2) * 2
    np.testing.assert_array_equal(cache.features, expected)
    np.testing.assert_array_equal(cache.labels, np.arange(10))


def test_in_order_every_row_comes_once(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    batches = list(cache.make_dataset(4).as_numpy_iterator())
    assert [len(labels) for _, labels in batches] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate([f for f, _ in batches]), cache.features)


def test_shuffled_every_row_comes_once_a_round_with_its_label(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    seen: list[int] = []
    for features, labels in cache.make_dataset(5, shuffle_seed=3).take(4).as_numpy_iterator():
        np.testing.assert_array_equal(features, cache.features[labels])
        seen += labels.tolist()
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]
    again = cache.make_dataset(5, shuffle_seed=3).take(4).as_numpy_iterator()
    assert np.concatenate([labels for _, labels in again]).tolist() == seen


def test_what_float16_cannot_hold_is_cut_not_infinite(tmp_path: Path) -> None:
    batches = tf.data.Dataset.from_tensors((np.full((1, 1), 1e6, np.float32), [0]))
    cache = fill_trunk_cache(
        tmp_path / "a.npy", lambda x: x, batches, rows=1, feature_shape=(1,), description=""
    )
    assert cache.features[0, 0] == 65504


def test_views_fit_the_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trunk_cache, "BYTES_AT_MOST", 2 * 100 * 10 * 3)
    assert affordable_views(4, pictures=100, feature_shape=(2, 5)) == 3
    assert affordable_views(2, pictures=100, feature_shape=(2, 5)) == 2
    assert affordable_views(4, pictures=10_000, feature_shape=(2, 5)) == 1
