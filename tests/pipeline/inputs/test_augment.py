from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.inputs import affine, augment
from pipeline.inputs.operations import Operation, parse_augmentation
from records.errors import InputError

ALL = "flip|vflip|rot90|rotate(15)|shift(0.1)|crop(0.8)|brightness(0.2)|contrast(0.1)|noise(0.02)"


def pictures(batch: int = 8, side: int = 12, channels: int = 1) -> tf.Tensor:
    rng = np.random.default_rng(0)
    return tf.constant(rng.uniform(0, 255, (batch, side, side, channels)).astype(np.float32))


def no_boxes(batch: int) -> tf.Tensor:
    return tf.zeros([batch, 1, 4])


def augmented(line: str, images: tf.Tensor, seed: tuple[int, int] = (1, 2)) -> np.ndarray:
    operations = parse_augmentation(line)
    drawn = augment.draw(operations, no_boxes(images.shape[0]), tf.constant(seed))
    return augment.apply(operations, images, drawn).numpy()


def test_a_line_is_read_in_order() -> None:
    assert parse_augmentation(" flip | rotate(15)|crop(.8)") == (
        Operation("flip"),
        Operation("rotate", 15.0),
        Operation("crop", 0.8),
    )
    assert parse_augmentation("") == ()


@pytest.mark.parametrize(
    "line",
    ["twist", "flip(1)", "rotate", "rotate()", "rotate(x)", "rotate(181)", "crop(0)", "noise(-1)",
     "noise(nan)", "noise(inf)", "Flip", "flip,vflip", "rotate(15", "crop(1.1)"],
)  # fmt: skip
def test_a_wrong_line_is_refused_with_the_part_that_is_wrong(line: str) -> None:
    with pytest.raises(InputError, match="--augment"):
        parse_augmentation(f"flip|{line}")


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(line: str) -> None:
    try:
        operations = parse_augmentation(line)
    except InputError:
        return
    for operation in operations:
        assert operation.strength is None or 0 < operation.strength <= 180


def test_no_operation_changes_nothing() -> None:
    images = pictures()
    np.testing.assert_array_equal(augmented("", images), images)


@pytest.mark.parametrize("side", [11, 64, 128])
def test_mirroring_is_what_resampling_gives(side: int) -> None:
    images = pictures(batch=16, side=side, channels=3)
    drawn = augment.draw(parse_augmentation("flip|vflip"), no_boxes(16), tf.constant([3, side]))
    turned = {tuple(signs) for signs in tf.linalg.diag_part(drawn.affine)[:, :2].numpy().tolist()}
    assert turned == {(-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 1.0)}
    mirrored, warped = affine.mirror(images, drawn.affine), affine.warp(images, drawn.affine, side)
    np.testing.assert_array_equal(mirrored, warped)


@pytest.mark.parametrize(
    ("line", "views"),
    [
        ("flip", [lambda x: x, lambda x: x[:, ::-1]]),
        ("vflip", [lambda x: x, lambda x: x[::-1]]),
        ("rot90", [lambda x, k=k: np.rot90(x, k) for k in range(4)]),
    ],
)
@pytest.mark.parametrize("side", [11, 12])
def test_mirrors_and_quarter_turns_are_exact_and_all_occur(
    line: str, views: list, side: int
) -> None:
    images = pictures(batch=64, side=side)
    seen = set()
    for before, after in zip(images.numpy(), augmented(line, images), strict=True):
        matches = [i for i, view in enumerate(views) if np.allclose(view(before), after, atol=1e-3)]
        assert len(matches) == 1
        seen.add(matches[0])
    assert seen == set(range(len(views)))


def test_eager_and_tf_data_give_the_same() -> None:
    images = pictures(channels=3)
    operations = parse_augmentation(ALL)

    def work(batch: tf.Tensor) -> tf.Tensor:
        return augment.apply(
            operations, batch, augment.draw(operations, no_boxes(8), tf.constant([1, 2]))
        )

    inside = next(iter(tf.data.Dataset.from_tensors(images).map(work)))
    np.testing.assert_allclose(inside, augmented(ALL, images), atol=1e-3)


