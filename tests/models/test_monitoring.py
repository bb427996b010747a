from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy.spatial.distance import mahalanobis

from models.appearance import PICTURE_STATISTICS, measure_picture
from models.autoencoder import build_autoencoder, reconstruction_error
from models.monitoring import (
    FeatureSpace,
    find_features,
    fit_feature_space,
    list_statistics,
    make_monitor,
    measure_distance,
)
from models.picture import decode_picture, decode_pixels
from models.serving import ServingFacts, judge

FORM: dict[str, Any] = {
    "image_size": 32,
    "channels": 1,
    "resize": "letterbox",
    "standardize": False,
}
IO_NIO = ServingFacts(("io", "nio"), ("nio",), "nio", 0.25, "gated", "letterbox")
RNG = np.random.default_rng(0)


def draw_pictures() -> list[bytes]:
    """Three sizes, one of them 16 bit."""
    pictures = []
    for shape, kind in (((32, 32), np.uint8), ((7, 90), np.uint8), ((64, 20), np.uint16)):
        pixels = RNG.integers(0, np.iinfo(kind).max + 1, shape, kind)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        pictures.append(buffer.getvalue())
    return pictures


def draw_features(count: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Two classes of one covariance."""
    labels = np.arange(count) % 2
    mixing = np.array([[2.0, 0, 0], [1, 0.5, 0], [0, 1, 3]])
    return RNG.normal(size=[count, 3]) @ mixing + labels[:, None] * [4, -2, 1], labels


def measure(features: np.ndarray, labels: np.ndarray, space: FeatureSpace) -> np.ndarray:
    return measure_distance(tf.constant(features), tf.constant(labels), space).numpy()


def test_the_distance_is_that_of_mahalanobis() -> None:
    features, labels = draw_features()
    space = fit_feature_space(features, labels, classes=2)
    means = np.stack([features[labels == index].mean(axis=0) for index in (0, 1)])
    inverse = np.linalg.inv(np.cov(features - means[labels], rowvar=False, ddof=0))
    found = measure(features[:20], 1 - labels[:20], space)  # of the class they are not
    expected = [
        mahalanobis(row, means[1 - label], inverse) / np.sqrt(3)
        for row, label in zip(features[:20], labels[:20], strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_training_pictures_are_one_away_on_the_whole() -> None:
    features, labels = draw_features()
    space = fit_feature_space(features, labels, classes=2)
    assert np.mean(measure(features, labels, space) ** 2) == pytest.approx(1, rel=1e-4)


def test_few_pictures_give_few_directions() -> None:
    features = RNG.normal(size=[30, 50])
    space = fit_feature_space(features, np.zeros(30, int), classes=1)
    assert space.basis.shape == (50, 3)


def test_features_that_do_not_vary_have_no_distance() -> None:
    space = fit_feature_space(np.ones([40, 4]), np.arange(40) % 2, classes=3)
    assert measure(RNG.normal(size=[5, 4]), np.full(5, 2), space).tolist() == [0] * 5


@pytest.mark.parametrize(
    ("features", "labels"),
    [(np.zeros([0, 2]), np.zeros(0, int)), (np.zeros([3, 2]), np.zeros(2, int)),
     (np.full([3, 2], np.nan), np.zeros(3, int)), (np.zeros(3), np.zeros(3, int))],
)  # fmt: skip
def test_what_cannot_be_fitted_is_refused(features: np.ndarray, labels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="feature"):
        fit_feature_space(features, labels, classes=1)


class Monitored:
    """A small model, its feature space, and the signature `monitor`, written and loaded."""

    def __init__(self, folder: Path) -> None:
        keras.utils.set_random_seed(0)
        self.model = build_autoencoder(
            image_size=32, channels=1, classes=2, mean=120.0, variance=900.0
        )
        self._outputs = keras.Model(
            self.model.input, {**self.model.output, "features": find_features(self.model)}
        )
        pictures = RNG.uniform(0, 255, [40, 32, 32, 1]).astype(np.float32)
        self.space = fit_feature_space(
            self.answer(pictures)["features"].numpy(), np.arange(40) % 2, classes=2
        )
        archive = keras.export.ExportArchive()
        archive.track(self.model)
        archive.add_endpoint(
            "monitor",
            make_monitor(self.answer, self.space, **FORM),
            [tf.TensorSpec([None], tf.string, "image_bytes")],
        )
        archive.write_out(str(folder), verbose=False)
        self._loaded = tf.saved_model.load(str(folder))  # stays as long as its signature is used
        self.monitor = self._loaded.signatures["monitor"]

    def answer(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """From the model's input to the answers and features."""
        outputs = self._outputs(images, training=False)
        error = reconstruction_error(images, outputs["reconstruction"])
        own = {"features": outputs["features"], "reconstruction_error": error}
        return judge(outputs["logits"], IO_NIO) | own


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Monitored:
    return Monitored(tmp_path_factory.mktemp("monitored") / "1")


def test_answers_are_those_of_the_model_and_statistics_those_of_each_picture(
    monitored: Monitored,
) -> None:
    encoded = draw_pictures()
    images = tf.stack([decode_picture(one, **FORM) for one in encoded])
    expected = {name: value.numpy() for name, value in monitored.answer(images).items()}
    features = expected.pop("features")
    found = {name: value.numpy() for name, value in monitored.monitor(tf.constant(encoded)).items()}
    statistics = found.pop("statistics")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if value.dtype == object:
            np.testing.assert_array_equal(found[name], value)
        else:
            np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6)
    assert statistics.dtype == np.float32
    columns = dict(zip(list_statistics(reconstructs=True), statistics.T, strict=True))
    pixels = [decode_pixels(tf.constant(one), channels=1) for one in encoded]
    pictures = np.stack([measure_picture(one) for one in pixels])
    own = [columns[name] for name in PICTURE_STATISTICS]
    np.testing.assert_allclose(np.stack(own, axis=1), pictures, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(columns["confidence"], found["probabilities"].max(axis=1))
    np.testing.assert_array_equal(columns["reconstruction_error"], found["reconstruction_error"])
    distances = measure(features, found["label_index"], monitored.space)
    np.testing.assert_allclose(columns["feature_distance"], distances, rtol=1e-4)


def test_the_batch_is_unknown_and_may_be_of_one(monitored: Monitored) -> None:
    assert monitored.monitor.structured_outputs["statistics"].shape.as_list() == [None, 11]
    encoded = draw_pictures()
    together = monitored.monitor(tf.constant(encoded))["statistics"]
    for row, one in zip(together, encoded, strict=True):
        alone = monitored.monitor(tf.constant([one]))["statistics"]
        np.testing.assert_allclose(alone[0], row, rtol=1e-4, atol=1e-5)


def test_without_a_reconstruction_there_is_one_statistic_less(monitored: Monitored) -> None:
    def answer(images: tf.Tensor) -> dict[str, tf.Tensor]:
        answers = monitored.answer(images)
        del answers["reconstruction_error"]
        return answers

    monitor = make_monitor(answer, monitored.space, **FORM)
    names = list_statistics(reconstructs=False)
    assert names == list_statistics(reconstructs=True)[:-1]
    assert monitor(tf.constant(draw_pictures()))["statistics"].shape == (3, len(names))
