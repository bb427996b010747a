from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from models import backbone, files
from models.registry import MODELS, Backbone, ModelSpec

XCEPTION = MODELS["xception"]
assert XCEPTION.backbone is not None
# What another backbone takes: one entry.
MOBILENET = ModelSpec(
    cam_layer="out_relu",
    image_size=224,
    batch_size=32,
    epochs=16,
    pretrain_epochs=20,
    learning_rate=1e-3,
    augment="flip",
    backbone=Backbone(
        function="MobileNetV2", preprocessing="tf", smallest_size=32, fine_tune_from="block_13"
    ),
)
SIZE = 71


def pictures(size: int = SIZE, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (8, size, size, channels)).astype(np.float32)


def build(spec: ModelSpec = XCEPTION, size: int = SIZE, channels: int = 1) -> keras.Model:
    keras.utils.set_random_seed(0)
    return spec.build(image_size=size, channels=channels, classes=4)


def features(model: keras.Model) -> keras.Model:
    """What the published network gives, before our head."""
    return keras.Model(model.input, model.get_layer("mean_pooled").input)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    built = build()
    backbone.calibrate_batch_norm(built, [pictures()[:4], pictures()[4:]])
    return built


@pytest.fixture(scope="module")
def small() -> keras.Model:
    return build(MOBILENET, size=32)


@pytest.mark.parametrize(("spec", "channels"), [(XCEPTION, 2048), (MOBILENET, 1280)])
def test_the_graph_is_flat(spec: ModelSpec, channels: int) -> None:
    built = build(spec)
    assert not [layer for layer in built.layers if isinstance(layer, keras.Model)]
    assert features(built).output_shape[-1] == channels
    assert len(built.get_layer(spec.cam_layer).output.shape) == 4
    assert built.output_shape == (None, 4)


def test_calibration_gives_every_layer_a_normalised_input(model: keras.Model) -> None:
    names = ["block1_conv1_bn", "block6_sepconv2_bn", "block14_sepconv2_bn"]
    inside = keras.Model(model.input, [model.get_layer(name).output for name in names])
    for output in inside(pictures(), training=False):
        values = output.numpy()
        assert abs(values.mean()) < 0.2
        assert 0.2 < values.std() < 1.5


def test_without_calibration_the_features_vanish() -> None:
    assert features(build())(pictures(), training=False).numpy().std() < 0.05


