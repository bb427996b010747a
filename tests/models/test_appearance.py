from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.appearance import PICTURE_STATISTICS, measure_picture


def measure(pixels: np.ndarray) -> dict[str, float]:
    values = measure_picture(tf.constant(pixels.reshape(*pixels.shape[:2], -1), tf.float32)).numpy()
    return dict(zip(PICTURE_STATISTICS, values.tolist(), strict=True))


def draw_texture(seed: int = 0, side: int = 96) -> np.ndarray:
    """A smooth histogram and details of all sizes, in whole grey values of 40 to 220."""
    rng = np.random.default_rng(seed)
    layers = [scipy.ndimage.gaussian_filter(rng.normal(size=[side, side]), s) for s in (0.7, 2, 6)]
    texture = np.sum([layer / layer.std() for layer in layers], axis=0)
    return np.clip(np.rint(130 + 18 * texture), 40, 220)


def test_the_figures_of_a_small_picture() -> None:
    # 10 values from 10 to 100 in steps of 10; variance of 1 to 10 is 8.25.
    found = measure(np.arange(10, 101, 10).reshape(2, 5))
    assert found["mean_grey"] == pytest.approx(55)
    assert found["contrast"] == pytest.approx(10 * np.sqrt(8.25))
    assert (found["shadows"], found["highlights"], found["brightest"]) == (10, 100, 100)


@settings(deadline=None, max_examples=15)
@given(arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_levels_are_those_of_the_inverted_distribution(pixels: np.ndarray) -> None:
    found = measure(pixels)
    for name, share in (("shadows", 0.01), ("highlights", 0.999)):
        assert found[name] == np.quantile(pixels, share, method="inverted_cdf")
    assert all(map(np.isfinite, found.values()))


def test_detail_is_that_of_plain_filters() -> None:
    pixels = draw_texture(1, side=60)  # of which every line counts
    row, slope = np.array([1, 2, 1]) / 4, np.array([1, -2, 1])

    def smooth(picture: np.ndarray, across: np.ndarray, down: np.ndarray) -> np.ndarray:
        # Lines and columns are repeated outwards, also for the mask of five.
        wide = scipy.ndimage.convolve1d(picture, across, axis=1, mode="nearest")
        return scipy.ndimage.convolve1d(wide, down, axis=0, mode="nearest")

    once = smooth(pixels, row, row)
    twice = smooth(pixels, np.convolve(row, row), np.convolve(row, row))
    fine, coarse = np.abs(pixels - once).mean(), np.abs(once - twice).mean()
    found = measure(pixels)
    assert found["sharpness"] == pytest.approx(np.log2((fine + 0.02) / (coarse + 0.02)), abs=1e-4)
    noise = np.abs(smooth(pixels, slope, slope)).mean() * np.sqrt(np.pi / 2) / 6
    assert found["noise"] == pytest.approx(np.log2(noise + 0.02), abs=1e-4)


@pytest.mark.parametrize("sigma", [1, 4, 10])
def test_noise_is_the_deviation_of_white_noise_on_a_slope(sigma: float) -> None:
    slope = np.add.outer(np.arange(200), np.arange(200)) / 4 + 70
    noisy = slope + np.random.default_rng(0).normal(0, sigma, slope.shape)
    assert 2 ** measure(noisy)["noise"] == pytest.approx(sigma, rel=0.05)


def test_sharpness_does_not_depend_on_light() -> None:
    pixels = draw_texture()
    sharp, lit = measure(pixels)["sharpness"], measure(0.5 * pixels + 20)["sharpness"]
    assert lit == pytest.approx(sharp, abs=0.02)
    blurred = scipy.ndimage.gaussian_filter(pixels, 1.5, mode="nearest")
    assert measure(np.rint(blurred))["sharpness"] < sharp - 0.4


def test_a_gain_on_whole_grey_values_leaves_a_comb_and_light_does_not() -> None:
    pixels = draw_texture(side=200)
    clean = measure(pixels)["comb"]
    assert abs(clean) < 0.02
    for gain in (0.9, 1.1):
        assert measure(np.rint(gain * pixels))["comb"] > clean + 0.1
    # The same loss before the picture is made of whole grey values.
    before = pixels + np.random.default_rng(0).uniform(-0.5, 0.5, pixels.shape)
    assert abs(measure(np.rint(0.9 * before))["comb"]) < 0.02


def test_the_comb_of_one_level_by_hand() -> None:
    # Steps of n at the level and of n / 2 beside it: 1.5 n^2, less 1.5 n, over n^2.
    assert measure(np.full([4, 5], 77))["comb"] == pytest.approx(1.5 - 1.5 / 20)
    for clipped in (0, 255):
        assert measure(np.full([4, 5], clipped))["comb"] == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 2)])
def test_tiny_and_flat_pictures_have_figures(shape: tuple[int, int]) -> None:
    found = measure(np.full(shape, 200.0))
    assert (found["mean_grey"], found["contrast"]) == (200, 0)
    assert found["sharpness"] == 0
    assert np.isfinite(found["noise"])


def test_colour_counts_as_more_pixels_of_grey() -> None:
    grey = draw_texture()
    repeated = measure(np.repeat(grey[..., None], 3, axis=2))
    for name, value in measure(grey).items():
        # What chance explains of a comb is less of thrice the pixels, which here are the same.
        assert repeated[name] == pytest.approx(value, rel=1e-3, abs=0.05 * (name == "comb")), name


def test_of_a_large_picture_lines_at_equal_distances_count() -> None:
    # 300 lines in steps of 5: the lines 2, 7, 12, ... and, for details, two on either side.
    pixels = np.random.default_rng(2).integers(0, 200, [300, 30])
    found = measure(pixels)
    assert found["mean_grey"] == pytest.approx(pixels[2::5].mean(), rel=1e-5)
    assert found["brightest"] == pixels[2::5].max()
    pixels[np.arange(300) % 5 != 2] = 255
    between = measure(pixels)
    for name in ("mean_grey", "contrast", "shadows", "highlights", "brightest", "comb"):
        assert between[name] == found[name]
    assert between["noise"] != found["noise"]
