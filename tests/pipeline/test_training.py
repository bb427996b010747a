from __future__ import annotations

import csv
import math
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.autoencoder import build_autoencoder, reconstruction_model
from models.losses import ReconstructionLoss, WeightedCrossEntropy
from pipeline.autoencoder_training import (
    RECONSTRUCTION_WEIGHT,
    AutoencoderLosses,
    train_autoencoder,
)
from pipeline.stopping import FluctuationStopping
from pipeline.training import HistoryWriter, Phase, run_phase


class Weightless(keras.Model):
    """Holds one weight, which each epoch of a replayed training sets to the epoch's number."""

    def __init__(self) -> None:
        super().__init__()
        self.number = self.add_weight(shape=(), initializer="zeros")


def replay(losses: list[float], **options: float) -> tuple[FluctuationStopping, Weightless, int]:
    """Shows a stopping rule a history; returns the rule, the model and the epochs that were run."""
    stopping, model = FluctuationStopping(**options), Weightless()  # type: ignore[arg-type]
    stopping.set_model(model)
    model.stop_training = False
    stopping.on_train_begin()
    epochs = 0
    for epoch, loss in enumerate(losses):
        model.number.assign(epoch + 1)
        stopping.on_epoch_end(epoch, {"val_loss": loss})
        epochs += 1
        if model.stop_training:
            break
    stopping.on_train_end()
    return stopping, model, epochs


def test_a_falling_loss_runs_to_the_end_and_keeps_the_last() -> None:
    stopping, model, epochs = replay([1 / (n + 1) for n in range(30)], patience=3)
    assert (epochs, stopping.best_epoch, float(model.number)) == (30, 30, 30)
    assert stopping.reason == "ran all its epochs"


def test_no_improvement_stops_after_the_patience_and_restores() -> None:
    stopping, model, epochs = replay([1.0, 0.5, 0.6, 0.6, 0.6, 0.6], patience=3)
    assert (epochs, stopping.best_epoch, float(model.number)) == (5, 2, 2)
    assert stopping.best_value == 0.5
    assert "did not improve for 3 epochs" in stopping.reason


def test_fluctuation_is_the_mean_absolute_change_over_the_scale() -> None:
    stopping, _, _ = replay([0, 1, 0, 1, 0], window=4, bound=9, scale=2.0, patience=99)
    assert stopping.fluctuation() == 0.5
    stopping, _, _ = replay([5, 3, 2.5], window=2, bound=9, patience=99)
    assert stopping.fluctuation() == 1.25


def test_excessive_fluctuation_stops_even_when_it_improves() -> None:
    losses = [2, 4, 1.9, 4, 1.8, 4, 1.7, 4]
    stopping, model, epochs = replay(losses, window=4, bound=1.0, patience=99)
    assert (epochs, stopping.best_epoch, float(model.number)) == (5, 5, 5)
    assert "fluctuated by 2.10" in stopping.reason
    assert replay(losses, window=4, bound=2.5, patience=99)[2] == len(losses)


def test_a_window_not_yet_full_never_stops() -> None:
    assert replay([1, 100, 1, 100], window=4, bound=0.1, patience=99)[2] == 4


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_and_restores(broken: float) -> None:
    stopping, model, epochs = replay([1.0, 0.9, broken, 0.1])
    assert (epochs, stopping.best_epoch, float(model.number)) == (3, 2, 2)
    assert "val_loss is" in stopping.reason


def test_a_phase_learns_keeps_the_best_and_writes_the_history(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 3)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64)
    data = tf.data.Dataset.from_tensor_slices((x, y))
    model = keras.Sequential([keras.Input([3]), keras.layers.Dense(2)])
    history = HistoryWriter(tmp_path / "history.csv", tmp_path / "logs")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    outcomes = [
        run_phase(
            model,
            data.repeat().batch(16),
            data.batch(16),
            phase=Phase(name, 4, 4, 0.1),
            loss=loss,
            metrics=["accuracy"],
            history=history,
        )
        for name in ("first", "second")
    ]
    rows = list(csv.DictReader((tmp_path / "history.csv").open()))
    assert [row["phase"] for row in rows] == ["first"] * 4 + ["second"] * 4
    assert [row["epoch"] for row in rows] == [str(n) for n in range(1, 9)]
    assert float(rows[-1]["val_loss"]) < float(rows[0]["val_loss"]) / 2
    assert outcomes[1].epochs_run == 4
    best = min(float(row["val_loss"]) for row in rows[4:])
    assert outcomes[1].best_value == pytest.approx(best)
    assert float(loss(y, model(x))) == pytest.approx(best, abs=1e-5)
    assert list((tmp_path / "logs").glob("events.out.tfevents.*"))


def test_what_is_watched_is_the_mean_over_pictures_not_over_batches(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (9, 32, 32, 1)).astype(np.float32)
    labels = np.array([0] * 8 + [1])
    model = build_autoencoder(image_size=32, channels=1, classes=2, mean=127.0, variance=5000.0)
    losses = AutoencoderLosses(WeightedCrossEntropy([1.0, 3.0]), ReconstructionLoss(5000.0))
    data = tf.data.Dataset.from_tensor_slices((images, labels))
    outcomes = train_autoencoder(
        model,
        reconstruction_model(model),
        data.repeat().batch(3),
        data.batch(8),  # the last batch holds the one picture of class 1
        losses=losses,
        epochs=(0, 1),
        steps_per_epoch=1,
        learning_rate=1e-4,
        classes=2,
        history=HistoryWriter(tmp_path / "history.csv", tmp_path / "logs"),
    )
    outputs = model(images, training=False)
    expected = float(losses.classification(labels, outputs["logits"]))
    assert outcomes[0].best_value == pytest.approx(expected, rel=1e-4)
    (row,) = csv.DictReader((tmp_path / "history.csv").open())
    assert float(row["val_logits_loss"]) == pytest.approx(expected, rel=1e-4)
    error = float(losses.reconstruction(images, outputs["reconstruction"]))
    assert float(row["val_reconstruction_loss"]) == pytest.approx(error, rel=1e-4)
    total = expected + RECONSTRUCTION_WEIGHT * error
    assert float(row["val_loss"]) == pytest.approx(total, rel=1e-4)
