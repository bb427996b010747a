from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from models.cam import make_cam
from models.randomization import Stage, randomized

Images = npt.NDArray[np.float32]
# Of the model below, from the output downwards, with how many weights each has.
DOWNWARDS = [
    ("logits", 6 * 3 + 3),
    ("separable", 3 * 3 * 4 + 4 * 6 + 6),
    ("depthwise", 3 * 3 * 4),
    ("norm", 2 * 4),
    ("conv", 3 * 3 * 2 * 4),
]


@pytest.fixture
def images() -> Images:
    return np.random.default_rng(0).uniform(0, 1, (6, 12, 12, 2)).astype(np.float32)


@pytest.fixture
def model(images: Images) -> keras.Model:
    """Every kind of layer there is in our models, with weights of which no two are equal."""
    keras.utils.set_random_seed(0)
    image = keras.Input([12, 12, 2])
    x = keras.layers.Conv2D(4, 3, padding="same", use_bias=False, name="conv")(image)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization(name="norm")(x))
    decoded = keras.layers.Conv2D(2, 1, name="decoder")(x)
    x = keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
    x = keras.layers.SeparableConv2D(6, 3, padding="same", name="separable")(x)
    features = keras.layers.ReLU(name="features")(x)
    pooled = keras.layers.Dropout(0.5)(keras.layers.GlobalAveragePooling2D()(features))
    logits = keras.layers.Dense(3, name="logits")(pooled)
    model = keras.Model(image, {"logits": logits, "decoded": decoded})
    random = np.random.default_rng(1)
    for weight in model.weights:
        weight.assign(random.normal(size=weight.shape))
    norm = model.get_layer("norm")
    norm.moving_variance.assign(np.abs(norm.moving_variance))
    return model


def state(model: keras.Model) -> list[bytes]:
    return [np.asarray(variable.numpy()).tobytes() for variable in model.variables]


def weights_by_layer(model: keras.Model) -> dict[str, list[np.ndarray]]:
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


def test_layers_are_drawn_from_the_output_downwards(model: keras.Model) -> None:
    before = weights_by_layer(model)
    total = sum(count for _, count in DOWNWARDS)
    done = 0
    with randomized(model) as cascade:
        for place, stage in enumerate(cascade):
            name, count = DOWNWARDS[place]
            done += count
            assert isinstance(stage, Stage)
            assert stage.name == name
            assert stage.fraction == pytest.approx(done / total)
            after = weights_by_layer(model)
            drawn = [one for one, _ in DOWNWARDS[: place + 1]]
            for layer, weights in after.items():
                is_same = all(map(np.array_equal, weights, before[layer]))
                assert is_same == (layer not in drawn), layer
        assert place == len(DOWNWARDS) - 1
        assert stage.fraction == 1


@pytest.mark.parametrize(
    ("stages", "reached"),
    [(1, ["conv"]), (2, ["separable", "conv"]), (8, [name for name, _ in DOWNWARDS])],
)
def test_stages_divide_the_layers_evenly(
    stages: int, reached: list[str], model: keras.Model
) -> None:
    with randomized(model, stages=stages) as cascade:
        assert [stage.name for stage in cascade] == reached


def test_a_permutation_keeps_the_values_of_each_tensor(model: keras.Model) -> None:
    before = weights_by_layer(model)
    with randomized(model) as cascade:
        for _ in cascade:
            pass
        after = weights_by_layer(model)
    for name, _ in DOWNWARDS:
        for old, new in zip(before[name], after[name], strict=True):
            np.testing.assert_array_equal(np.sort(old, axis=None), np.sort(new, axis=None))
    for place in (2, 3):  # the statistics
        np.testing.assert_array_equal(before["norm"][place], after["norm"][place])


def test_a_seed_gives_the_same_draws_whatever_the_stages(model: keras.Model) -> None:
    def draw(*, seed: int, stages: int) -> list[bytes]:
        with randomized(model, seed=seed, stages=stages) as cascade:
            assert list(cascade)
            return state(model)

    assert draw(seed=3, stages=8) == draw(seed=3, stages=2)
    assert draw(seed=3, stages=2) != draw(seed=4, stages=2)


def run_through(model: keras.Model, batches: list[tf.Tensor]) -> None:
    with randomized(model, batches=batches) as cascade:
        for _ in cascade:
            pass


