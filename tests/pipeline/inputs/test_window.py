"""Windows of pictures: where they lie, how large they are, what comes out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.inputs import affine, batches
from pipeline.inputs.operations import Operation, parse_augmentation, window_px, without_window
from pipeline.inputs.pictures import PictureTable
from records.errors import InputError
from tests.pipeline.picture_tables import make_table

SIDE, WINDOW, COUNT = 32, 8, 64


@st.composite
def contents(draw: st.DrawFn) -> npt.NDArray[np.float32]:
    """float32 `[COUNT, 4]`: the same place in every picture, letterboxed or not."""
    lows = np.array([draw(st.integers(0, 40)), draw(st.integers(0, 40))]) / 100
    return np.tile(np.r_[lows, 1 - lows].astype(np.float32), (COUNT, 1))


@settings(max_examples=50, deadline=None)
@given(content=contents(), fraction=st.floats(0.05, 1.0), seed=st.integers(0, 2**31 - 1))
def test_a_window_lies_on_the_picture_and_is_about_as_large_as_asked(
    content: npt.NDArray[np.float32], fraction: float, seed: int
) -> None:
    maps = affine.draw_window(tf.constant(content), fraction, tf.constant([seed, 0])).numpy()
    scale, centre = maps[:, 0, 0], maps[:, :2, 2]
    assert (maps[:, 0, 0] == maps[:, 1, 1]).all()
    assert (maps[:, [0, 1], [1, 0]] == 0).all(), "nothing is turned"
    assert (scale >= 0.75 * fraction - 1e-6).all() and (scale <= fraction / 0.75 + 1e-6).all()
    low, high = 2 * content[:, :2] - 1, 2 * content[:, 2:] - 1
    beyond = np.maximum(low - (centre - scale[:, None]), centre + scale[:, None] - high)
    # Of its side, 2 scale, a fifth may lie outside; one larger than the picture is centred.
    fits = (high - low) / 2 >= 0.6 * scale[:, None]
    assert (beyond[fits] <= 0.4 * np.broadcast_to(scale[:, None], fits.shape)[fits] + 1e-5).all()
    np.testing.assert_allclose(centre[~fits], ((low + high) / 2)[~fits], atol=1e-6)


def test_windows_are_of_all_sizes_and_everywhere() -> None:
    content = tf.tile(tf.constant([[0.0, 0.25, 1.0, 0.75]]), [2000, 1])
    maps = affine.draw_window(content, 0.25, tf.constant([1, 2])).numpy()
    logs = np.log(maps[:, 0, 0] / 0.25) / np.log(4 / 3)
    assert np.abs(logs).max() <= 1 + 1e-5 and abs(logs.mean()) < 0.05
    assert logs.std() == pytest.approx(3**-0.5, rel=0.05)  # of a uniform one
    middles = maps[:, :2, 2]
    np.testing.assert_allclose(middles.mean(axis=0), 0, atol=0.04)
    assert (middles.min(axis=0) < [-0.8, -0.3]).all() and (middles.max(axis=0) > [0.8, 0.3]).all()


@pytest.fixture
def table(tmp_path: Path) -> PictureTable:
    """Dark pictures with one bright square of 4 pixels, which is boxed."""
    images, boxes = np.zeros((COUNT, SIDE, SIDE, 1)), np.zeros((COUNT, 1, 4), np.float32)
    for number in range(COUNT):
        x, y = number % 8 * 3 + 2, number // 8 * 3 + 2
        images[number, y : y + 4, x : x + 4] = 200
        boxes[number, 0] = np.array([x, y, x + 4, y + 4]) / SIDE
    return make_table(tmp_path / "table", images, boxes)


def test_a_batch_is_of_windows_whose_boxes_hold_what_they_held(table: PictureTable) -> None:
    dataset = batches.make_training_dataset(
        table, batch_size=COUNT, operations=parse_augmentation(f"flip|window({WINDOW})"), seed=0
    )
    assert dataset.element_spec[0].shape == (COUNT, WINDOW, WINDOW, 1)
    for images, _, boxes, _ in dataset.take(3).as_numpy_iterator():
        centres = (np.arange(WINDOW) + 0.5) / WINDOW
        for image, (left, top, right, bottom) in zip(images[..., 0], boxes[:, 0], strict=True):
            within = [(centres > low) & (centres < high) for low, high in
                      ((top, bottom), (left, right))]  # fmt: skip
            is_box = within[0][:, None] & within[1]
            assert is_box.sum() >= 4, "the box is in view"
            assert image[is_box].mean() > 120 and image[~is_box].mean() < 40


def test_whole_pictures_are_augmented_as_before() -> None:
    with_window = parse_augmentation("flip|window(96)|contrast(0.2)")
    assert window_px(with_window) == 96
    assert without_window(with_window) == parse_augmentation("flip|contrast(0.2)")
    assert window_px(without_window(with_window)) == 0
    assert with_window[1] == Operation("window", 96.0)


@pytest.mark.parametrize(
    ("line", "message"),
    [("window(96)|window(64)", "two windows"), ("window(9.5)", "number of pixels"),
     ("window", "needs a number"), ("window(0)", "needs a number")],
)  # fmt: skip
def test_a_window_that_is_none_is_refused(line: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_augmentation(line)
