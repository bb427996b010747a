from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from pipeline.distribution.data_parts import DataPart
from pipeline.inputs.operations import parse_augmentation
from pipeline.inputs.pictures import PictureTable
from pipeline.inputs.training_pictures import NO_LABEL, TrainingPictures, draw_labelled_rows
from tests.pipeline.picture_tables import make_table


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(1, 6), st.integers(0, 99))
def test_so_many_of_each_class_are_drawn(labels: list[int], per_class: int, seed: int) -> None:
    column = np.array(labels)
    rows = draw_labelled_rows(column, per_class=per_class, seed=seed)
    assert list(rows) == sorted(set(rows))
    for label in set(labels):
        assert (column[rows] == label).sum() == min(per_class, labels.count(label))
    more = draw_labelled_rows(column, per_class=per_class + 1, seed=seed)
    assert set(rows) <= set(more)


def test_the_draw_is_the_seeds() -> None:
    labels = np.repeat([0, 1], 50)
    draws = [tuple(draw_labelled_rows(labels, per_class=5, seed=seed)) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    assert list(draw_labelled_rows(labels, per_class=0, seed=3)) == list(range(100))


@pytest.fixture
def table(tmp_path: Path) -> PictureTable:
    """Twelve flat pictures; the grey value of each is its number, which is its label too."""
    images = np.tile(np.arange(12.0)[:, None, None, None], (1, 4, 4, 1))
    return make_table(tmp_path / "pictures", images)


def pictures_of(
    table: PictureTable, rows: list[int], *, batch_size: int, line: str = ""
) -> TrainingPictures:
    operations = parse_augmentation(line)
    return TrainingPictures(table, np.array(rows), batch_size, operations, seed=5)


def numbers_of(batch: tuple[tf.Tensor, ...]) -> npt.NDArray[np.int64]:
    numbers: npt.NDArray[np.int64] = np.rint(batch[0][:, 0, 0, 0].numpy()).astype(np.int64)
    return numbers


@pytest.mark.parametrize(("batch_size", "labelled"), [(6, 3), (5, 3), (1, 1)])
def test_half_of_every_batch_is_labelled(
    table: PictureTable, batch_size: int, labelled: int
) -> None:
    training = pictures_of(table, [2, 7], batch_size=batch_size)
    seen: set[int] = set()
    for batch in training.make_labelled_dataset().take(30):
        numbers, labels = numbers_of(batch), batch[1].numpy()
        assert len(numbers) == batch_size
        assert set(numbers[:labelled]) <= {2, 7}
        np.testing.assert_array_equal(labels, np.where(np.isin(numbers, [2, 7]), numbers, NO_LABEL))
        seen |= set(numbers)
    assert seen == (set(range(12)) if batch_size > 1 else {2, 7})


def test_with_all_labels_nothing_is_done_by_halves(table: PictureTable) -> None:
    training = pictures_of(table, list(range(12)), batch_size=4, line="brightness(0.1)")
    assert training.labelled_table is table
    pairs = zip(training.make_labelled_dataset(), training.make_dataset().take(5), strict=False)
    for ours, plain in pairs:
        np.testing.assert_array_equal(ours[0], plain[0])
        assert NO_LABEL not in ours[1].numpy()


def test_a_batch_is_a_function_of_its_step(table: PictureTable) -> None:
    training = pictures_of(table, [2, 7, 9], batch_size=6, line="flip|noise(0.1)")
    whole = list(training.make_labelled_dataset().take(7))
    for first in (3, 6):
        later = training.make_labelled_dataset(first).take(7 - first)
        for batch, expected in zip(later, whole[first:], strict=True):
            for column, wanted in zip(batch, expected, strict=True):
                np.testing.assert_array_equal(column, wanted)


def test_the_labelled_table_holds_the_labelled_rows_alone(table: PictureTable) -> None:
    part = pictures_of(table, [2, 7], batch_size=2).labelled_table
    assert list(part.labels) == [2, 7]
    assert [int(image[0, 0, 0]) for image in part.images] == [2 * 257, 7 * 257]
    assert part.boxes.shape == (2, 1, 4)


PARTS = (DataPart(0, 5), DataPart(1, 7))


def parted(table: PictureTable, parts: tuple[DataPart, ...], batch_size: int) -> TrainingPictures:
    """Rows of the table in parts, as a worker has them that holds these."""
    rows = sum(part.count for part in parts)
    first = 0 if parts[0].number == 0 else PARTS[0].count
    own = PictureTable(**{x.name: getattr(table, x.name)[first : first + rows]
                          for x in dataclasses.fields(table)})  # fmt: skip
    operations = parse_augmentation("flip|noise(0.1)")
    return TrainingPictures(own, np.arange(rows), batch_size, operations, 5, parts)


def test_each_part_gives_its_share_of_every_batch(table: PictureTable) -> None:
    training = parted(table, PARTS, 6)
    seen: list[list[int]] = [[], []]
    for _, labels, *_ in training.make_labelled_dataset().take(35):
        for part, share in enumerate((labels[:3], labels[3:])):
            seen[part] += share.numpy().tolist()
    for numbers, rows in zip(seen, (range(5), range(5, 12)), strict=True):
        rounds = np.array(numbers).reshape(-1, len(rows))
        assert all(sorted(round_) == list(rows) for round_ in rounds)


def test_workers_with_a_part_each_see_what_one_with_both_sees(table: PictureTable) -> None:
    whole = parted(table, PARTS, 6).make_dataset(3).take(4)
    shares = [parted(table, (part,), 3).make_dataset(3) for part in PARTS]
    for batch, *halves in zip(whole, *shares, strict=False):
        for column, *columns in zip(batch, *halves, strict=True):
            np.testing.assert_array_equal(column, np.concatenate(columns))


def test_parts_differ_in_what_is_drawn(table: PictureTable) -> None:
    seeds = {part.seed for part in parted(table, PARTS, 6).divided()}
    assert len(seeds) == 2
    whole = TrainingPictures(table, np.arange(12), 6, (), 5)
    assert whole.divided() == [whole]
