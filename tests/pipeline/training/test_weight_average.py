from __future__ import annotations

import keras
import numpy as np
import pytest

from pipeline.training.weight_average import WeightAverage


def make_model() -> keras.Model:
    model = keras.Sequential(
        [keras.Input([1]), keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")]
    )
    model.stop_training = False
    return model


def follow(average: WeightAverage, model: keras.Model, weights: list[float]) -> None:
    """Shows the average a training whose steps set the one weight to these values."""
    average.set_model(model)
    for step, weight in enumerate(weights):
        model.set_weights([np.full([1, 1], weight, np.float32)])
        average.on_train_batch_end(step)


def test_the_average_of_one_weight_is_the_closed_form() -> None:
    model = make_model()
    average = WeightAverage(model, 0.25)
    follow(average, model, [2.0, 5.0, -1.0, 4.0])
    # Momentum 1/10, 2/11, 3/12, then 0.25: t / (t + 9) reaches 0.25 at t = 3.
    expected = 1.0
    for weight, momentum in zip([2.0, 5.0, -1.0, 4.0], [1 / 10, 2 / 11, 0.25, 0.25], strict=True):
        expected = momentum * expected + (1 - momentum) * weight
    average.on_test_begin()
    assert float(model.get_weights()[0][0, 0]) == pytest.approx(expected, rel=1e-6)


def test_after_the_epoch_training_goes_on_from_its_own_weights() -> None:
    model = make_model()
    average = WeightAverage(model, 0.9)
    follow(average, model, [2.0, 5.0])
    average.on_test_begin()
    assert float(model.get_weights()[0][0, 0]) != 5.0
    average.on_epoch_end(0)
    assert float(model.get_weights()[0][0, 0]) == 5.0


def test_its_variables_are_all_its_state() -> None:
    steps = [2.0, 5.0, -1.0, 4.0, 3.0]
    model = make_model()
    whole = WeightAverage(model, 0.9)
    follow(whole, model, steps)
    model.set_weights([np.ones([1, 1], np.float32)])
    first = WeightAverage(model, 0.9)
    follow(first, model, steps[:2])
    second = WeightAverage(model, 0.9)
    for variable, value in zip(second.variables, first.variables, strict=True):
        variable.assign(value)
    follow(second, model, steps[2:])
    for variable, value in zip(second.variables, whole.variables, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value.numpy())


def test_statistics_of_batch_normalisation_are_averaged_too() -> None:
    norm = keras.layers.BatchNormalization()
    model = keras.Sequential([keras.Input([1]), norm])
    average = WeightAverage(model, 0.5)
    average.set_model(model)
    norm.moving_mean.assign([10.0])
    average.on_train_batch_end(0)
    average.on_test_begin()
    assert float(norm.moving_mean.numpy()[0]) == pytest.approx(9.0)  # momentum 1/10 after step 1
