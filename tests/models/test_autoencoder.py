from __future__ import annotations

import time
from pathlib import Path

import keras
import numpy as np
import pytest

from models import autoencoder, files
from models.losses import ReconstructionLoss, WeightedCrossEntropy, balanced_class_weights


def build(**changes: float) -> keras.Model:
    keras.utils.set_random_seed(0)
    values = {"image_size": 32, "channels": 1, "classes": 3, "mean": 100.0, "variance": 400.0}
    return autoencoder.build_autoencoder(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("channels", [1, 3])
def test_outputs_have_the_contract_shapes(channels: int) -> None:
    model = build(channels=channels)
    images = np.full((2, 32, 32, channels), 100, np.float32)
    outputs = model(images)
    assert outputs["logits"].shape == (2, 3)
    assert outputs["reconstruction"].shape == images.shape


def test_the_input_is_normalised_by_the_training_statistics() -> None:
    model = build()
    inside = keras.Model(model.input, model.get_layer("normalize").output)
    images = np.array([100.0, 120.0, 60.0], np.float32).reshape(3, 1, 1, 1) * np.ones(
        (1, 32, 32, 1)
    )
    np.testing.assert_allclose(inside(images)[:, 0, 0, 0], [0, 1, -2], atol=1e-5)


def test_a_decoder_that_says_nothing_reconstructs_the_mean_picture() -> None:
    model = build()
    layer = model.get_layer("pixels")
    layer.set_weights([np.zeros_like(weight) for weight in layer.get_weights()])
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 1)).astype(np.float32)
    np.testing.assert_allclose(model(images)["reconstruction"], 100, atol=1e-4)


def test_pretraining_changes_the_encoder_that_classifies() -> None:
    model = build()
    images = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 1)).astype(np.float32)
    before = model(images)["logits"].numpy()
    reconstructor = autoencoder.reconstruction_model(model)
    reconstructor.compile(optimizer="adam", loss=ReconstructionLoss(400.0))
    reconstructor.fit(images, images, verbose=0)
    assert np.abs(model(images)["logits"].numpy() - before).max() > 1e-4


@pytest.mark.parametrize(("image_size", "stride"), [(33, 8), (100, 16), (240, 32), (1000, 32)])
def test_a_size_the_strides_do_not_divide_is_refused(image_size: int, stride: int) -> None:
    with pytest.raises(ValueError, match=f"multiple of {stride}"):
        build(image_size=image_size)


@pytest.mark.parametrize(
    ("image_size", "stages"), [(32, 3), (64, 3), (96, 4), (128, 4), (192, 5), (256, 5), (512, 5)]
)
def test_the_encoder_halves_until_some_eight_cells_are_left(image_size: int, stages: int) -> None:
    assert autoencoder.count_stages(image_size) == stages


@pytest.mark.parametrize(
    ("window", "message"), [(40, "its window must be a multiple of 16"), (144, "larger than")]
)
def test_a_window_the_encoder_cannot_take_is_refused(window: int, message: str) -> None:
    autoencoder.check_image_size(128, window_px=64)
    with pytest.raises(ValueError, match=message):
        autoencoder.check_image_size(128, window_px=window)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_window_sees_what_a_network_of_its_size_would(channels: int) -> None:
    model = build(image_size=128, channels=channels)
    windows = autoencoder.of_any_size(model)
    rng = np.random.default_rng(0)
    whole = rng.uniform(0, 255, (1, 128, 128, channels)).astype(np.float32)
    for name, value in windows(whole).items():
        np.testing.assert_array_equal(value, model(whole)[name])
    small = build(image_size=96, channels=channels)  # of as many stages
    small.set_weights(model.get_weights())
    for name, value in windows(whole[:, :96, 16:112]).items():
        np.testing.assert_allclose(value, small(whole[:, :96, 16:112])[name], atol=1e-4)
    assert [id(weight) for weight in windows.weights] == [id(weight) for weight in model.weights]


