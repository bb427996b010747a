from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from tf_keras_vis.gradcam import Gradcam
from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
from tf_keras_vis.layercam import Layercam
from tf_keras_vis.utils.scores import CategoricalScore

from models.autoencoder import build_autoencoder
from models.cam import METHODS, GradCam, SmoothGradCamPlusPlus, make_cam
from models.cam_base import CamGroup
from models.cam_weights import render_heatmap, smooth_grad_cam_plus_plus_weights
from pipeline import config

Images = npt.NDArray[np.float32]

# Of the linear model: one row a channel, one column a class. Class 2 has nothing in its favour.
HEAD = np.array([[1.0, -2.0, -1.0], [3.0, 4.0, -1.0]], np.float32)


@pytest.fixture(scope="module")
def images() -> Images:
    return np.random.default_rng(0).uniform(0, 1, (4, 12, 12, 2)).astype(np.float32)


def linear_model(*, scale: float = 1.0, bias: float = 0.0) -> keras.Model:
    """Identity convolution, mean over positions, linear head: all gradients known by hand."""
    image = keras.Input([12, 12, 2])
    features = keras.layers.Conv2D(2, 1, use_bias=False, name="features")(image)
    pooled = keras.layers.GlobalAveragePooling2D()(features)
    model = keras.Model(image, keras.layers.Dense(3, name="logits")(pooled))
    model.set_weights([np.eye(2)[None, None], HEAD * scale, np.full(3, bias)])
    return model


def random_model(
    head: keras.layers.Layer, *, seed: int, scale: float = 1.0, bias: float = 0.0
) -> keras.Model:
    """Two convolutions at full size and a head with a hidden layer."""
    keras.utils.set_random_seed(seed)
    image = keras.Input([12, 12, 2])
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    x = keras.layers.Conv2D(16, 3, padding="same", activation="relu", name="features")(x)
    x = keras.layers.Dense(10, activation="relu")(head(x))
    model = keras.Model(image, keras.layers.Dense(3, name="logits")(x))
    kernel, _ = model.layers[-1].get_weights()
    model.layers[-1].set_weights([scale * kernel, np.full(3, bias, np.float32)])
    return model


def as_shares_of_the_largest(maps: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    largest = maps.max(axis=(1, 2), keepdims=True)
    return np.divide(maps, largest, out=np.zeros_like(maps), where=largest > 0)


@pytest.mark.parametrize(
    ("method", "weights"),
    [
        ("gradcam++", np.maximum(HEAD, 0)),
        ("smoothgradcam++", np.maximum(HEAD, 0)),
        ("xgradcam", HEAD),
        ("gradcam", HEAD),
        ("layercam", np.maximum(HEAD, 0)),
    ],
)
def test_maps_of_a_linear_model_are_known_by_hand(
    method: str, weights: npt.NDArray[np.float32], images: Images
) -> None:
    classes = [0, 1, 1, 0]
    expected = np.stack(
        [
            np.maximum(image @ weights[:, index], 0)
            for image, index in zip(images, classes, strict=True)
        ]
    )
    maps = make_cam(method, linear_model(), "features")(images, classes)
    assert maps.dtype == np.float32
    np.testing.assert_allclose(maps, as_shares_of_the_largest(expected), atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_a_class_that_nothing_speaks_for_has_an_empty_map(method: str, images: Images) -> None:
    maps = make_cam(method, linear_model(), "features")(images, [2, 2, 2, 2])
    np.testing.assert_array_equal(maps, np.zeros([4, 12, 12]))


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in (1, 2))]
)
@pytest.mark.parametrize(
    ("head", "scale"),
    [
        (keras.layers.GlobalAveragePooling2D, 1.0),
        (keras.layers.GlobalMaxPooling2D, 1.0),
        # Gradients of both signs in a channel; at full size some are beyond the pole of alpha.
        (keras.layers.Flatten, 0.05),
    ],
)
@pytest.mark.parametrize(
    ("method", "theirs"),
    [("gradcam", Gradcam), ("gradcam++", GradcamPlusPlus), ("layercam", Layercam)],
)
def test_a_map_is_that_of_tf_keras_vis(
    method: str,
    theirs: type[Gradcam],
    head: type[keras.layers.Layer],
    scale: float,
    seed: int,
    images: Images,
) -> None:
    model = random_model(head(), seed=seed, scale=scale)
    classes = [0, 1, 2, 0]
    expected = theirs(model)(
        CategoricalScore(classes),
        images,
        penultimate_layer="features",
        seek_penultimate_conv_layer=False,
        normalize_cam=False,
    )
    assert expected.max() > 0
    ours = make_cam(method, model, "features")(images, classes)
    np.testing.assert_allclose(ours, as_shares_of_the_largest(expected), atol=1e-4)


def test_prediction_and_maps_come_together(images: Images) -> None:
    model = random_model(keras.layers.Flatten(), seed=4, scale=0.05)
    logits = model.predict(images, verbose=0)
    predicted = logits.argmax(axis=1).tolist()
    for method in METHODS:
        cam = make_cam(method, model, "features")
        explained = cam.explain(images)
        np.testing.assert_allclose(explained.logits, logits, atol=1e-5)
        np.testing.assert_array_equal(explained.heatmaps, cam(images, predicted))


def make_group(model: keras.Model, layers: str | list[str]) -> CamGroup:
    """All methods by one trace."""
    return CamGroup({method: make_cam(method, model, layers) for method in METHODS})


def test_several_layers_are_fused_by_their_maximum(images: Images) -> None:
    model = random_model(keras.layers.Flatten(), seed=3, scale=0.05)
    first = next(layer.name for layer in model.layers if isinstance(layer, keras.layers.Conv2D))
    pictures, classes = tf.constant(images), [0, 1, 2, 0]
    alone = [make_group(model, name)(pictures, classes) for name in (first, "features")]
    fused = make_group(model, [first, "features"])(pictures, classes)
    for method in METHODS:
        maps = [one[method] for one in alone]
        np.testing.assert_allclose(fused[method], np.maximum(*maps), atol=1e-5)
        assert np.abs(maps[0] - maps[1]).max() > 0.1
    with pytest.raises(ValueError, match="at least one layer"):
        make_cam("gradcam", model, [])


def test_methods_in_a_group_give_the_maps_they_give_alone(images: Images) -> None:
    model = random_model(keras.layers.Flatten(), seed=13, scale=0.05)
    cams = {method: make_cam(method, model, "features") for method in METHODS}
    together = CamGroup(cams)(tf.constant(images), [0, 1, 2, 0])
    assert tuple(together) == METHODS
    for method, cam in cams.items():
        np.testing.assert_allclose(together[method], cam(images, [0, 1, 2, 0]), atol=1e-5)


