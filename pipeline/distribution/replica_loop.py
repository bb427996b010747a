"""A training loop for any strategy of `tf.distribute`.

Keras 3.15 cannot `fit` on several machines (keras-team/keras#20585: it averages what a step returns
over an axis that scalars do not have). Its steps can: what is done here around them is what `fit`
does, with the same callbacks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from pipeline.distribution.workers import local_replicas


class TimedBatches:
    """Batches, and how long whoever takes them has waited.

    Args:
        dataset: Endless batches; they are prefetched here.

    Attributes:
        element_spec: Of the dataset.
    """

    def __init__(self, dataset: tf.data.Dataset) -> None:
        self.element_spec = dataset.element_spec
        self._batches = iter(dataset.prefetch(tf.data.AUTOTUNE))
        self._seconds = 0.0

    def take(self) -> Any:
        """The next batch."""
        started = time.monotonic()
        batch = next(self._batches)
        self._seconds += time.monotonic() - started
        return batch

    def take_seconds(self) -> float:
        """Seconds waited since the last call, or since the start; sets them back to 0."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds


def fit_on_replicas(
    model: keras.Model,
    training: TimedBatches,
    validation: tf.data.Dataset,
    *,
    callbacks: Sequence[keras.callbacks.Callback],
    steps_per_epoch: int,
    initial_epoch: int,
    epochs: int,
) -> None:
    """Does what `model.fit` does, under the strategy in force; all workers call it alike.

    A worker's batch is shared out equally among its replicas. Every replica judges all validation
    pictures, batch by batch, so that the figures are those of one machine whatever the size of the
    last batch.

    Args:
        model: A compiled model whose variables belong to the strategy.
        training: Endless `(x, y)`: this worker's share of the batches.
        validation: Finite `(x, y)`, the same for all workers.
        callbacks: As `fit` takes them; those that write do so in every worker.
        steps_per_epoch: Batches an epoch.
        initial_epoch: Epochs that are done.
        epochs: The number of the last one.
    """
    # `fit` would build the metrics from a batch, which is what fails on several machines.
    model._symbolic_build(data_batch=training.element_spec)
    train = _make_function(model.train_step, training.element_spec, share=_take_share)
    judge = _make_function(model.test_step, validation.element_spec, share=lambda batch: batch)
    listeners = keras.callbacks.CallbackList(
        list(callbacks), model=model, epochs=epochs, steps=steps_per_epoch
    )
    model.stop_training = False
    listeners.on_train_begin()
    logs: dict[str, float] = {}
    for epoch in range(initial_epoch, epochs):
        model.reset_metrics()
        listeners.on_epoch_begin(epoch)
        for step in range(steps_per_epoch):
            listeners.on_train_batch_begin(step)
            train(training.take())
            listeners.on_train_batch_end(step)
        logs = _results(model)
        validated = _validate(model, judge, validation, listeners)
        logs.update({f"val_{name}": value for name, value in validated.items()})
        listeners.on_epoch_end(epoch, logs)
        if model.stop_training:
            break
    listeners.on_train_end(logs)


def _validate(
    model: keras.Model,
    judge: Callable[[Any], None],
    validation: tf.data.Dataset,
    listeners: keras.callbacks.CallbackList,
) -> dict[str, float]:
    listeners.on_test_begin()
    model.reset_metrics()
    for step, batch in enumerate(validation):
        listeners.on_test_batch_begin(step)
        judge(batch)
        listeners.on_test_batch_end(step)
    logs = _results(model)
    listeners.on_test_end(logs)
    return logs


def _make_function(
    step: Callable[[Any], Any], spec: Any, *, share: Callable[[Any], Any]
) -> Callable[[Any], None]:
    strategy = tf.distribute.get_strategy()

    def on_replica(batch: Any) -> None:
        step(share(batch))

    # The signature keeps sizes open that are open in the dataset, as they are for `fit`: by them
    # Keras decides how much a batch counts in the mean.
    @tf.function(input_signature=[spec], autograph=False)
    def function(batch: Any) -> None:
        strategy.run(on_replica, args=(batch,))

    return function


def _take_share(batch: Any) -> Any:
    """The rows of a worker's batch that this replica is to see."""
    replicas = local_replicas()
    if replicas == 1:
        return batch
    context = tf.distribute.get_replica_context()
    rank = int(tf.get_static_value(context.replica_id_in_sync_group)) % replicas

    def take(values: tf.Tensor) -> tf.Tensor:
        rows = values.shape[0] // replicas
        return values[rank * rows : (rank + 1) * rows]

    return tf.nest.map_structure(take, batch)


def _results(model: keras.Model) -> dict[str, float]:
    return {name: float(value) for name, value in model.get_metrics_result().items()}


class ReplicaLossScale(keras.optimizers.LossScaleOptimizer):
    """A loss scale that all replicas lower together, as soon as one of them overflows.

    Keras 3.15 looks at one replica's gradients before they are added up, each worker at its own.
    """

    def check_finite(self, grads: Sequence[tf.Tensor | None]) -> tf.Tensor:
        """Whether all gradients of all replicas are finite, bool `[]`."""
        is_finite = super().check_finite(grads)
        context = tf.distribute.get_replica_context()
        if context is None or context.num_replicas_in_sync == 1:
            return is_finite
        infinite = context.all_reduce("SUM", tf.cast(~is_finite, tf.float32))
        return infinite < 0.5
