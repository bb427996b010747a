"""A head is affine where the gradient at the layer does not depend on the picture."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.affine_head import is_affine_above
from models.cam import SmoothGradCamPlusPlus, make_cam

IMAGES = np.random.default_rng(0).uniform(0, 1, (3, 8, 8, 2)).astype(np.float32)


def build(*head: keras.layers.Layer, shortcut: bool = False) -> keras.Model:
    """A convolution with ReLU, `features`, the head's layers, and a dense layer."""
    keras.utils.set_random_seed(3)
    image = keras.Input([8, 8, 2])
    relu = {"padding": "same", "activation": "relu"}
    x = keras.layers.Conv2D(5, 3, name="features", **relu)(image)
    for layer in head:
        x = layer(x)
    if shortcut:  # round the layer, and not affine itself
        x = keras.layers.Add()([x, keras.layers.Conv2D(5, 3, **relu)(image)])
    x = keras.layers.Dropout(0.5)(keras.layers.Flatten()(x))
    return keras.Model(image, keras.layers.Dense(3, name="logits")(x))


HEADS = {
    "mean": ([keras.layers.GlobalAveragePooling2D()], True),
    "nothing": ([], True),
    "batch normalisation": ([keras.layers.BatchNormalization()], True),
    "convolution": ([keras.layers.Conv2D(4, 3)], True),
    "convolution with ReLU": ([keras.layers.Conv2D(4, 3, activation="relu")], False),
    "ReLU as a layer": ([keras.layers.Conv2D(4, 3), keras.layers.ReLU()], False),
    "activation as a layer": ([keras.layers.Activation("swish")], False),
    "maximum": ([keras.layers.GlobalMaxPooling2D()], False),
    "a layer that is not known": ([keras.layers.LayerNormalization()], False),
}


def differs(model: keras.Model) -> bool:
    """Whether the gradients at the layer differ between the pictures."""
    whole = keras.Model(model.input, [model.get_layer("features").output, model.output])
    with tf.GradientTape() as tape:
        tape.watch(images := tf.constant(IMAGES))
        features, logits = whole(images, training=False)
        scores = logits[:, 1]
    gradients = tape.gradient(scores, features).numpy()
    return not np.allclose(gradients, gradients[:1], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", HEADS)
def test_a_head_is_affine_where_the_gradient_is_the_same_for_every_picture(name: str) -> None:
    layers, is_affine = HEADS[name]
    model = build(*[layer.__class__.from_config(layer.get_config()) for layer in layers])
    assert is_affine_above(model, "features") is is_affine
    assert differs(model) is not is_affine


def test_what_goes_round_the_layer_may_be_anything() -> None:
    model = build(shortcut=True)
    assert is_affine_above(model, "features")
    assert not differs(model)


def test_without_noisy_copies_the_smooth_map_is_that_of_many() -> None:
    model = build(keras.layers.GlobalAveragePooling2D())
    shortcut = SmoothGradCamPlusPlus(model, "features", samples=50, noise_share=0.3)
    assert not shortcut.needs_noise
    noisy = SmoothGradCamPlusPlus(model, "features", samples=50, noise_share=0.3)
    noisy.needs_noise = True
    expected = noisy(IMAGES, [0, 1, 2])
    np.testing.assert_allclose(shortcut(IMAGES, [0, 1, 2]), expected, atol=1e-5)
    plain = make_cam("gradcam++", model, "features")(IMAGES, [0, 1, 2])
    np.testing.assert_allclose(expected, plain, atol=1e-5)


def test_one_layer_of_several_that_needs_noise_is_enough() -> None:
    model = build(keras.layers.Conv2D(4, 3, activation="relu", name="second"))
    assert SmoothGradCamPlusPlus(model, ["features", "second"]).needs_noise
    assert not SmoothGradCamPlusPlus(model, "second").needs_noise
