from __future__ import annotations

import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipeline.inputs.pictures import PictureReader, PictureTable, build_picture_table, pad_boxes
from records.errors import InputError
from tests.pipeline.picture_tables import READER, SIDE, write_flat, write_two_shards

COUNT = 20


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_two_shards(tmp_path_factory.mktemp("shards"), count=COUNT)


def build(path: Path, shards: list[Path], reader: PictureReader = READER) -> PictureTable:
    return build_picture_table(path, shards, reader=reader, count=COUNT, description="decode")


def test_rows_are_the_pictures_in_the_order_of_the_records(
    shards: list[Path], tmp_path: Path
) -> None:
    table = build(tmp_path / "train.u16", shards)
    assert table.images.dtype == np.uint16
    assert table.images.shape == (COUNT, SIDE, SIDE, 1)
    assert isinstance(table.images, np.memmap)
    np.testing.assert_array_equal(table.labels, np.arange(COUNT))
    expected = np.broadcast_to(2570 * np.arange(COUNT)[:, None, None, None], table.images.shape)
    np.testing.assert_array_equal(table.images, expected)
    np.testing.assert_array_equal(table.content, [[0, 0, 1, 1]] * COUNT)
    assert [path.name for path in tmp_path.iterdir()] == ["train.u16"]


def test_boxes_are_filled_up_with_zeros(shards: list[Path], tmp_path: Path) -> None:
    table = build(tmp_path / "t", shards)
    boxes = table.boxes
    counts = np.arange(COUNT)[:, None] % SIDE
    np.testing.assert_array_equal(table.box_labels, np.arange(7) < counts)
    assert boxes.shape == (COUNT, 7, 4)
    for label in range(COUNT):
        found = label % SIDE
        expected = [[2 / 8, row / 8, 3 / 8, (row + 1) / 8] for row in range(found)]
        np.testing.assert_allclose(
            boxes[label, :found].reshape(-1, 4), np.reshape(expected, (-1, 4))
        )
        assert not boxes[label, found:].any()


def test_without_any_box_there_is_one_empty_row(tmp_path: Path) -> None:
    write_flat(tmp_path / "a", [0, 8], classes=COUNT)
    table = build_picture_table(
        tmp_path / "t", [tmp_path / "a"], reader=READER, count=2, description=""
    )
    np.testing.assert_array_equal(table.boxes, np.zeros((2, 1, 4)))


def test_room_for_more_boxes_stays_empty(shards: list[Path], tmp_path: Path) -> None:
    table = build(tmp_path / "t", shards)
    most = table.boxes.shape[1]
    wider = pad_boxes(table, most + 2)
    assert (wider.boxes.shape, wider.box_labels.shape) == ((COUNT, most + 2, 4), (COUNT, most + 2))
    np.testing.assert_array_equal(wider.boxes[:, :most], table.boxes)
    np.testing.assert_array_equal(wider.box_labels[:, :most], table.box_labels)
    assert not wider.boxes[:, most:].any()
    assert not wider.box_labels[:, most:].any()
    assert wider.images is table.images
    np.testing.assert_array_equal(pad_boxes(table, most).boxes, table.boxes)


def test_boxes_and_content_lie_where_the_reader_places_them(
    shards: list[Path], tmp_path: Path
) -> None:
    def lower_half(boxes: tf.Tensor, width: tf.Tensor, height: tf.Tensor) -> tf.Tensor:
        tf.debugging.assert_equal((width, height), (tf.constant(8, tf.int64),) * 2)
        return boxes * [1.0, 0.5, 1.0, 0.5] + [0.0, 0.5, 0.0, 0.5]

    table = build(tmp_path / "t", shards, PictureReader(READER.decode, lower_half))
    np.testing.assert_array_equal(table.content, [[0, 0.5, 1, 1]] * COUNT)
    np.testing.assert_allclose(table.boxes[2, 1], [2 / 8, 9 / 16, 3 / 8, 10 / 16])


def test_16_bit_keeps_its_depth(shards: list[Path], tmp_path: Path) -> None:
    values = np.arange(0, 65536, 1024).astype(np.uint16).reshape(SIDE, SIDE, 1)
    reader = PictureReader(lambda _: tf.constant(values / 257.0, tf.float32), READER.place)
    np.testing.assert_array_equal(build(tmp_path / "t", shards, reader).images[3], values)


def test_records_that_are_missing_are_no_short_table(shards: list[Path], tmp_path: Path) -> None:
    with pytest.raises(tf.errors.FailedPreconditionError):
        build(tmp_path / "t", shards[:1])
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_before_the_work(
    shards: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2 * 64 * COUNT - 1))
    with pytest.raises(InputError, match="more than the disk has free"):
        build(tmp_path / "deeper" / "t", shards)


def test_a_write_that_fails_is_told_and_leaves_nothing(shards: list[Path], tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(InputError, match="File too large"):
            build(tmp_path / "t", shards)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []
