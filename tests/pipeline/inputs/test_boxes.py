"""Boxes under augmentation: they follow their picture, and one of them stays in view."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.inputs import affine, augment
from pipeline.inputs.operations import parse_augmentation

ALL = "flip|vflip|rot90|rotate(180)|shift(0.5)|crop(0.2)"
SEEDS = st.integers(0, 2**31 - 1)
Array = npt.NDArray[np.float32]


@st.composite
def boxes_of_a_batch(draw: st.DrawFn, *, pictures: int = 4, most: int = 3) -> Array:
    """float32 `[pictures, most, 4]`, some rows without a box."""
    boxes = np.zeros((pictures, most, 4), np.float32)
    for picture in boxes:
        for row in range(draw(st.integers(0, most))):
            for axis in (0, 1):
                low = draw(st.integers(0, 99))
                high = draw(st.integers(low + 1, 100))
                picture[row, axis], picture[row, axis + 2] = low / 100, high / 100
    return boxes


def drawn_for(line: str, boxes: npt.ArrayLike, seed: int = 0) -> augment.Draw:
    operations = parse_augmentation(line)
    return augment.draw(operations, tf.constant(boxes, tf.float32), tf.constant([seed, 0]))


def by_corners(matrix: Array, box: Array) -> Array:
    """The oracle: the hull of the four corners, as fractions of the output, not cut off."""
    corners = np.array([[box[x], box[y]] for x in (0, 2) for y in (1, 3)], np.float64) * 2 - 1
    moved = np.linalg.solve(matrix.astype(np.float64), np.c_[corners, np.ones(4)].T)[:2].T
    return (np.r_[moved.min(axis=0), moved.max(axis=0)] + 1) / 2


@settings(max_examples=40, deadline=None)
@given(boxes=boxes_of_a_batch(), seed=SEEDS)
def test_boxes_are_the_hulls_of_their_corners_cut_off_at_the_edge(boxes: Array, seed: int) -> None:
    drawn = drawn_for(ALL, boxes, seed)
    result = augment.apply_to_boxes(drawn, tf.constant(boxes)).numpy()
    assert result.shape == boxes.shape
    for matrix, before, after in zip(drawn.affine.numpy(), boxes, result, strict=True):
        for box, found in zip(before, after, strict=True):
            hull = np.clip(by_corners(matrix, box), 0, 1)
            if not box.any():
                assert not found.any()
            elif found.any():
                np.testing.assert_allclose(found, hull, atol=1e-4)
            else:
                assert (hull[2:] - hull[:2]).min() < 1e-4


@settings(max_examples=40, deadline=None)
@given(boxes=boxes_of_a_batch(), seed=SEEDS)
def test_one_box_of_each_picture_stays_in_view(boxes: Array, seed: int) -> None:
    drawn = drawn_for(ALL, boxes, seed)
    for matrix, of_picture in zip(drawn.affine.numpy(), boxes, strict=True):
        hulls = [by_corners(matrix, box) for box in of_picture if box.any()]
        assert not hulls or any(map(is_in_view, hulls))


def is_in_view(hull: Array) -> bool:
    """Whether each axis shows all of it, or, where it is larger than the view, nothing else."""
    low, high = hull[:2], hull[2:]
    inside = (low > -1e-4) & (high < 1 + 1e-4)
    filling = (low < 1e-4) & (high > 1 - 1e-4)
    return bool((inside | filling).all())


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_a_crop_with_a_box_stays_inside_the_picture(seed: int) -> None:
    boxes = np.tile(np.array([0.9, 0, 1, 0.05], np.float32), (8, 1, 1))
    matrices = drawn_for("crop(0.3)", boxes, seed).affine.numpy()
    corners = np.array([[-1, 1, -1, 1], [-1, -1, 1, 1], [1, 1, 1, 1]])
    assert np.abs((matrices @ corners)[:, :2]).max() <= 1 + 1e-5


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, line=st.sampled_from([ALL, "crop(0.5)", "rotate(30)|shift(0.2)"]))
def test_a_map_that_keeps_the_box_in_view_is_the_one_of_no_box(seed: int, line: str) -> None:
    free = drawn_for(line, np.zeros((16, 1, 4)), seed).affine.numpy()
    boxes = np.tile(np.array([0.6, 0.1, 0.8, 0.2], np.float32), (16, 1, 1))
    held = drawn_for(line, boxes, seed).affine.numpy()
    for before, after, box in zip(free, held, boxes[:, 0], strict=True):
        np.testing.assert_array_equal(before[:2, :2], after[:2, :2])  # nothing but moved
        if is_in_view(by_corners(before, box) * (1 + 2e-4) - 1e-4):
            np.testing.assert_allclose(before, after, atol=1e-3)


def test_the_map_is_moved_by_no_more_than_it_takes() -> None:
    # The view is the left quarter of the picture's width, the box lies right of it: after the move
    # both end at the same column, 0.75, and what is above and below is as it was.
    matrix = tf.constant([[[0.25, 0, -0.75], [0, 1, 0], [0, 0, 1]]])
    moved = affine.bring_into_view(matrix, tf.constant([[0.625, 0.25, 0.75, 0.5]]))
    expected = np.array([[0.25, 0, 0.25], [0, 1, 0], [0, 0, 1]])
    np.testing.assert_allclose(moved[0], expected, atol=1e-6)


@pytest.mark.parametrize(("before", "after"), [(-0.75, -0.25), (0.1, 0.1), (0.9, 0.75)])
def test_a_view_smaller_than_its_box_is_brought_into_it(before: float, after: float) -> None:
    # The view is a quarter of the picture, the box its right three quarters: -0.5 to 1.
    matrix = tf.constant([[[0.25, 0, before], [0, 0.25, -0.75], [0, 0, 1]]])
    moved = affine.bring_into_view(matrix, tf.constant([[0.25, 0.0, 1.0, 0.125]]))
    np.testing.assert_allclose(moved[0, :2, 2], [after, -0.75], atol=1e-6)


def test_a_box_turned_by_45_degrees_is_the_hull_of_the_diamond() -> None:
    turn = math.sqrt(0.5)
    drawn = drawn_for("", np.zeros((1, 1, 4)))
    turned = augment.Draw(
        tf.constant([[[turn, -turn, 0], [turn, turn, 0], [0, 0, 1]]]),
        *(drawn.offset, drawn.gain, drawn.noise, drawn.noise_seed),
    )
    box = augment.apply_to_boxes(turned, tf.constant([[[0.25, 0.25, 0.75, 0.75]]])).numpy()
    reach = math.sqrt(2) / 4
    np.testing.assert_allclose(box[0, 0], np.r_[[0.5 - reach] * 2, [0.5 + reach] * 2], atol=1e-6)


def test_a_box_wholly_outside_becomes_zero() -> None:
    drawn = drawn_for("", np.zeros((1, 1, 4)))
    left_half = augment.Draw(
        tf.constant([[[0.5, 0, -0.5], [0, 1, 0], [0, 0, 1]]]),
        *(drawn.offset, drawn.gain, drawn.noise, drawn.noise_seed),
    )
    boxes = tf.constant([[[0.5, 0.2, 0.9, 0.4], [0.25, 0.2, 0.75, 0.4], [0, 0, 0, 0]]])
    result = augment.apply_to_boxes(left_half, boxes).numpy()
    np.testing.assert_array_equal(result[0, [0, 2]], np.zeros((2, 4)))
    np.testing.assert_allclose(result[0, 1], [0.5, 0.2, 1, 0.4], atol=1e-6)


def test_every_box_is_the_one_kept_at_times() -> None:
    # Two boxes in opposite corners; a crop of a fifth can show only one of them.
    boxes = np.tile(np.array([[0, 0, 0.1, 0.1], [0.9, 0.9, 1, 1], [0, 0, 0, 0]]), (64, 1, 1))
    drawn = drawn_for("crop(0.2)", boxes)
    seen = augment.apply_to_boxes(drawn, tf.constant(boxes, tf.float32)).numpy().any(axis=-1)
    assert seen[:, :2].any(axis=1).all()
    assert 16 < seen[:, 0].sum() < 56
    assert 16 < seen[:, 1].sum() < 56
    assert not seen[:, 2].any()


@pytest.mark.parametrize("line", [ALL, "flip|rot90|rotate(15)|shift(0.1)|crop(0.8)|noise(0.1)"])
def test_eager_and_tf_data_place_boxes_the_same(line: str) -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 0.5, (8, 3, 2))
    boxes = tf.constant(np.concatenate([low, low + 0.3], axis=-1), tf.float32)

    def work(batch: tf.Tensor) -> tf.Tensor:
        drawn = augment.draw(parse_augmentation(line), batch, tf.constant([3, 4]))
        return augment.apply_to_boxes(drawn, batch)

    inside = next(iter(tf.data.Dataset.from_tensors(boxes).map(work)))
    np.testing.assert_allclose(inside, work(boxes), atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, line=st.sampled_from([ALL, "flip|rot90|crop(0.4)", "rotate(40)|shift(0.4)"]))
def test_the_picture_shows_the_defect_where_the_box_says(seed: int, line: str) -> None:
    images = np.zeros((4, 40, 40, 1), np.float32)
    images[:, 22:34, 4:12] = 255.0
    boxes = tf.constant(np.tile(np.array([4, 22, 12, 34], np.float32) / 40, (4, 1, 1)))
    drawn = drawn_for(line, boxes, seed)
    result = augment.apply(parse_augmentation(line), tf.constant(images), drawn).numpy()
    for image, box in zip(
        result[..., 0], augment.apply_to_boxes(drawn, boxes).numpy(), strict=True
    ):
        left, top, right, bottom = 40 * box[0]
        middle = image[round((top + bottom - 1) / 2), round((left + right - 1) / 2)]
        assert middle > 200
