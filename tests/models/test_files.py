from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from models.files import load_model, save_model


def build() -> keras.Model:
    keras.utils.set_random_seed(0)
    image = keras.Input([4], name="image")
    x = keras.layers.Dropout(0.5, name="dropout")(keras.layers.Dense(3, name="dense")(image))
    return keras.Model(image, {"logits": keras.layers.Dense(2, name="logits")(x)}, name="small")


def test_what_trained_a_model_is_not_saved_with_it(tmp_path: Path) -> None:
    x, y = np.ones([4, 4], np.float32), np.zeros([4], np.int64)
    trained = build()
    trained.compile(keras.optimizers.Adam(), keras.losses.SparseCategoricalCrossentropy())
    trained.fit(x, {"logits": y}, verbose=0)
    plain = build()
    for variable, value in zip(plain.variables, trained.variables, strict=True):
        variable.assign(value)
    for name, model in (("trained", trained), ("plain", plain)):
        save_model(tmp_path / f"{name}.keras", model)
    assert (tmp_path / "trained.keras").read_bytes() == (tmp_path / "plain.keras").read_bytes()
    loaded = load_model(tmp_path / "trained.keras")
    np.testing.assert_array_equal(loaded(x)["logits"], trained(x)["logits"])
