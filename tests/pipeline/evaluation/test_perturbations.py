from __future__ import annotations

import io
import math

import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf
from PIL import Image

from pipeline.evaluation.perturbations import KINDS, Perturbation, list_perturbations

GREY = np.random.default_rng(0).integers(60, 180, [24, 33, 1]).astype(np.float32)
COLOUR = np.random.default_rng(1).integers(60, 180, [16, 20, 3]).astype(np.float32)


def perturb(kind: str, level: float, pixels: np.ndarray, seed: int = 0) -> np.ndarray:
    return Perturbation(kind, level).apply(tf.constant(pixels), tf.constant([seed, 0])).numpy()


@pytest.mark.parametrize("decibel", KINDS["noise"].levels)
def test_noise_has_its_peak_signal_to_noise_ratio(decibel: float) -> None:
    flat = np.full([400, 400, 1], 128, np.float32)
    noise = perturb("noise", decibel, flat) - 128
    # Rounding to whole grey values adds a variance of 1/12.
    sigma = math.sqrt((255 * 10 ** (-decibel / 20)) ** 2 + 1 / 12)
    assert noise.std() == pytest.approx(sigma, rel=0.02)
    assert abs(noise.mean()) < 0.2


def test_noise_is_a_function_of_the_seed() -> None:
    once, again, other = (perturb("noise", 30, GREY, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(once, again)
    assert (once != other).mean() > 0.5


@pytest.mark.parametrize("radius", [1, 2, 3])
def test_defocus_spreads_a_point_over_a_disk(radius: int) -> None:
    point = np.zeros([21, 21, 1], np.float32)
    point[10, 10] = 255
    seen = perturb("defocus", radius, point)[..., 0]
    area = math.pi * radius**2
    assert seen[10, 10] == pytest.approx(255 / area, rel=0.02, abs=0.5)
    y, x = np.indices(seen.shape) - 10
    assert not seen[np.hypot(x, y) > radius + 0.75].any()
    assert seen.sum() == pytest.approx(255, rel=0.06)
    np.testing.assert_array_equal(seen, seen.T)
    np.testing.assert_array_equal(seen, seen[::-1])


def test_motion_is_a_mean_along_the_row() -> None:
    expected = scipy.ndimage.uniform_filter1d(GREY, 7, axis=1, mode="nearest")
    assert np.abs(perturb("motion", 7, GREY) - expected).max() <= 0.501


@pytest.mark.parametrize("kind", ["defocus", "motion"])
def test_blur_leaves_a_flat_picture_and_its_edges_alone(kind: str) -> None:
    flat = np.full([9, 11, 3], 77, np.float32)
    np.testing.assert_array_equal(perturb(kind, 3, flat), flat)


def test_light_is_multiplied_and_cut_off_at_white() -> None:
    np.testing.assert_array_equal(
        perturb("brighter", 20, GREY), np.minimum(np.rint(GREY * 1.2), 255)
    )
    np.testing.assert_array_equal(perturb("darker", 30, GREY), np.rint(GREY * np.float32(0.7)))


def test_uneven_light_goes_from_left_to_right() -> None:
    flat = np.full([4, 3, 1], 100, np.float32)
    np.testing.assert_array_equal(perturb("uneven light", 20, flat)[0, :, 0], [80, 100, 120])


@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
def test_jpeg_is_as_another_decoder_has_it(pixels: np.ndarray) -> None:
    seen = perturb("JPEG quality", 30, pixels)
    encoded = tf.io.encode_jpeg(pixels.astype(np.uint8), quality=30).numpy()
    expected = np.asarray(Image.open(io.BytesIO(encoded)), np.float32).reshape(pixels.shape)
    assert np.abs(seen - expected).mean() < 1.5
    assert np.abs(seen - pixels).mean() > 3


def test_a_shift_moves_every_pixel_and_repeats_the_edge() -> None:
    picture = np.random.default_rng(0).integers(0, 256, [40, 20, 1]).astype(np.float32)
    seen = perturb("shift", 10, picture)
    np.testing.assert_array_equal(seen[4:, 2:], picture[:-4, :-2])
    np.testing.assert_array_equal(seen[:4, 2:], np.repeat(picture[:1, :-2], 4, axis=0))


@pytest.mark.parametrize("degrees", [5, 10])
def test_a_rotation_is_that_of_another_library(degrees: float) -> None:
    smooth = scipy.ndimage.gaussian_filter(GREY[..., 0], 2)[..., None]
    seen = perturb("rotation", degrees, smooth)[..., 0]
    expected = [
        scipy.ndimage.rotate(smooth[..., 0], turn, reshape=False, order=1, mode="nearest")
        for turn in (degrees, -degrees)
    ]
    inner = (slice(6, -6), slice(6, -6))
    # Which way round is not said; it must be one of the two, and by the whole angle.
    assert min(np.abs(seen - one)[inner].max() for one in expected) <= 1.0
    assert max(np.abs(seen - one)[inner].max() for one in expected) > 3.0


@pytest.mark.parametrize("one", list_perturbations(), ids=lambda one: f"{one.kind} {one.level}")
@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
def test_every_one_keeps_shape_and_range_and_changes_the_picture(
    one: Perturbation, pixels: np.ndarray
) -> None:
    traced = tf.function(
        one.apply,
        input_signature=[
            tf.TensorSpec([None, None, pixels.shape[-1]]), tf.TensorSpec([2], tf.int64)
        ],
    )  # fmt: skip
    seen = traced(pixels, tf.constant([5, 0], tf.int64)).numpy()
    assert seen.shape == pixels.shape
    assert seen.min() >= 0
    assert seen.max() <= 255
    np.testing.assert_array_equal(seen, np.rint(seen))
    assert np.abs(seen - pixels).max() >= 1
    eager = one.apply(tf.constant(pixels), tf.constant([5, 0])).numpy()
    assert np.abs(seen - eager).max() <= 1


def test_levels_go_from_mild_to_strong() -> None:
    smooth = 100 + 100 * np.sin(np.linspace(0, 3, 60))[:, None] * np.cos(np.linspace(0, 3, 50))
    picture = (smooth + np.random.default_rng(0).normal(0, 4, smooth.shape))[..., None]
    picture = picture.clip(0, 200).astype(np.float32)
    for name, kind in KINDS.items():
        damage = [np.abs(perturb(name, level, picture) - picture).mean() for level in kind.levels]
        assert damage == sorted(damage), name