def test_the_seed_alone_decides() -> None:
    images = pictures()
    np.testing.assert_array_equal(augmented(ALL, images), augmented(ALL, images))
    assert np.abs(augmented(ALL, images) - augmented(ALL, images, seed=(1, 3))).max() > 1


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31 - 1), st.sampled_from(ALL.split("|")))
def test_values_stay_in_range_and_shape(seed: int, line: str) -> None:
    images = pictures(batch=4)
    result = augmented(line, images, (seed, 0))
    assert result.shape == images.shape
    assert result.dtype == np.float32
    assert result.min() >= 0
    assert result.max() <= 255


def test_brightness_and_contrast_follow_their_formula() -> None:
    images = tf.constant(np.linspace(100, 150, 4 * 4 * 4, dtype=np.float32).reshape(4, 4, 4, 1))
    operations = parse_augmentation("brightness(0.1)|contrast(0.2)")
    drawn = augment.draw(operations, no_boxes(4), tf.constant([5, 6]))
    mean = images.numpy().mean(axis=(1, 2, 3), keepdims=True)
    expected = (images.numpy() - mean) * drawn.gain.numpy() + mean + drawn.offset.numpy()
    np.testing.assert_allclose(augment.apply(operations, images, drawn), expected, rtol=1e-5)
    assert (np.abs(drawn.offset.numpy()) <= 25.5).all()
    assert (np.abs(drawn.gain.numpy() - 1) <= 0.2).all()


def test_noise_has_the_deviation_drawn() -> None:
    images = tf.fill([2, 200, 200, 1], 128.0)
    operations = parse_augmentation("noise(0.05)")
    drawn = augment.draw(operations, no_boxes(2), tf.constant([5, 6]))
    result = augment.apply(operations, images, drawn).numpy()
    np.testing.assert_allclose(result.std(axis=(1, 2, 3)), drawn.noise.numpy().ravel(), rtol=0.03)


def test_rotation_turns_about_the_centre_by_the_angle_drawn() -> None:
    operations = parse_augmentation("rotate(30)")
    affine = augment.draw(operations, no_boxes(16), tf.constant([7, 8])).affine.numpy()
    np.testing.assert_allclose(np.linalg.det(affine), 1, atol=1e-5)
    np.testing.assert_allclose(affine[:, :2, 2], 0)
    angles = np.degrees(np.arctan2(affine[:, 1, 0], affine[:, 0, 0]))
    assert np.abs(angles).max() <= 30
    assert np.ptp(angles) > 20


def test_crop_stays_inside_the_picture_and_maps_corners_there() -> None:
    operations = parse_augmentation("crop(0.5)")
    affine = augment.draw(operations, no_boxes(64), tf.constant([7, 8])).affine.numpy()
    corners = np.array([[-1, 1, -1, 1], [-1, -1, 1, 1], [1, 1, 1, 1]])
    reached = (affine @ corners)[:, :2]
    assert np.abs(reached).max() <= 1 + 1e-6
    assert affine[:, 0, 0].min() >= 0.5
    assert affine[:, 0, 0].max() <= 1


def test_shift_moves_whole_pixels_as_drawn() -> None:
    images = pictures(batch=1, side=8)
    operations = parse_augmentation("shift(0.25)")
    drawn = augment.draw(operations, no_boxes(1), tf.constant([0, 0]))
    affine = np.eye(3, dtype=np.float32)[None]
    affine[0, 0, 2] = 2 * 2 / 8  # two of eight columns: output column 0 shows input column 2
    moved = augment.Draw(tf.constant(affine), drawn.offset, drawn.gain, drawn.noise, [0, 0])
    result = augment.apply(operations, images, moved).numpy()
    np.testing.assert_allclose(result[0, :, :6], images[0, :, 2:], atol=1e-3)
    # Beyond the edge the picture is mirrored.
    np.testing.assert_allclose(result[0, :, 6:], images[0, :, :5:-1], atol=1e-3)


def test_strength_is_a_finite_number() -> None:
    (operation,) = parse_augmentation("rotate(1e1)")
    assert operation.strength is not None
    assert math.isclose(operation.strength, 10)
