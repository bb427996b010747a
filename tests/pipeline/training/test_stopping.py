from __future__ import annotations

import json
import math

import keras
import pytest

from pipeline.training.stopping import FluctuationStopping


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


def test_a_loss_that_is_no_number_is_the_reason_whatever_the_fluctuation() -> None:
    stopping, _, _ = replay([1.0, 0.9, 0.8, math.inf], window=2)
    assert stopping.reason == "val_loss is inf"


def test_a_rule_that_goes_on_ends_as_one_that_was_not_interrupted() -> None:
    losses = [1.0, 0.5, 0.4, 0.6, 0.6, 0.6]
    for cut in range(1, 5):
        whole, model, _ = replay(losses, patience=3)
        first, _, _ = replay(losses[:cut], patience=3)
        second = FluctuationStopping(patience=3)
        second.restore(json.loads(json.dumps(first.facts())), first.best_weights)
        second.set_model(model)
        model.stop_training = False
        for epoch, loss in list(enumerate(losses))[cut:]:
            model.number.assign(epoch + 1)
            second.on_epoch_end(epoch, {"val_loss": loss})
            if model.stop_training:
                break
        assert second.facts() == whole.facts()
        assert (second.best_epoch, second.best_value) == (3, 0.4)
        assert second.best_weights == whole.best_weights
        assert second.stopped


def test_a_rule_that_saw_no_number_has_no_best() -> None:
    broken, _, _ = replay([math.nan])
    again = FluctuationStopping()
    again.restore(json.loads(json.dumps(broken.facts())), broken.best_weights)
    assert (again.best_epoch, again.stopped, again.epochs_run) == (0, True, 1)
    assert again.reason == "val_loss is nan"
