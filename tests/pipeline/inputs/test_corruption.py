from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from pipeline.inputs.corruption import MASKED_SHARE, NOISE_DEVIATION, PATCHES_A_SIDE, corrupt

IMAGES = tf.constant(np.random.default_rng(0).uniform(0, 255, (4, 64, 64, 3)), tf.float32)


def seed(step: int) -> tf.Tensor:
    return tf.constant([3, step], tf.int64)


def test_plain_is_the_picture_itself() -> None:
    np.testing.assert_array_equal(corrupt("plain", IMAGES, seed(0)), IMAGES)


def test_noise_has_its_deviation_and_no_mean() -> None:
    noise = (corrupt("denoising", IMAGES, seed(0)) - IMAGES).numpy()
    assert noise.std() == pytest.approx(NOISE_DEVIATION, rel=0.02)
    assert abs(noise.mean()) < 0.5


def test_half_of_the_patches_is_hidden_behind_the_mean() -> None:
    shown = corrupt("masked", IMAGES, seed(0)).numpy()
    mean = IMAGES.numpy().mean(axis=(1, 2), keepdims=True)
    hidden = np.isclose(shown, mean, atol=1e-3).all(axis=-1)
    np.testing.assert_array_equal(shown[~hidden], IMAGES.numpy()[~hidden])
    side = 64 // PATCHES_A_SIDE
    patches = hidden.reshape(4, PATCHES_A_SIDE, side, PATCHES_A_SIDE, side)
    whole = patches.all(axis=(2, 4))
    np.testing.assert_array_equal(whole, patches.any(axis=(2, 4)))
    assert whole.mean() == pytest.approx(MASKED_SHARE, abs=0.06)
    assert not (whole[0] == whole[1]).all()


@pytest.mark.parametrize("kind", ["denoising", "masked"])
def test_the_same_seed_hides_the_same_in_and_out_of_tf_data(kind: str) -> None:
    first = corrupt(kind, IMAGES, seed(1)).numpy()
    dataset = tf.data.Dataset.from_tensors(IMAGES).map(lambda x: corrupt(kind, x, seed(1)))
    np.testing.assert_array_equal(next(iter(dataset)), first)
    assert not np.array_equal(corrupt(kind, IMAGES, seed(2)), first)


def test_a_side_that_patches_do_not_divide_is_covered() -> None:
    images = IMAGES[:, :50, :50]
    shown = corrupt("masked", images, seed(0)).numpy()
    assert shown.shape == (4, 50, 50, 3)
    hidden = (shown != images.numpy()).any(axis=-1)
    assert hidden[:, -1].any() and not hidden[:, -1].all()
