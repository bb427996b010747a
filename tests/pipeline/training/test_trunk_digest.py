from __future__ import annotations

import keras
import numpy as np

from pipeline.training.frozen_graph import FrozenGraph
from pipeline.training.trunk_digest import digest_trunk


def build(filters: int = 3, seed: int = 0, activation: str = "relu") -> keras.Model:
    keras.utils.set_random_seed(seed)
    image = keras.Input([8, 8, 1])
    x = keras.layers.Conv2D(filters, 3)(image)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Activation(activation)(x)
    return keras.Model(image, keras.layers.Add()([x, keras.ops.flip(x, axis=1)]))


def test_the_same_model_has_the_same_digest_whatever_its_layers_are_called() -> None:
    first, second = build(), build()
    assert [x.name for x in first.layers] != [x.name for x in second.layers]
    assert digest_trunk(first, {"seed": 1}) == digest_trunk(second, {"seed": 1})


def test_every_difference_shows() -> None:
    moved, reduced = build(), build()
    moved.layers[2].moving_mean.assign([0.0, 0.0, 1e-7])
    reduced.layers[1].dtype_policy = "mixed_bfloat16"
    others = [build(filters=4), build(seed=1), build(activation="tanh"), moved, reduced]
    digests = [digest_trunk(model, {"seed": 1}) for model in (build(), *others)]
    digests += [digest_trunk(build(), facts) for facts in ({"seed": 2}, {"views": 1}, {})]
    assert len(set(digests)) == len(digests)


def test_a_frozen_graph_says_what_the_model_said_when_it_was_first_asked() -> None:
    model = build()
    model.layers[2].moving_mean.assign([0.3, -0.2, 0.1])
    images = np.random.default_rng(0).normal(size=(5, 8, 8, 1)).astype(np.float32)
    frozen, expected = FrozenGraph(model), model(images, training=False).numpy()
    np.testing.assert_allclose(frozen(images[:2]), expected[:2], atol=1e-6)
    model.layers[1].kernel.assign(np.zeros((3, 3, 1, 3)))
    np.testing.assert_allclose(frozen(images), expected, atol=1e-6)


def test_a_frozen_graph_without_weights_is_the_model_too() -> None:
    image = keras.Input([2, 2, 1])
    model = keras.Model(image, keras.layers.Rescaling(2.0)(image))
    assert FrozenGraph(model)(np.ones((1, 2, 2, 1), np.float32)).numpy().tolist() == [
        [[[2.0], [2.0]], [[2.0], [2.0]]]
    ]
