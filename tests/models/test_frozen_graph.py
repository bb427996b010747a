from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from models.autoencoder import build_autoencoder
from models.backbone import build_backbone
from models.frozen_graph import ChannelBias, fold_batch_norm, freeze
from models.registry import Backbone

MOBILE = Backbone("MobileNet", "tf", 32, "conv_dw_13")


def shake(model: keras.Model, seed: int = 0) -> keras.Model:
    """Gives every weight a value of its own, as after training; variances stay positive."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        low = 0.2 if "variance" in weight.path else -1.0
        weight.assign(rng.uniform(low, 1.0, weight.shape))
    return model


def pictures(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def norms(model: keras.Model) -> list[str]:
    return [x.name for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]


def test_a_normalisation_becomes_a_factor_and_a_bias() -> None:
    image = keras.Input([1, 1, 1])
    x = keras.layers.Conv2D(1, 1, name="conv")(image)
    x = keras.layers.BatchNormalization(epsilon=0.5, name="norm")(x)
    model = keras.Model(image, keras.layers.ReLU()(x))
    model.get_layer("conv").set_weights([np.full([1, 1, 1, 1], 2.0), np.array([7.0])])
    # gamma 3, beta 5, mean 1, variance 3.5: 3 / sqrt(3.5 + 0.5) = 1.5
    model.get_layer("norm").set_weights([np.array([v]) for v in (3.0, 5.0, 1.0, 3.5)])
    folded = fold_batch_norm(model)
    assert [w.tolist() for w in folded.get_layer("conv").get_weights()] == [[[[[3.0]]]]]
    assert folded.get_layer("norm").get_weights()[0].tolist() == [5.0 + (7.0 - 1.0) * 1.5]
    # (2 x + 7 - 1) * 1.5 + 5 = 3 x + 14
    assert folded(np.full([1, 1, 1, 1], -2.0)).numpy().item() == 8.0
    assert model.get_layer("conv").get_weights()[0].item() == 2.0


CONVOLUTIONS = {
    "plain": lambda **own: keras.layers.Conv2D(4, 3, **own),
    "depthwise": lambda **own: keras.layers.DepthwiseConv2D(3, depth_multiplier=2, **own),
    "separable": lambda **own: keras.layers.SeparableConv2D(4, 3, depth_multiplier=2, **own),
}


@settings(max_examples=12, deadline=None)
@given(
    kind=st.sampled_from(sorted(CONVOLUTIONS)),
    use_bias=st.booleans(),
    padding=st.sampled_from(["same", "valid"]),
    strides=st.integers(1, 2),
    center=st.booleans(),
    scale=st.booleans(),
    seed=st.integers(0, 99),
)
def test_every_convolution_says_the_same_with_its_normalisation_folded(
    kind: str, use_bias: bool, padding: str, strides: int, center: bool, scale: bool, seed: int
) -> None:
    image = keras.Input([6, 5, 2])
    x = CONVOLUTIONS[kind](use_bias=use_bias, padding=padding, strides=strides)(image)
    x = keras.layers.BatchNormalization(center=center, scale=scale)(x)
    model = shake(keras.Model(image, keras.layers.ReLU()(x)), seed)
    folded = fold_batch_norm(model)
    assert not norms(folded)
    images = pictures((3, 6, 5, 2), seed)
    np.testing.assert_allclose(folded(images), model(images, training=False), rtol=1e-4, atol=1e-5)


def test_what_cannot_be_folded_stays() -> None:
    image = keras.Input([6, 6, 2])
    norm, conv = keras.layers.BatchNormalization, keras.layers.Conv2D
    first = norm(name="after_no_convolution")(image)
    shown = conv(2, 3, padding="same", name="shown")(first)
    x = norm(name="of_an_output")(shown)
    x = norm(name="after_activation")(conv(2, 1, activation="relu")(x))
    kept = conv(2, 1, name="kept")(x)
    x = norm(name="of_what_is_kept")(kept)
    twice = conv(2, 1, name="feeds_two")(x)
    x = keras.layers.Add()([twice, norm(name="one_of_two")(twice)])
    shared = conv(2, 1, name="shared")
    x = keras.layers.Add()([norm(name="of_shared")(shared(x)), shared(shared(x))])
    x = norm(axis=1, name="of_rows")(conv(2, 1)(x))
    x = norm(name="folded")(conv(2, 1)(x))
    model = shake(keras.Model(image, {"x": x, "shown": shown}))
    folded = fold_batch_norm(model, keep=["kept"])
    assert norms(folded) == [name for name in norms(model) if name != "folded"]
    assert isinstance(folded.get_layer("folded"), ChannelBias)
    images = pictures((2, 6, 6, 2))
    outputs = [x.get_layer("kept").output for x in (model, folded)]
    for one, other in ((model, folded), [keras.Model(x.input, y) for x, y in
                                         zip((model, folded), outputs, strict=True)]):  # fmt: skip
        tf.nest.map_structure(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
            one(images, training=False),
            other(images, training=False),
        )


@pytest.fixture(scope="module")
def autoencoder() -> keras.Model:
    keras.utils.set_random_seed(0)
    return build_autoencoder(image_size=32, channels=1, classes=3, mean=127.0, variance=5000.0)


def test_the_networks_say_the_same_without_a_normalisation(autoencoder: keras.Model) -> None:
    keras.utils.set_random_seed(0)
    mobile = build_backbone(MOBILE, image_size=32, channels=1, classes=3)
    images = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 1)).astype(np.float32)
    for model in (autoencoder, mobile):
        folded = fold_batch_norm(model)
        assert [x.name for x in folded.layers] == [x.name for x in model.layers]
        assert not norms(folded)
        said, expected = (tf.nest.flatten(x(images, training=False)) for x in (folded, model))
        for one, other in zip(said, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_what_lies_between_grey_values_and_outputs_is_16_bit(autoencoder: keras.Model) -> None:
    folded = fold_batch_norm(autoencoder, precision="bfloat16")
    found = {layer.name: layer.compute_dtype for layer in folded.layers}
    for name in ("reduce1_conv", "reduce1_norm", "reduce1", "enlarge0", "merged", "pixels"):
        assert found[name] == "bfloat16"
    for name in ("normalize", "evidence", "gate", "gated", "mean_pooled", "logits"):
        assert found[name] == "float32"
    kernel = folded.get_layer("encode2_conv").get_weights()[0]
    assert kernel.dtype == "bfloat16"
    images = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 1)).astype(np.float32)
    said, expected = folded(images), autoencoder(images, training=False)
    assert {value.dtype for value in said.values()} == {tf.float32}
    difference = np.abs(said["logits"] - expected["logits"]).max()
    assert 0 < difference < 0.05
    assert {layer.compute_dtype for layer in autoencoder.layers} == {"float32"}


def test_an_unknown_precision_is_refused(autoencoder: keras.Model) -> None:
    with pytest.raises(ValueError, match="float16"):
        fold_batch_norm(autoencoder, precision="float16")


def test_a_frozen_function_keeps_the_weights_it_was_made_with(autoencoder: keras.Model) -> None:
    model = keras.models.clone_model(autoencoder)
    images = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 1)).astype(np.float32)
    expected = model(images, training=False)
    frozen = freeze(
        lambda x: model(x, training=False), tf.TensorSpec([None, 32, 32, 1], tf.float32)
    )
    shake(model)
    said = frozen(tf.constant(images))
    assert said.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(said[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_bias_is_joined_to_its_convolution(autoencoder: keras.Model, precision: str) -> None:
    """Seen in what TensorFlow really runs: of all its passes none leaves a normalisation over."""