def stop_early(model: keras.Model, batches: list[tf.Tensor]) -> None:
    with randomized(model, batches=batches) as cascade:
        next(cascade)
        next(cascade)


def fail_midway(model: keras.Model, batches: list[tf.Tensor]) -> None:
    with pytest.raises(KeyError), randomized(model, batches=batches) as cascade:
        for stage in cascade:
            if stage.name == "norm":
                raise KeyError(stage.name)


@pytest.mark.parametrize("has_batches", [True, False])
@pytest.mark.parametrize("use", [run_through, stop_early, fail_midway])
def test_all_state_comes_back_to_the_byte(
    use: Callable[[keras.Model, list[tf.Tensor]], None],
    has_batches: bool,
    model: keras.Model,
    images: Images,
) -> None:
    kernel = model.get_layer("conv").kernel
    values = kernel.numpy()
    values[0, 0, 0, 0] = np.float32(1e-42)  # not even the smallest numbers are rounded
    kernel.assign(values)
    model.get_layer("norm").trainable = False
    before = state(model)
    use(model, [tf.constant(images)] if has_batches else [])
    assert state(model) == before
    assert not model.get_layer("norm").trainable


def test_after_the_block_the_cascade_is_over(model: keras.Model) -> None:
    before = state(model)
    with randomized(model) as cascade:
        next(cascade)
    assert list(cascade) == []
    assert state(model) == before


def test_statistics_are_measured_anew_for_what_is_drawn(images: Images) -> None:
    keras.utils.set_random_seed(0)
    image = keras.Input([12, 12, 2])
    x = keras.layers.Conv2D(4, 3, name="conv1")(image)
    x = keras.layers.BatchNormalization(name="norm1")(x)
    x = keras.layers.Conv2D(3, 3, name="conv2")(x)
    x = keras.layers.BatchNormalization(name="norm2")(x)
    model = keras.Model(image, keras.layers.Flatten()(x))
    for norm in ("norm1", "norm2"):
        model.get_layer(norm).moving_mean.assign_add(model.get_layer(norm).gamma)
    below = [variable.numpy() for variable in model.get_layer("norm1").variables]
    inputs = keras.Model(image, model.get_layer("norm2").input)
    with randomized(model, batches=[images[:3], images[3:]]) as cascade:
        stages = []
        for name, _ in cascade:
            stages.append(name)
            seen = inputs(images, training=False).numpy()
            mean, variance = model.get_layer("norm2").get_weights()[2:]
            if name in ("norm2", "conv2"):
                # What lies below runs as in inference, and keeps its own statistics.
                np.testing.assert_allclose(mean, seen.mean(axis=(0, 1, 2)), atol=1e-4)
                np.testing.assert_allclose(variance, seen.var(axis=(0, 1, 2)), rtol=1e-3)
                for own, variable in zip(below, model.get_layer("norm1").variables, strict=True):
                    np.testing.assert_array_equal(own, variable.numpy())
        assert stages == ["norm2", "conv2", "norm1", "conv1"]
        outputs = model(images, training=False).numpy().reshape(-1, 3)
        gamma, beta = model.get_layer("norm2").get_weights()[:2]
        np.testing.assert_allclose(outputs.mean(axis=0), beta, atol=0.05)
        np.testing.assert_allclose(outputs.std(axis=0), np.abs(gamma), rtol=0.1)


def test_a_map_that_is_already_traced_sees_the_change(model: keras.Model, images: Images) -> None:
    cam = make_cam("gradcam++", model, "features")
    classes = [0, 1, 2, 0, 1, 2]
    before = cam(images, classes)
    assert before.max() == 1
    with randomized(model, batches=[images]) as cascade:
        changes = [np.abs(cam(images, classes) - before).max() for _ in cascade]
    assert min(changes) > 0.01
    np.testing.assert_array_equal(cam(images, classes), before)


def test_what_cannot_be_drawn_is_refused(model: keras.Model) -> None:
    with pytest.raises(ValueError, match="at least 1 stage"), randomized(model, stages=0):
        pass
    image = keras.Input([4, 4, 1])
    empty = keras.Model(image, keras.layers.Flatten()(image))
    with pytest.raises(ValueError, match="no weights"), randomized(empty):
        pass
