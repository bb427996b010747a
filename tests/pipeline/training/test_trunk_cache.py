from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipeline.inputs.feature_table import row_type
from pipeline.training import trunk_cache
from pipeline.training.trunk_cache import BATCH_SIZE, Rows, affordable_views, fill_cache
from records.errors import InputError

COUNT = 3 * BATCH_SIZE + 4
SHAPE = (2,)
ROW = row_type(SHAPE)


class Trunk:
    """Answers with rising numbers; counts the pictures it saw, and may be stopped after some."""

    def __init__(self, stop_after: float = np.inf) -> None:
        self.seen, self._stop_after, self._one = 0, stop_after, threading.Lock()

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        with self._one:  # Two batches are under way at once.
            if self.seen >= self._stop_after:
                raise KeyboardInterrupt
            self.seen += len(images)
        return tf.reduce_mean(images, axis=[2, 3]) * 2


def pictures(first_step: int, *, endless: bool = False) -> tf.data.Dataset:
    images = np.arange(COUNT * 4, dtype=np.float32).reshape(COUNT, 2, 2, 1)
    rows = tf.data.Dataset.from_tensor_slices((images, np.arange(COUNT)))
    return (rows.repeat() if endless else rows).batch(BATCH_SIZE).skip(first_step)


def endless(first_step: int) -> tf.data.Dataset:
    return pictures(first_step, endless=True)


def fill(
    folder: Path, trunk: Trunk, batches: Callable[[int], tf.data.Dataset] = pictures
) -> np.memmap:
    return fill_cache(folder, trunk, [Rows("a", COUNT, batches)], feature_shape=SHAPE)[0]


def assert_right(rows: np.ndarray) -> None:
    expected = np.arange(COUNT * 4).reshape(COUNT, 2, 2).mean(axis=2) * 2
    np.testing.assert_array_equal(rows["features"], expected)
    np.testing.assert_array_equal(rows["label"], np.arange(COUNT))


@pytest.mark.parametrize("batches", [pictures, endless])
def test_rows_are_the_trunks_answers_in_order(
    batches: Callable[[int], tf.data.Dataset], tmp_path: Path
) -> None:
    assert_right(fill(tmp_path / "c", Trunk(), batches))


def test_a_second_time_the_trunk_does_not_run(tmp_path: Path) -> None:
    fill(tmp_path / "c", Trunk())
    assert_right(fill(tmp_path / "c", Trunk(stop_after=0)))


def test_another_view_leaves_the_first_as_it_is(tmp_path: Path) -> None:
    fill(tmp_path / "c", Trunk())
    trunk = Trunk()
    parts = [Rows(name, COUNT, pictures) for name in ("a", "b")]
    for rows in fill_cache(tmp_path / "c", trunk, parts, feature_shape=SHAPE):
        assert_right(rows)
    assert trunk.seen == COUNT


def test_what_was_interrupted_goes_on_where_it_was(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "c", Trunk(stop_after=2 * BATCH_SIZE))
    trunk = Trunk()
    assert_right(fill(tmp_path / "c", trunk))
    assert trunk.seen == COUNT - 2 * BATCH_SIZE


@pytest.mark.parametrize(
    ("place", "sound_batches"),
    [(0, 0), (BATCH_SIZE * ROW.itemsize - 1, 0), (BATCH_SIZE * ROW.itemsize, 1), (-1, 3)],
)
def test_damage_is_filled_anew_from_there(place: int, sound_batches: int, tmp_path: Path) -> None:
    fill(tmp_path / "c", Trunk())
    path = tmp_path / "c" / "a.rows"
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    trunk = Trunk()
    assert_right(fill(tmp_path / "c", trunk))
    assert trunk.seen == COUNT - sound_batches * BATCH_SIZE


@pytest.mark.parametrize("rows", [0, 1, BATCH_SIZE, COUNT - 1])
@pytest.mark.parametrize("more", [b"", b"\0" * 3, b"\0" * (40 * ROW.itemsize)])
def test_a_file_cut_off_anywhere_is_completed(rows: int, more: bytes, tmp_path: Path) -> None:
    fill(tmp_path / "c", Trunk())
    path = tmp_path / "c" / "a.rows"
    path.write_bytes(path.read_bytes()[: rows * ROW.itemsize] + more)
    assert_right(fill(tmp_path / "c", Trunk()))


def of_bytes(folder: Path, size: int, *, used: int) -> Path:
    folder.mkdir()
    (folder / "a.rows").write_bytes(bytes(size))
    os.utime(folder, (used, used))
    return folder


def test_the_longest_unused_go_first_and_no_more_than_need_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = COUNT * ROW.itemsize
    monkeypatch.setattr(trunk_cache, "BYTES_AT_MOST", 3 * size)
    old, older, oldest = (
        of_bytes(tmp_path / (letter * 64), size, used=used)
        for letter, used in (("a", 300), ("b", 200), ("c", 100))
    )
    foreign = of_bytes(tmp_path / "mine", size, used=1)
    fill(tmp_path / ("d" * 64), Trunk())
    assert [x.exists() for x in (old, older, oldest, foreign)] == [True, True, False, True]
    fill(tmp_path / ("e" * 64), Trunk())
    assert [x.exists() for x in (old, older, tmp_path / ("d" * 64))] == [True, False, True]


def test_use_keeps_a_cache_young(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trunk_cache, "BYTES_AT_MOST", 2 * COUNT * ROW.itemsize)
    first, second, third = (tmp_path / (letter * 64) for letter in "abc")
    for used, folder in enumerate((first, second)):
        fill(folder, Trunk())
        os.utime(folder, (used, used))
    fill(first, Trunk(stop_after=0))
    fill(third, Trunk())
    assert [x.exists() for x in (first, second, third)] == [True, False, True]


def test_a_disk_without_room_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"GB more, more than the disk has free") as caught:
        fill_cache(tmp_path / "c", Trunk(), [Rows("a", 10**15, pictures)], feature_shape=(1000,))
    assert "--views" in str(caught.value)


def test_views_fit_the_space(monkeypatch: pytest.MonkeyPatch) -> None:
    row = row_type((2, 5)).itemsize
    monkeypatch.setattr(trunk_cache, "BYTES_AT_MOST", row * (100 * 3 + 20))

    def views(asked: int, pictures: int = 100, held_out: int = 20) -> int:
        return affordable_views(asked, pictures=pictures, held_out=held_out, feature_shape=(2, 5))

    assert views(4) == 3
    assert views(2) == 2
    assert views(4, held_out=21) == 2
    assert views(4, pictures=10_000) == 1
