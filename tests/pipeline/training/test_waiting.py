from __future__ import annotations

import time

import keras
import numpy as np
import tensorflow as tf

from pipeline.training.waiting import WaitMeter


def slow_batches(seconds: float) -> tf.data.Dataset:
    def prepare(number: np.ndarray) -> np.ndarray:
        time.sleep(seconds)
        return np.full([1, 1], number, np.float32)

    numbers = tf.data.Dataset.range(1_000_000)
    batches = numbers.map(lambda n: tf.numpy_function(prepare, [n], tf.float32))
    return batches.map(lambda x: (tf.ensure_shape(x, [1, 1]), tf.ensure_shape(x, [1, 1])))


def waited_share(*, preparing: float, working: float, steps: int = 20) -> float:
    """Share of the time of `steps` steps; the first is not counted: nobody prepared it."""
    meter = WaitMeter(slow_batches(preparing))
    batches = iter(meter.dataset)
    next(batches)
    time.sleep(preparing)
    meter.take_seconds()
    started = time.monotonic()
    for _ in range(steps):
        time.sleep(working)
        next(batches)
    return meter.take_seconds() / (time.monotonic() - started)


def test_input_that_takes_twice_as_long_as_the_work_is_waited_for_half_the_time() -> None:
    share = waited_share(preparing=0.04, working=0.02)
    assert 0.35 < share < 0.6


def test_input_that_is_prepared_in_time_is_not_waited_for() -> None:
    assert waited_share(preparing=0.005, working=0.03) < 0.1


def test_the_batches_are_the_same_and_a_call_starts_anew() -> None:
    batches = tf.data.Dataset.from_tensor_slices(({"a": [1.0, 2.0]}, [3, 4])).batch(1)
    meter = WaitMeter(batches)
    assert meter.take_seconds() == 0.0
    seen = [(x["a"].tolist(), y.tolist()) for x, y in meter.dataset.as_numpy_iterator()]
    assert seen == [([1.0], [3]), ([2.0], [4])]
    assert meter.take_seconds() > 0.0
    assert meter.take_seconds() == 0.0
    assert meter.dataset.element_spec == batches.element_spec


def test_it_measures_inside_of_fit() -> None:
    meter = WaitMeter(slow_batches(0.05))
    model = keras.Sequential([keras.Input([1]), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(meter.dataset, steps_per_epoch=3, epochs=1, verbose=0, shuffle=False)
    meter.take_seconds()
    started = time.monotonic()
    model.fit(meter.dataset, steps_per_epoch=20, epochs=1, verbose=0, shuffle=False)
    assert 0.4 < meter.take_seconds() / (time.monotonic() - started) <= 1.0
