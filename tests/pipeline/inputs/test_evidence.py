from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.inputs.evidence import UNKNOWN, cover_cells, find_boxed_classes, make_evidence


def cover(*boxes: tuple[float, float, float, float], cells: int = 4) -> np.ndarray:
    return cover_cells(tf.constant([boxes], tf.float32), cells).numpy()[0].max(axis=0)


def test_a_box_covers_the_cells_it_fills() -> None:
    expected = np.zeros([4, 4])
    expected[1:3, 0:2] = 1  # rows are y, columns are x
    np.testing.assert_array_equal(cover((0.0, 0.25, 0.5, 0.75)), expected)


def test_a_quarter_of_a_side_is_enough_and_less_is_not() -> None:
    # A box that fills the first column of cells and reaches a little into the second.
    assert cover((0.0, 0.0, 0.25 + 0.0626, 1.0)).sum() == 8
    assert cover((0.0, 0.0, 0.25 + 0.0624, 1.0)).sum() == 4


def test_a_thin_line_marks_every_cell_it_passes_through() -> None:
    assert cover((0.0, 0.3, 1.0, 0.301)).tolist() == [[0] * 4, [1] * 4, [0] * 4, [0] * 4]


def test_a_box_smaller_than_a_cell_marks_the_cell_it_lies_in() -> None:
    expected = np.zeros([4, 4])
    expected[2, 1] = 1
    np.testing.assert_array_equal(cover((0.30, 0.60, 0.31, 0.61)), expected)


def test_a_small_box_on_an_edge_marks_both_cells() -> None:
    assert np.argwhere(cover((0.24, 0.1, 0.26, 0.12))).tolist() == [[0, 0], [0, 1]]


def test_rows_of_zeros_cover_nothing_and_two_boxes_cover_both() -> None:
    assert cover((0.0, 0.0, 0.0, 0.0)).sum() == 0
    both = cover((0.0, 0.0, 0.25, 0.25), (0.75, 0.75, 1.0, 1.0), (0.0, 0.0, 0.0, 0.0))
    assert np.argwhere(both).tolist() == [[0, 0], [3, 3]]


SIDES = st.tuples(*[st.floats(0, 0.99), st.floats(0.001, 1)] * 2)


@settings(deadline=None, max_examples=60)
@given(SIDES, st.sampled_from([1, 4, 16]))
def test_every_box_is_seen_and_no_cell_that_it_does_not_touch(
    sides: tuple[float, float, float, float], cells: int
) -> None:
    x, width, y, height = sides
    right, bottom = min(1.0, x + width), min(1.0, y + height)
    rows, columns = np.nonzero(cover((x, y, right, bottom), cells=cells))
    assert len(rows)
    assert (columns / cells < right + 1e-6).all() and ((columns + 1) / cells > x - 1e-6).all()
    assert (rows / cells < bottom + 1e-6).all() and ((rows + 1) / cells > y - 1e-6).all()


def test_which_classes_have_boxes() -> None:
    boxes = np.zeros([4, 2, 4], np.float32)
    boxes[2, 0] = [0.1, 0.1, 0.2, 0.2]
    found = find_boxed_classes(np.array([0, 1, 1, 2]), boxes, classes=4)
    assert found.tolist() == [False, True, False, False]


def evidence_of(
    labels: list[int], boxes: np.ndarray, box_labels: list[list[int]], *, is_boxed: list[bool]
) -> np.ndarray:
    """[batch, 2, 2, 2]: two cells a side, boxes of two classes."""
    return make_evidence(
        tf.constant(labels, tf.int64),
        tf.constant(boxes),
        tf.constant(box_labels, tf.int64),
        cells=2,
        box_classes=2,
        is_boxed=np.array(is_boxed),
    ).numpy()


def test_what_is_not_marked_is_unknown_only_where_others_are() -> None:
    boxes = np.zeros([4, 1, 4], np.float32)
    boxes[[0, 3], 0] = [0.0, 0.0, 0.5, 0.5]
    evidence = evidence_of([1, 1, 0, -1], boxes, [[2], [0], [0], [2]], is_boxed=[False, True])
    assert evidence[0, ..., 1].tolist() == [[1, 0], [0, 0]]  # marked
    assert not evidence[0, ..., 0].any()  # as of another class
    assert (evidence[1] == UNKNOWN).all()  # of a marked class, without a box
    assert (evidence[2] == 0).all()  # of a class without boxes: in order
    assert (evidence[3] == UNKNOWN).all()  # no label: its boxes are not to be known


def test_each_class_of_objects_has_its_own_map() -> None:
    left, right, top = [0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.5]
    boxes = np.array([[left, right, top]], np.float32)
    evidence = evidence_of([0], boxes, [[1, 2, 2]], is_boxed=[True])
    assert evidence[0, ..., 0].tolist() == [[1, 0], [1, 0]]
    assert evidence[0, ..., 1].tolist() == [[1, 1], [0, 1]]  # twice covered is covered


@pytest.mark.parametrize("label", [0, 1])
def test_without_any_box_nothing_is_known(label: int) -> None:
    evidence = evidence_of([label], np.zeros([1, 1, 4], np.float32), [[0]], is_boxed=[False] * 2)
    assert (evidence == UNKNOWN).all()
