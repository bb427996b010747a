from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.autoencoder import build_autoencoder, reconstruction_model
from pipeline.training.mixed_precision import choose_precision, computing_in


def build() -> keras.Model:
    keras.utils.set_random_seed(0)
    return build_autoencoder(image_size=32, channels=1, classes=2, mean=127.0, variance=5000.0)


def test_the_policy_follows_the_machine() -> None:
    gpu = bool(tf.config.list_physical_devices("GPU"))
    assert choose_precision(mixed=False) == "float32"
    assert choose_precision(mixed=True) == ("mixed_float16" if gpu else "mixed_bfloat16")


def test_layers_compute_in_16_bit_and_the_model_is_kept_in_32() -> None:
    keras.utils.clear_session()  # Keras counts up the names of operations through a process
    untouched = build()
    keras.utils.clear_session()
    model = build()
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 1)).astype(np.float32)
    before = model(images, training=False)
    with computing_in(model, "mixed_bfloat16"):
        assert model.get_layer("encode2_conv").compute_dtype == "bfloat16"
        assert {weight.dtype for weight in model.weights} == {"float32"}
        outputs = model(images, training=False)
        assert {value.dtype for value in outputs.values()} == {tf.float32}
        parts = reconstruction_model(model)(images, training=False)
        np.testing.assert_array_equal(parts, outputs["reconstruction"])
    difference = np.abs(outputs["logits"] - before["logits"]).max()
    assert 0 < difference < 0.05
    after = model(images, training=False)
    np.testing.assert_array_equal(after["logits"], before["logits"])
    kept, expected = ({**x.get_config(), "name": ""} for x in (model, untouched))
    assert kept == expected


def test_the_policy_ends_with_the_block_even_when_that_raises() -> None:
    model = build()
    with pytest.raises(KeyboardInterrupt), computing_in(model, "mixed_bfloat16"):
        raise KeyboardInterrupt
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
