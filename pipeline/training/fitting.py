"""One phase of training: schedule, stopping, and everything that can be gone on from.

The phases of each model are put together in `pipeline.training.autoencoder` and
`pipeline.training.backbone`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from pipeline.distribution.replica_loop import ReplicaLossScale, TimedBatches, fit_on_replicas
from pipeline.training.checkpoint import values_of
from pipeline.training.phases import Phase, PhaseOutcome
from pipeline.training.progress import EpochBar
from pipeline.training.run import Pictures, TrainingRun
from pipeline.training.stopping import FluctuationStopping
from pipeline.training.waiting import WaitMeter
from pipeline.training.weight_average import WeightAverage
from records.errors import InputError

TrainingBatches = Callable[[int], tf.data.Dataset]
"""From the number of the first batch to take, to endless batches."""


def run_phase(
    model: keras.Model,
    training: TrainingBatches,
    validation: tf.data.Dataset,
    *,
    phase: Phase,
    loss: Any,
    run: TrainingRun,
    metrics: Any = None,
    loss_weights: Mapping[str, float] | None = None,
    pictures: Pictures | None = None,
) -> PhaseOutcome:
    """Fits `model` and leaves it with the best weights of the phase.

    A phase that was interrupted goes on after its last whole epoch and ends with the same weights
    as if nothing had been; one that was finished is not done again.

    Args:
        model: The model of `run`, or a part of it; is compiled anew here.
        training: Gives endless `(x, y)`; the batch of a step must not depend on the first one.
        validation: Finite batches `(x, y)`.
        phase: What to do.
        loss: As `keras.Model.compile` takes it.
        run: The training that the phase belongs to.
        metrics: As `compile` takes it.
        loss_weights: As `compile` takes it.
        pictures: What TensorBoard shows every few epochs: by name `[n, height, width, channels]`,
            0 to 255.

    Returns:
        What was done.

    Raises:
        InputError: The watched loss was never a finite number.
    """
    if (finished := run.outcome(phase.name)) is not None:
        return finished
    model.compile(
        optimizer=_make_optimizer(model, phase),
        loss=loss,
        loss_weights=loss_weights,
        metrics=metrics,
    )
    fitting = _Fitting(model, phase, run, pictures)
    first_epoch = fitting.restore()
    print(f"{phase.name}: up to {phase.epochs} epochs of {phase.steps_per_epoch} steps", flush=True)
    stopping = fitting.stopping
    _fit(
        model,
        training(first_epoch * phase.steps_per_epoch),
        validation,
        callbacks=fitting.callbacks,
        steps_per_epoch=phase.steps_per_epoch,
        initial_epoch=first_epoch,
        epochs=first_epoch if stopping.stopped else phase.epochs,
    )
    if not stopping.best_epoch:
        run.discard()
        raise InputError(
            f"The training diverged in the phase {phase.name}: {stopping.reason}.",
            "Give a larger --batch_size, a weaker --augment or another --seed.",
        )
    print(
        f"{phase.name}: {stopping.reason}; kept epoch {stopping.best_epoch} "
        f"({phase.monitor} {stopping.best_value:.4f})",
        flush=True,
    )
    return run.finish(
        PhaseOutcome(
            name=phase.name,
            epochs_run=stopping.epochs_run,
            best_epoch=stopping.best_epoch,
            best_value=stopping.best_value,
            stopped=stopping.reason,
        )
    )


def _fit(
    model: keras.Model,
    training: tf.data.Dataset,
    validation: tf.data.Dataset,
    *,
    callbacks: Callable[[WaitMeter | TimedBatches], Sequence[keras.callbacks.Callback]],
    **epochs: int,
) -> None:
    """Runs the epochs: by Keras, and by our own loop where there is a strategy."""
    if tf.distribute.has_strategy():
        batches = TimedBatches(training)
        fit_on_replicas(model, batches, validation, callbacks=callbacks(batches), **epochs)
        return
    meter = WaitMeter(training)
    model.fit(
        meter.dataset,
        validation_data=validation,
        callbacks=callbacks(meter),
        shuffle=False,
        verbose=0,
        **epochs,
    )


class _Fitting:
    """What takes part in one phase besides the model."""

    def __init__(
        self, model: keras.Model, phase: Phase, run: TrainingRun, pictures: Pictures | None
    ) -> None:
        self._model, self._phase, self._run, self._pictures = model, phase, run, pictures
        self.stopping = FluctuationStopping(monitor=phase.monitor, scale=phase.scale)
        self._average = WeightAverage(model, phase.weight_average) if phase.weight_average else None

    def restore(self) -> int:
        """Puts everything where an interruption left it; returns how many epochs are done."""
        state = self._run.restore_epoch(self._phase, self._variables())
        if state is None:
            return 0
        self.stopping.restore(state.facts["stopping"], list(state.arrays["best"]))
        epochs: int = state.facts["epoch"]
        return epochs

    def callbacks(self, meter: WaitMeter | TimedBatches) -> list[keras.callbacks.Callback]:
        """All callbacks. Up to the average they see what was validated, then what is trained."""
        recorder = _EpochRecorder(self._phase, self._run, meter, self._pictures)
        average = [self._average] if self._average else []
        saver = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, _: self._save(epoch + 1))
        return [EpochBar(self._phase), recorder, self.stopping, *average, saver]

    def _variables(self) -> dict[str, list[Any]]:
        return {
            "model": list(self._model.variables),
            "optimizer": list(self._model.optimizer.variables),
            "average": self._average.variables if self._average else [],
        }

    def _save(self, epoch: int) -> None:
        arrays = {name: values_of(variables) for name, variables in self._variables().items()}
        arrays["best"] = self.stopping.best_weights
        facts = {"stopping": self.stopping.facts()}
        self._run.save_epoch(self._phase, epoch, arrays, facts)


class _EpochRecorder(keras.callbacks.Callback):
    """Measures the epochs and hands them to the run."""

    def __init__(
        self,
        phase: Phase,
        run: TrainingRun,
        meter: WaitMeter | TimedBatches,
        pictures: Pictures | None,
    ) -> None:
        super().__init__()
        self._phase, self._run, self._meter, self._pictures = phase, run, meter, pictures

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._meter.take_seconds()
        self._started = time.monotonic()

    def on_test_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        self._waited_fraction = self._meter.take_seconds() / (time.monotonic() - self._started)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        row = {
            **(logs or {}),
            "seconds": round(time.monotonic() - self._started, 3),
            "input_wait_fraction": round(self._waited_fraction, 5),
            "learning_rate": float(self.model.optimizer.learning_rate),
        }
        self._run.record_epoch(self._phase, epoch + 1, row, self._pictures)


def _make_optimizer(model: keras.Model, phase: Phase) -> keras.optimizers.Optimizer:
    if phase.weight_decay:
        optimizer = keras.optimizers.AdamW(_schedule(phase), weight_decay=phase.weight_decay)
        # Scales and shifts are not what makes a model too complex.
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    else:
        optimizer = keras.optimizers.Adam(_schedule(phase))
    if any(layer.compute_dtype == "float16" for layer in model.layers):
        # Small gradients would be 0 in float16. Keras adds it by itself only where the policy is
        # that of the model, not that of its layers.
        optimizer = ReplicaLossScale(optimizer)
    optimizer.build(model.trainable_variables)
    return optimizer


def _schedule(phase: Phase) -> keras.optimizers.schedules.LearningRateSchedule:
    steps = phase.epochs * phase.steps_per_epoch
    warm_up = max(1, steps // 10)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        decay_steps=max(1, steps - warm_up),
        warmup_target=phase.learning_rate,
        warmup_steps=warm_up,
    )
