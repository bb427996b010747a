from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from models import registry, xception

SIZE = 71


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (8, SIZE, SIZE, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def model(images: np.ndarray) -> keras.Model:
    keras.utils.set_random_seed(0)
    built = xception.build_xception(image_size=SIZE, channels=1, classes=4)
    xception.calibrate_batch_norm(built, [images[:4], images[4:]])
    return built


def test_the_graph_is_flat(model: keras.Model) -> None:
    assert not [layer for layer in model.layers if isinstance(layer, keras.Model)]
    assert model.get_layer(registry.MODELS["xception"].cam_layer).output.shape[-1] == 2048


def test_calibration_gives_every_layer_a_normalised_input(
    model: keras.Model, images: np.ndarray
) -> None:
    names = ["block1_conv1_bn", "block6_sepconv2_bn", "block14_sepconv2_bn"]
    inside = keras.Model(model.input, [model.get_layer(name).output for name in names])
    for output in inside(images, training=False):
        values = output.numpy()
        assert abs(values.mean()) < 0.2
        assert 0.2 < values.std() < 1.5


def test_without_calibration_the_features_vanish(images: np.ndarray) -> None:
    keras.utils.set_random_seed(0)
    raw = xception.build_xception(image_size=SIZE, channels=1, classes=4)
    inside = keras.Model(raw.inputs, raw.get_layer("block14_sepconv2_act").output)
    assert inside(images, training=False).numpy().std() < 0.05


def test_calibration_pools_batches_by_the_law_of_total_variance() -> None:
    image = keras.Input([4, 4, 2])
    norm = keras.layers.BatchNormalization(momentum=0.99)
    small = keras.Model(image, norm(image))
    data = np.random.default_rng(1).normal(5, 3, (6, 4, 4, 2)).astype(np.float32)
    data[3:] += 10
    xception.calibrate_batch_norm(small, [data[:3], data[3:]])
    np.testing.assert_allclose(norm.moving_mean, data.mean(axis=(0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, data.var(axis=(0, 1, 2)), rtol=1e-4)
    assert norm.momentum == 0.99
    with pytest.raises(ValueError, match="at least one batch"):
        xception.calibrate_batch_norm(small, [])


def test_segments_follow_one_another(model: keras.Model, images: np.ndarray) -> None:
    cut = xception.FINE_TUNE_FROM
    trunk = xception.segment(model, end=cut)
    blocks = xception.segment(model, cut, "dropout")
    head = xception.segment(model, "dropout")
    upper = xception.segment(model, cut)
    whole = model(images, training=False).numpy()
    features = trunk(images, training=False)
    np.testing.assert_allclose(upper(features, training=False), whole, atol=1e-5)
    np.testing.assert_allclose(head(blocks(features, training=False)), whole, atol=1e-5)
    assert not {id(w) for w in trunk.weights} & {id(w) for w in upper.weights}


def test_a_published_weights_file_is_loaded_layer_by_layer(
    tmp_path: Path, images: np.ndarray
) -> None:
    keras.utils.set_random_seed(7)
    source = keras.applications.Xception(
        include_top=False, weights=None, input_shape=(SIZE, SIZE, 3)
    )
    path = tmp_path / "published.weights.h5"
    source.save_weights(path)
    built = xception.build_xception(image_size=SIZE, channels=1, classes=4)
    xception.load_backbone(built, str(path))
    inside = keras.Model(built.inputs, built.get_layer("block14_sepconv2_act").output)
    colour = np.repeat(images / 127.5 - 1, 3, axis=-1)
    np.testing.assert_allclose(
        inside(images, training=False), source(colour, training=False), atol=1e-6
    )


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_weights_that_are_not_there_or_not_such_are_refused(tmp_path: Path) -> None:
    built = xception.build_xception(image_size=SIZE, channels=3, classes=2)
    with pytest.raises(OSError, match="no weights file"):
        xception.load_backbone(built, str(tmp_path / "none.h5"))
    other = tmp_path / "other.weights.h5"
    keras.Sequential([keras.Input([3]), keras.layers.Dense(2)]).save_weights(other)
    with pytest.raises((ValueError, OSError, KeyError)):
        xception.load_backbone(built, str(other))
    (tmp_path / "text.h5").write_text("no weights")
    with pytest.raises((ValueError, OSError, KeyError)):
        xception.load_backbone(built, str(tmp_path / "text.h5"))


def test_a_picture_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="71"):
        xception.build_xception(image_size=64, channels=1, classes=2)
