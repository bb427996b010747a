from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipeline.inputs import batches
from pipeline.inputs.operations import parse_augmentation
from pipeline.inputs.pictures import PictureTable
from tests.pipeline.picture_tables import decode, make_table, write_two_shards

COUNT = 20
ALL = "flip|rot90|rotate(15)|shift(0.1)|crop(0.8)|brightness(0.2)|contrast(0.1)|noise(0.02)"

Batches = list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two shards of flat pictures whose grey value is 10 times their label."""
    return write_two_shards(tmp_path_factory.mktemp("shards"), count=COUNT)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> PictureTable:
    """Flat pictures whose grey value is 10 times their label, two boxes each of the first ten."""
    images = np.broadcast_to(10.0 * np.arange(COUNT)[:, None, None, None], (COUNT, 8, 8, 1))
    boxes = np.zeros((COUNT, 2, 4), np.float32)
    boxes[:10] = [[0.125, 0.25, 0.5, 0.75], [0.75, 0.75, 1.0, 1.0]]
    return make_table(tmp_path_factory.mktemp("table") / "t", images, boxes)


def training(
    table: PictureTable,
    seed: int,
    line: str = "",
    *,
    batch_size: int = 5,
    first_step: int = 0,
    steps: int = 8,
) -> Batches:
    dataset = batches.make_training_dataset(
        table,
        batch_size=batch_size,
        operations=parse_augmentation(line),
        seed=seed,
        first_step=first_step,
    )
    return list(dataset.take(steps).as_numpy_iterator())


def assert_same(first: Batches, second: Batches) -> None:
    assert len(first) == len(second)
    for batch, other in zip(first, second, strict=True):
        for part, other_part in zip(batch, other, strict=True):
            np.testing.assert_array_equal(part, other_part)


def test_evaluation_gives_each_picture_once_in_order_with_its_label(shards: list[Path]) -> None:
    dataset = batches.make_evaluation_dataset(shards, decode=decode, batch_size=6, count=COUNT)
    given = list(dataset)
    labels = np.concatenate([y for _, y in given])
    np.testing.assert_array_equal(labels, np.arange(COUNT))
    images = np.concatenate([x for x, _ in given])
    np.testing.assert_array_equal(images[:, 3, 3, 0], 10 * labels)
    assert [len(y) for _, y in given] == [6, 6, 6, 2]


def test_records_that_are_missing_are_no_short_answer(shards: list[Path]) -> None:
    dataset = batches.make_evaluation_dataset(shards[:1], decode=decode, batch_size=6, count=COUNT)
    with pytest.raises(tf.errors.FailedPreconditionError):
        list(dataset)


def test_a_table_comes_once_in_order_as_it_is(table: PictureTable) -> None:
    dataset = batches.make_table_dataset(table, batch_size=6)
    given = list(dataset.as_numpy_iterator())
    assert [len(y) for _, y, *_ in given] == [6, 6, 6, 2]
    images, labels, boxes, box_labels = (np.concatenate(part) for part in zip(*given, strict=True))
    np.testing.assert_array_equal(labels, np.arange(COUNT))
    np.testing.assert_array_equal(images, np.tile(10.0 * labels[:, None, None, None], (8, 8, 1)))
    np.testing.assert_array_equal(boxes, table.boxes)
    np.testing.assert_array_equal(box_labels, table.box_labels)
    assert images.dtype == np.float32


def test_the_specs_of_both_tell_the_shapes(table: PictureTable) -> None:
    augmented = batches.make_training_dataset(
        table, batch_size=5, operations=parse_augmentation(ALL), seed=0
    )
    for dataset, batch in ((augmented, 5), (batches.make_table_dataset(table, batch_size=5), None)):
        assert dataset.element_spec == (
            tf.TensorSpec([batch, 8, 8, 1], tf.float32),
            tf.TensorSpec([batch], tf.int64),
            tf.TensorSpec([batch, 2, 4], tf.float32),
            tf.TensorSpec([batch, 2], tf.int64),
        )


def test_training_gives_each_picture_once_a_round_in_new_order(table: PictureTable) -> None:
    # Batches of 6 do not divide 20 pictures; all are full all the same.
    batches = training(table, 1, batch_size=6, steps=10)
    assert {len(y) for _, y, *_ in batches} == {6}
    rounds = np.concatenate([y for _, y, *_ in batches]).reshape(3, COUNT).tolist()
    for labels in rounds:
        assert sorted(labels) == list(range(COUNT)) != labels
    assert len({tuple(labels) for labels in rounds}) == 3


def test_pictures_keep_their_labels_and_boxes(table: PictureTable) -> None:
    for images, labels, boxes, box_labels in training(table, 1):
        np.testing.assert_array_equal(images[:, 2, 5, 0], 10 * labels)
        np.testing.assert_array_equal(boxes, table.boxes[labels])
        np.testing.assert_array_equal(box_labels, table.box_labels[labels])
    for images, labels, boxes, _ in training(table, 1, "flip|rot90"):
        np.testing.assert_allclose(images[:, 2, 5, 0], 10 * labels, atol=1e-3)
        np.testing.assert_array_equal(boxes.any(axis=(1, 2)), labels < 10)


def test_boxes_follow_their_pictures(tmp_path: Path) -> None:
    images = np.zeros((4, 16, 16, 1))
    images[:, 2:6, 9:15] = 200.0
    boxes = np.tile(np.array([9, 2, 15, 6], np.float32) / 16, (4, 1, 1))
    for batch, _, placed, _ in training(
        make_table(tmp_path / "t", images, boxes), 3, "flip|vflip|rot90", batch_size=4
    ):
        for image, (left, top, right, bottom) in zip(
            batch, np.rint(placed[:, 0] * 16), strict=True
        ):
            expected = np.zeros((16, 16))
            expected[int(top) : int(bottom), int(left) : int(right)] = 200.0
            np.testing.assert_allclose(image[..., 0], expected, atol=0.1)


@pytest.mark.parametrize("line", ["", ALL])
def test_a_training_that_goes_on_sees_what_one_without_a_break_sees(
    table: PictureTable, line: str
) -> None:
    whole = training(table, 7, line)
    for first_step in (1, 5):
        rest = training(table, 7, line, first_step=first_step, steps=8 - first_step)
        assert_same(rest, whole[first_step:])


@pytest.mark.parametrize("seed", [1, 2**32 - 1])
def test_the_seed_decides_order_and_augmentation(table: PictureTable, seed: int) -> None:
    line = "noise(0.1)"
    batches = training(table, seed, line)
    assert_same(batches, training(table, seed, line))
    other = training(table, seed - 1, line)
    assert any((y != z).any() for (_, y, *_), (_, z, *_) in zip(batches, other, strict=True))
    # No two rounds see the same picture augmented the same way.
    flat: dict[int, list[np.ndarray]] = {y: [] for y in range(COUNT)}
    for images, labels, *_ in batches:
        for image, label in zip(images, labels, strict=True):
            flat[int(label)].append(image)
    assert all(len(views) == 2 and (views[0] != views[1]).any() for views in flat.values())


def test_seeds_far_apart_draw_differently(table: PictureTable) -> None:
    firsts = [training(table, seed, "noise(0.1)", steps=1)[0] for seed in (0, 2**31, 2**32 - 1)]
    noise = {
        (images - 10.0 * labels[:, None, None, None]).tobytes() for images, labels, *_ in firsts
    }
    assert len(noise) == 3


def test_grey_statistics_are_those_of_all_values(table: PictureTable, tmp_path: Path) -> None:
    values = 10.0 * np.arange(COUNT)
    assert batches.measure_grey(table) == pytest.approx((values.mean(), values.var()))
    flat = make_table(tmp_path / "t", np.full((2, 4, 4, 1), 7.0))
    assert batches.measure_grey(flat) == (7.0, 1.0)


def test_grey_statistics_leave_the_filling_out(tmp_path: Path) -> None:
    images = np.full((1, 4, 4, 1), 99.0)
    images[0, 1:3] = np.array([[10, 20, 30, 40], [50, 60, 70, 80]])[..., None]
    table = make_table(tmp_path / "t", images)
    table.content[0] = [0.0, 0.25, 1.0, 0.75]
    assert batches.measure_grey(table) == pytest.approx((45.0, 525.0))
