from __future__ import annotations

import keras
import numpy as np
import pytest

from models.feature_maps import Convolution, FeatureMaps, find_convolutions
from models.registry import MODELS

PICTURE = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], np.float32)[..., np.newaxis]


def one_by_one(weights: list[float], **changes: object) -> keras.layers.Conv2D:
    return keras.layers.Conv2D(
        len(weights),
        1,
        kernel_initializer=lambda shape, dtype: np.reshape(weights, shape).astype(dtype),
        **changes,
    )


def names(model: keras.Model) -> list[tuple[str, str]]:
    return [(found.name, found.shown) for found in find_convolutions(model)]


def autoencoder() -> keras.Model:
    keras.utils.set_random_seed(0)
    return MODELS["autoencoder"].build(
        image_size=32, channels=1, classes=3, mean=100.0, variance=900.0
    )


def xception() -> keras.Model:
    keras.utils.set_random_seed(0)
    return MODELS["xception"].build(image_size=71, channels=1, classes=3)


def convolutions_by_class_name(model: keras.Model) -> list[str]:
    return [layer.name for layer in model.layers if "Conv2D" in type(layer).__name__]


def test_a_convolution_of_known_weights_gives_known_maps() -> None:
    image = keras.Input([2, 3, 1])
    x = one_by_one([2.0, -1.0], name="first")(image)
    x = keras.layers.ReLU(name="positive")(x)
    x = keras.layers.Conv2D(1, 1, kernel_initializer="ones", name="second")(x)
    maps = dict(FeatureMaps(keras.Model(image, x))(PICTURE))
    assert list(maps) == ["first", "second"]
    assert {one.dtype for one in maps.values()} == {np.dtype(np.float32)}
    expected = np.concatenate([2 * PICTURE, 0 * PICTURE], axis=-1)
    np.testing.assert_allclose(maps["first"], expected)
    np.testing.assert_allclose(maps["second"], 2 * PICTURE)


def test_shown_is_what_leaves_normalisation_and_activation() -> None:
    image = keras.Input([2, 3, 1])
    x = one_by_one([1.0], name="conv")(image)
    x = keras.layers.BatchNormalization(name="norm", epsilon=0.0)(x)
    x = keras.layers.Activation("relu", name="act")(x)
    model = keras.Model(image, keras.layers.Flatten()(x))
    gamma, beta, mean, variance = np.array([[2.0], [1.0], [3.5], [4.0]])
    model.get_layer("norm").set_weights([gamma, beta, mean, variance])
    ((name, maps),) = FeatureMaps(model)(PICTURE)
    assert (name, names(model)) == ("conv", [("conv", "act")])
    np.testing.assert_allclose(maps, np.maximum(PICTURE - 2.5, 0))


def test_an_activation_alone_is_followed_and_one_of_its_own_is_not() -> None:
    image = keras.Input([8, 8, 1])
    x = one_by_one([1.0], name="plain")(image)
    x = keras.layers.LeakyReLU(name="act")(x)
    x = one_by_one([1.0], name="own", activation="relu")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    assert names(keras.Model(image, x)) == [("plain", "act"), ("own", "own")]


def test_where_paths_part_the_last_common_value_is_shown() -> None:
    image = keras.Input([8, 8, 1])
    normed = keras.layers.BatchNormalization(name="norm")(one_by_one([1.0], name="conv")(image))
    act = keras.layers.ReLU(name="act")(normed)
    assert names(keras.Model(image, keras.layers.Add()([normed, act]))) == [("conv", "norm")]
    bare = one_by_one([1.0], name="conv")(image)
    two = [keras.layers.ReLU()(bare), keras.layers.ELU()(bare)]
    assert names(keras.Model(image, two)) == [("conv", "conv")]
    # Read by an operation that is no layer.
    assert names(keras.Model(image, keras.ops.add(two[0], bare))) == [("conv", "conv")]


def test_an_output_of_the_model_is_shown_as_it_is() -> None:
    image = keras.Input([8, 8, 1])
    evidence = one_by_one([1.0], name="evidence")(image)
    gate = keras.layers.Activation("sigmoid", name="gate")(evidence)
    assert names(keras.Model(image, gate)) == [("evidence", "gate")]
    assert names(keras.Model(image, [gate, evidence])) == [("evidence", "evidence")]


def test_every_kind_of_convolution_is_found_and_nothing_else() -> None:
    image = keras.Input([8, 8, 2])
    x = keras.layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(image)
    x = keras.layers.SeparableConv2D(5, 3, name="separable")(x)
    x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Conv2DTranspose(3, 2, strides=2, name="transposed")(x)
    x = keras.layers.Dense(4)(x)
    shapes = [maps.shape for _, maps in FeatureMaps(keras.Model(image, x))(np.zeros([8, 8, 2]))]
    assert shapes == [(6, 6, 4), (4, 4, 5), (4, 4, 3)]


def test_the_autoencoder_shows_all_its_convolutions() -> None:
    model = autoencoder()
    found = find_convolutions(model)
    assert [one.name for one in found] == convolutions_by_class_name(model)
    assert Convolution("reduce1_conv", "reduce1") in found
    assert found[-3:] == (
        Convolution("merged_conv", "merged"),
        Convolution("evidence", "evidence"),
        Convolution("pixels", "pixels"),
    )
    picture = np.random.default_rng(0).uniform(0, 255, (32, 32, 1)).astype(np.float32)
    maps = dict(FeatureMaps(model)(picture))
    assert list(maps) == [one.name for one in found]
    outputs = model(picture[np.newaxis])
    np.testing.assert_allclose(maps["evidence"], outputs["evidence"][0], atol=1e-5)
    assert maps["merged_conv"].min() == 0


def test_xception_shows_all_its_convolutions() -> None:
    model = xception()
    feature_maps = FeatureMaps(model)
    found = {one.name: one.shown for one in feature_maps.convolutions}
    assert list(found) == convolutions_by_class_name(model)
    assert len(found) == 40
    assert found["block1_conv1"] == "block1_conv1_act"
    assert found["block5_sepconv1"] == "block5_sepconv2_act"
    assert found["block5_sepconv3"] == "block5_sepconv3_bn"  # what is added to the other path
    maps = dict(feature_maps(np.full([71, 71, 1], 90.0)))
    assert list(maps) == list(found)
    assert maps["block14_sepconv2"].shape == (3, 3, 2048)
    assert all(np.isfinite(one).all() for one in maps.values())


def test_half_precision_comes_out_as_float32() -> None:
    image = keras.Input([2, 3, 1])
    x = one_by_one([2.0], dtype="mixed_bfloat16")(image)
    ((_, maps),) = FeatureMaps(keras.Model(image, x))(PICTURE)
    assert maps.dtype == np.float32
    np.testing.assert_allclose(maps, 2 * PICTURE)


def test_what_cannot_be_shown_is_refused() -> None:
    image = keras.Input([2, 3, 1])
    flat = keras.Model(image, one_by_one([1.0])(image))
    with pytest.raises(ValueError, match="no convolution"):
        FeatureMaps(keras.Model(image, keras.layers.ReLU()(image)))
    with pytest.raises(ValueError, match="holds the model"):
        FeatureMaps(keras.Model(image, keras.layers.ReLU()(flat(image))))
    for wrong in (PICTURE[np.newaxis], PICTURE[..., 0], np.zeros([3, 3, 1])):
        with pytest.raises(ValueError, match="one picture of shape"):
            FeatureMaps(flat)(wrong)