def test_calibration_pools_batches_by_the_law_of_total_variance() -> None:
    image = keras.Input([4, 4, 2])
    norm = keras.layers.BatchNormalization(momentum=0.99)
    model = keras.Model(image, norm(image))
    data = np.random.default_rng(1).normal(5, 3, (6, 4, 4, 2)).astype(np.float32)
    data[3:] += 10
    backbone.calibrate_batch_norm(model, [data[:3], data[3:]])
    np.testing.assert_allclose(norm.moving_mean, data.mean(axis=(0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, data.var(axis=(0, 1, 2)), rtol=1e-4)
    assert norm.momentum == 0.99
    with pytest.raises(ValueError, match="at least one batch"):
        backbone.calibrate_batch_norm(model, [])


@pytest.mark.parametrize("mode", ["tf", "torch", "caffe"])
def test_preprocessing_is_that_of_keras_applications(mode: str, tmp_path: Path) -> None:
    image = keras.Input([SIZE, SIZE, 3])
    built = keras.Model(image, backbone.preprocess(image, mode))
    files.save_model(tmp_path / "model.keras", built)
    images = pictures(channels=3)
    expected = keras.applications.imagenet_utils.preprocess_input(images.copy(), mode=mode)
    for model in (built, files.load_model(tmp_path / "model.keras")):
        np.testing.assert_allclose(model(images), expected, atol=2e-4)


def test_a_backbone_that_does_its_own_preprocessing_gets_the_picture() -> None:
    image = keras.Input([SIZE, SIZE, 3])
    assert backbone.preprocess(image, "none") is image
    with pytest.raises(ValueError, match="no preprocessing 'pytorch'"):
        backbone.preprocess(image, "pytorch")


@pytest.mark.parametrize(
    ("spec", "start", "first"),
    [
        (XCEPTION, "block13", "block13_sepconv1_act"),
        (XCEPTION, "block4_sepconv1_act", "block4_sepconv1_act"),
        (MOBILENET, "block_1", "block_1_expand"),
        (MOBILENET, "Conv1", "Conv1"),
    ],
)
def test_the_parts_follow_one_another(
    spec: ModelSpec, start: str, first: str, model: keras.Model, small: keras.Model
) -> None:
    whole = model if spec is XCEPTION else small
    images = pictures(whole.input_shape[1])
    trunk, blocks, head, upper = backbone.cut_model(whole, start)
    expected = whole(images, training=False).numpy()
    answers = trunk(images, training=False)
    np.testing.assert_allclose(upper(answers, training=False), expected, atol=1e-5)
    np.testing.assert_allclose(head(blocks(answers, training=False)), expected, atol=1e-5)
    assert not {id(w) for w in trunk.weights} & {id(w) for w in upper.weights}
    assert any(layer.name == first for layer in upper.layers)
    assert not any(layer.name == first for layer in trunk.layers)


@pytest.mark.parametrize(
    ("start", "message"),
    [("block99", "starts with 'block99'"), ("", "starts with ''"), ("block13_sepconv2", "around")],
)
def test_a_cut_that_cannot_be_made_is_refused(model: keras.Model, start: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        backbone.cut_model(model, start)


@pytest.mark.parametrize("spec", [pytest.param(XCEPTION, marks=pytest.mark.long), MOBILENET])
def test_a_published_weights_file_is_loaded_layer_by_layer(spec: ModelSpec, tmp_path: Path) -> None:
    assert spec.backbone is not None
    keras.utils.set_random_seed(7)
    function = getattr(keras.applications, spec.backbone.function)
    source = function(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3))
    path = tmp_path / "published.weights.h5"
    source.save_weights(path)
    built = build(spec)
    backbone.load_backbone(built, spec.backbone, str(path))
    colour = np.repeat(pictures() / 127.5 - 1, 3, axis=-1)
    np.testing.assert_allclose(
        features(built)(pictures(), training=False),
        source(colour, training=False),
        atol=1e-6,
    )


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_weights_that_are_not_there_or_not_such_are_refused(
    tmp_path: Path, small: keras.Model
) -> None:
    assert MOBILENET.backbone is not None
    with pytest.raises(OSError, match="no weights file"):
        backbone.load_backbone(small, MOBILENET.backbone, str(tmp_path / "none.h5"))
    other = tmp_path / "other.weights.h5"
    keras.Sequential([keras.Input([3]), keras.layers.Dense(2)]).save_weights(other)
    (tmp_path / "text.h5").write_text("no weights")
    for path in (other, tmp_path / "text.h5"):
        with pytest.raises((ValueError, OSError, KeyError)):
            backbone.load_backbone(small, MOBILENET.backbone, str(path))


def test_a_published_network_of_other_layers_is_refused(tmp_path: Path, small: keras.Model) -> None:
    keras.applications.MobileNet(
        include_top=False, weights=None, input_shape=(32, 32, 3)
    ).save_weights(tmp_path / "a.weights.h5")
    other = Backbone("MobileNet", "tf", 32, fine_tune_from="block_13")
    with pytest.raises(ValueError, match="other layers"):
        backbone.load_backbone(small, other, str(tmp_path / "a.weights.h5"))


@pytest.mark.parametrize(("spec", "size"), [(XCEPTION, 70), (MOBILENET, 31)])
def test_a_picture_too_small_is_refused(spec: ModelSpec, size: int) -> None:
    with pytest.raises(ValueError, match=rf"at least {size + 1}, got {size}"):
        build(spec, size=size)
