from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.distribution.replica_loop import TimedBatches, fit_on_replicas

REPOSITORY = Path(__file__).resolve().parents[3]
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def batches(count: int | None, first: int = 0, rows: int = 6) -> tf.data.Dataset:
    def draw(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x = tf.random.stateless_normal([rows, 3], tf.stack([tf.constant(1, tf.int64), step]))
        return x, tf.cast(x[:, 0] > 0, tf.int64)

    steps = tf.data.Dataset.counter(first)
    return steps.map(draw) if count is None else steps.take(count).map(draw)


class Heard(keras.callbacks.Callback):
    """Notes what it is told, and the weights at that time."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[object, ...]] = []
        self.logs: list[dict[str, float]] = []

    def note(self, *call: object) -> None:
        self.calls.append((*call, float(self.model.get_weights()[0].sum())))

    def on_train_begin(self, logs: object = None) -> None:
        self.note("train begins")

    def on_train_end(self, logs: object = None) -> None:
        self.note("train ends")

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        self.note("epoch begins", epoch)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.note("epoch ends", epoch)
        self.logs.append({name: float(value) for name, value in (logs or {}).items()})
        if epoch == 3:
            self.model.stop_training = True

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        self.note("batch ends", batch)

    def on_test_begin(self, logs: object = None) -> None:
        self.note("test begins")

    def on_test_end(self, logs: object = None) -> None:
        self.note("test ends")


def build() -> keras.Model:
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input([3]),
            keras.layers.Dense(8, kernel_regularizer=keras.regularizers.L2(0.01)),
            keras.layers.BatchNormalization(momentum=0.9),
            keras.layers.ReLU(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(2),
        ]
    )
    model.compile(keras.optimizers.AdamW(0.02, weight_decay=0.1), LOSS, metrics=["accuracy"])
    return model


def test_the_loop_does_what_fit_does() -> None:
    # Of validation rows the last batch holds fewer.
    validation = batches(3, 10**6).unbatch().batch(7)
    plain, looped = build(), build()
    heard = Heard(), Heard()
    plain.fit(
        batches(None, 8), steps_per_epoch=4, initial_epoch=2, epochs=6, validation_data=validation,
        callbacks=[heard[0]], shuffle=False, verbose=0,
    )  # fmt: skip
    fit_on_replicas(
        looped,
        TimedBatches(batches(None, 8)),
        validation,
        callbacks=[heard[1]],
        steps_per_epoch=4,
        initial_epoch=2,
        epochs=6,
    )
    assert len(heard[0].logs) == 2
    for wanted, found in zip(heard[0].logs, heard[1].logs, strict=True):
        assert found == pytest.approx(wanted, abs=1e-5)
    for call, other in zip(heard[0].calls, heard[1].calls, strict=True):
        assert call[:-1] == other[:-1]
        assert call[-1] == pytest.approx(other[-1], abs=1e-4)
    for weight, wanted_weight in zip(looped.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(weight, wanted_weight, atol=1e-5)


def test_nothing_is_trained_when_all_epochs_are_done() -> None:
    model, heard = build(), Heard()
    before = model.get_weights()
    fit_on_replicas(
        model, TimedBatches(batches(None)), batches(1), callbacks=[heard], steps_per_epoch=4,
        initial_epoch=2, epochs=2,
    )  # fmt: skip
    assert [call[0] for call in heard.calls] == ["train begins", "train ends"]
    for weight, wanted in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, wanted)


def test_waiting_is_counted_until_it_is_asked_for() -> None:
    timed = TimedBatches(batches(None, 5))
    first = timed.take()
    np.testing.assert_array_equal(first[0], next(iter(batches(1, 5)))[0])
    assert timed.take_seconds() > 0
    assert timed.take_seconds() == 0


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `two_replicas.py` wrote."""
    folder = tmp_path_factory.mktemp("replicas")
    done = subprocess.run(
        [sys.executable, "tests/pipeline/distribution/two_replicas.py", str(folder)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def history(folder: Path) -> list[dict[str, float]]:
    with (folder / "autoencoder" / "checkpoint" / "history.csv").open() as file:
        return [
            {k: float(v) for k, v in row.items()
             if v and k not in ("phase", "seconds", "input_wait_fraction")}
            for row in csv.DictReader(file)
        ]  # fmt: skip


def test_replicas_train_as_one_machine_does(replicas: Path) -> None:
    wanted, found = history(replicas / "fit"), history(replicas / "two")
    assert len(wanted) == 3
    assert wanted[-1]["loss"] < wanted[0]["loss"]
    for row, other in zip(wanted, found, strict=True):
        assert other == pytest.approx(row, abs=1e-4)
    weights = [np.load(replicas / f"{name}.npy") for name in ("fit", "two")]
    assert np.abs(weights[0]).max() > 1
    np.testing.assert_allclose(weights[1], weights[0], atol=1e-4)


def test_replicas_lower_the_scale_of_the_loss_together(replicas: Path) -> None:
    assert np.load(replicas / "overflow.npy").tolist() == [1.0, 4.0]