@pytest.mark.parametrize("samples", [1, 3, 37])
def test_noisy_copies_that_pass_together_give_what_they_give_one_by_one(
    samples: int, images: Images
) -> None:
    model = random_model(keras.layers.Flatten(), seed=12, scale=0.05)
    cam = SmoothGradCamPlusPlus(model, "features", samples=samples, noise_share=0.3, seed=5)
    classifier = keras.Model(model.input, [model.output, model.get_layer("features").output])
    for image, index in zip(images[:2], [0, 2], strict=True):
        powers = []
        for sample in range(samples):
            noise = tf.random.stateless_normal(image.shape, seed=(5, sample))
            noisy = tf.constant(image + 0.3 * np.ptp(image) * noise)[tf.newaxis]
            with tf.GradientTape() as tape:
                tape.watch(noisy)
                logits, activations = classifier(noisy)
                score = logits[0, index]
            gradient = tape.gradient(score, activations).numpy().astype(np.float64)
            powers.append([gradient, gradient**2, gradient**3])
        plain = classifier(image[np.newaxis])[1]
        weights = smooth_grad_cam_plus_plus_weights(plain, np.mean(powers, axis=0))
        expected = render_heatmap(plain, weights, (12, 12))[0]
        for batch in (image[np.newaxis], np.stack([image] * 3)):
            np.testing.assert_allclose(cam(batch, [index] * len(batch))[-1], expected, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_a_constant_added_to_the_logit_does_not_change_the_map(method: str, images: Images) -> None:
    plain, raised = (
        make_cam(method, random_model(keras.layers.Flatten(), seed=5, bias=bias), "features")(
            images, [0, 1, 2, 0]
        )
        for bias in (0.0, 1e4)  # exp(1e4) is far beyond float32
    )
    assert plain.max() == 1
    np.testing.assert_allclose(raised, plain, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_scaling_the_logit_does_not_change_the_map_with_a_pooled_head(
    method: str, images: Images
) -> None:
    plain, *scaled = (
        make_cam(method, linear_model(scale=scale), "features")(images, [0, 1, 1, 0])
        for scale in (1.0, 1e-6, 1e6)
    )
    for maps in scaled:
        np.testing.assert_allclose(maps, plain, atol=1e-5)


def test_scaling_the_logit_never_changes_the_map_of_xgrad_cam(images: Images) -> None:
    plain, scaled = (
        make_cam("xgradcam", random_model(keras.layers.Flatten(), seed=6, scale=scale), "features")(
            images, [0, 1, 2, 0]
        )
        for scale in (1.0, 1e3)
    )
    assert plain.max() == 1
    np.testing.assert_allclose(scaled, plain, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_a_picture_has_the_same_map_alone_and_in_a_batch(method: str, images: Images) -> None:
    cam = make_cam(method, random_model(keras.layers.Flatten(), seed=7), "features")
    together = cam(images, [0, 1, 2, 0])
    for row, index in enumerate([0, 1, 2, 0]):
        alone = cam(images[row : row + 1], [index])
        np.testing.assert_allclose(alone[0], together[row], atol=1e-5)
    np.testing.assert_array_equal(cam(images, [0, 1, 2, 0]), together)


def test_smooth_maps_differ_from_plain_ones_by_the_noise_alone(images: Images) -> None:
    model = random_model(keras.layers.Flatten(), seed=8)
    plain = make_cam("gradcam++", model, "features")(images, [0, 1, 2, 0])
    without = SmoothGradCamPlusPlus(model, "features", samples=3, noise_share=0.0)
    np.testing.assert_allclose(without(images, [0, 1, 2, 0]), plain, atol=1e-5)
    noisy = SmoothGradCamPlusPlus(model, "features", samples=3, noise_share=0.5)
    assert np.abs(noisy(images, [0, 1, 2, 0]) - plain).max() > 0.01


def test_the_noise_grows_with_the_range_of_the_picture(images: Images) -> None:
    model = random_model(keras.layers.Flatten(), seed=9)
    flat = np.full_like(images, 0.5)
    np.testing.assert_allclose(
        make_cam("smoothgradcam++", model, "features")(flat, [0, 1, 2, 0]),
        make_cam("gradcam++", model, "features")(flat, [0, 1, 2, 0]),
        atol=1e-5,
    )


def test_maps_of_the_autoencoder_come_from_its_classifier() -> None:
    keras.utils.set_random_seed(0)
    model = build_autoencoder(image_size=32, channels=1, classes=3, mean=100.0, variance=900.0)
    pictures = np.random.default_rng(1).uniform(0, 255, (2, 32, 32, 1)).astype(np.float32)
    classifier = keras.Model(model.input, model.get_layer("logits").output)
    found, expected = (
        make_group(one, "merged")(tf.constant(pictures), [0, 2]) for one in (model, classifier)
    )
    for method, maps in found.items():
        assert maps.shape == (2, 32, 32)
        assert maps.min() >= 0
        assert maps.max() == 1
        np.testing.assert_allclose(maps, expected[method], atol=1e-6)


def test_one_trace_serves_all_classes_and_batches(images: Images) -> None:
    traces = []

    class Counted(GradCam):
        def trace(self, images: tf.Tensor, class_indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            traces.append(images.shape)
            return super().trace(images, class_indices)

    cam = Counted(linear_model(), "features")
    for classes in ([0], [1], [0, 1], [1, 0, 2], [0, 0, 0, 0]):
        cam(images[: len(classes)], classes)
    cam.explain(images[:3])
    assert traces == [(None, 12, 12, 2)]


def test_the_flag_names_the_same_methods() -> None:
    assert config.CAM_METHODS == METHODS


def test_a_model_that_cannot_be_explained_is_refused() -> None:
    model = linear_model()
    with pytest.raises(ValueError, match="known are gradcam"):
        make_cam("cam", model, "features")
    with pytest.raises(ValueError, match="no layer 'block14'"):
        make_cam("xgradcam", model, "block14")
    with pytest.raises(ValueError, match=r"must give \[batch, h, w, channels\]"):
        make_cam("xgradcam", model, "logits")
    nested = keras.Sequential([keras.Input([12, 12, 2]), model])
    with pytest.raises(ValueError, match="of its own"):
        make_cam("xgradcam", nested, "features")
    autoencoder = build_autoencoder(image_size=32, channels=1, classes=2, mean=0.0, variance=1.0)
    with pytest.raises(ValueError, match="before its logits"):
        make_cam("xgradcam", autoencoder, "decode1")
    x = keras.Input([4, 4, 1], name="x")
    twice = keras.Model(x, [keras.layers.ReLU(name="a")(x), keras.layers.ReLU(name="b")(x)])
    with pytest.raises(ValueError, match="2 outputs"):
        make_cam("xgradcam", twice, "a")


@pytest.mark.parametrize("classes", [[0, 1], [0, 1, 2, 3], [0, 1, 2, -1]])
def test_class_indices_that_do_not_fit_are_refused(classes: list[int], images: Images) -> None:
    with pytest.raises(ValueError, match="lass ind"):
        make_cam("gradcam++", linear_model(), "features")(images, classes)


def test_maps_have_the_size_of_the_picture_not_of_the_layer() -> None:
    image = keras.Input([16, 24, 1])
    features = keras.layers.Conv2D(3, 3, strides=4, activation="relu", name="features")(image)
    model = keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(features)))
    maps = make_cam("xgradcam", model, "features")(tf.ones([1, 16, 24, 1]), [0])
    assert maps.shape == (1, 16, 24)


def test_the_lines_of_the_readme_explain_a_model_of_keras() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (lines,) = [part.split("```")[0] for part in readme.split("```python\n")[1:]]
    pictures = np.random.default_rng(0).uniform(-1, 1, (2, 224, 224, 3)).astype(np.float32)
    found: dict[str, Any] = {"pictures": pictures}
    exec(lines, found)
    np.testing.assert_allclose(found["logits"], found["model"](pictures), atol=1e-4)
    assert found["heatmaps"].shape == (2, 224, 224)
    assert found["heatmaps"].max() in (0, 1)