def test_evidence_lies_where_its_cells_are() -> None:
    model = build(image_size=64)
    cells = keras.Model(model.get_layer("merged").output, model.output["evidence"])
    features = np.zeros((1, 16, 16, 96), np.float32)
    weights = model.get_layer("evidence")
    weights.set_weights([np.ones_like(weights.get_weights()[0]), np.array([-3.0], np.float32)])
    features[0, 2, 5] = 1.0
    assert cells(features).shape == (1, 16, 16, 1)
    seen = cells(features).numpy()[..., 0]
    assert seen[0, 2, 5] == 93.0 and (np.delete(seen.ravel(), 2 * 16 + 5) == -3.0).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_decoder_lays_its_pixels_row_by_row(channels: int) -> None:
    model = build(image_size=32, channels=channels, mean=0.0, variance=1.0)
    # One cell of 4 x 4 pixels: the last convolution is made to say each channel's own number.
    layer = model.get_layer("pixels")
    kernel, bias = layer.get_weights()
    px = 32 // layer.output.shape[1]
    layer.set_weights([np.zeros_like(kernel), np.arange(len(bias), dtype=np.float32)])
    picture = model(np.zeros((1, 32, 32, channels), np.float32))["reconstruction"].numpy()[0]
    cell = np.arange(px * px * channels).reshape(px, px, channels)
    np.testing.assert_array_equal(picture, np.tile(cell, (32 // px, 32 // px, 1)))


def test_the_evidence_gates_the_head() -> None:
    model = build(box_classes=2)
    head = keras.Model(model.get_layer("merged").output, model.get_layer("pooled").output)
    layer = model.get_layer("evidence")
    kernel, _ = layer.get_weights()
    features = np.random.default_rng(0).uniform(0, 1, head.input_shape[1:])[np.newaxis]
    filters = features.shape[-1]
    for gates in ([0, 0], [1, 0], [0, 1], [1, 1]):  # of both classes of objects
        layer.set_weights([np.zeros_like(kernel), 200 * np.array(gates, np.float32) - 100])
        pooled = head(features.astype(np.float32)).numpy()[0]
        largest = features[0].max(axis=(0, 1))
        np.testing.assert_allclose(pooled[:filters], features[0].mean(axis=(0, 1)), rtol=1e-5)
        np.testing.assert_allclose(pooled[filters : 2 * filters], largest, rtol=1e-5)
        np.testing.assert_allclose(pooled[2 * filters : -2], max(gates) * largest, rtol=1e-5)
        assert pooled[-2:].tolist() == gates


def test_reconstruction_error_is_the_root_mean_square() -> None:
    images = np.zeros((2, 2, 2, 1), np.float32)
    reconstruction = np.array([[3, 3, 3, 3], [0, 0, 0, 4]], np.float32).reshape(2, 2, 2, 1)
    error = autoencoder.reconstruction_error(images, reconstruction)
    np.testing.assert_allclose(error, [3, 2])


def test_weighted_cross_entropy_by_hand() -> None:
    loss = WeightedCrossEntropy([0.5, 2.0])
    logits = np.array([[0.0, 0.0], [0.0, np.log(3)], [0.0, np.log(3)]], np.float32)
    labels = np.array([0, 1, 0])
    expected = [0.5 * np.log(2), 2 * np.log(4 / 3), 0.5 * np.log(4)]
    np.testing.assert_allclose(loss.call(labels, logits), expected, rtol=1e-6)
    np.testing.assert_allclose(loss(labels, logits), np.mean(expected), rtol=1e-6)


def test_reconstruction_loss_is_1_for_the_mean_picture() -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(100, 20, (4, 64, 64, 1)).astype(np.float32)
    loss = ReconstructionLoss(float(images.var()))
    mean = np.full_like(images, images.mean())
    np.testing.assert_allclose(loss(images, mean), 1, rtol=1e-5)
    np.testing.assert_allclose(loss(images, images), 0)


def test_class_weights_give_each_class_the_same_sum() -> None:
    counts = [90, 10]
    weights = balanced_class_weights(counts)
    assert weights == [100 / 180, 100 / 20]
    assert counts[0] * weights[0] == pytest.approx(counts[1] * weights[1])
    assert sum(w * n for w, n in zip(weights, counts, strict=True)) == pytest.approx(100)


def test_equal_weights_are_equal_bytes_and_load_again(tmp_path: Path) -> None:
    first, second = tmp_path / "first.keras", tmp_path / "second.keras"
    for path in (first, second):
        keras.utils.clear_session()  # Keras counts up the names of models through a process
        files.save_model(path, build())
        time.sleep(2.1)  # dates in a ZIP archive count in steps of two seconds
    assert first.read_bytes() == second.read_bytes()
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 1)).astype(np.float32)
    loaded = files.load_model(first)
    np.testing.assert_array_equal(loaded(images)["logits"], build()(images)["logits"])
