from __future__ import annotations

import pytest

from pipeline.training.phases import Phase
from pipeline.training.progress import describe_epoch, seconds_left

HEAD = Phase("head", epochs=10, steps_per_epoch=20, learning_rate=0.1, effort=0.5)
UPPER = Phase("upper", epochs=4, steps_per_epoch=20, learning_rate=0.1)
FULL = Phase("full", epochs=1, steps_per_epoch=40, learning_rate=0.1, effort=3.0)


def test_time_left_counts_the_phases_to_come_by_their_effort() -> None:
    # 5 s for 20 steps of half the effort: 0.5 s a step of effort 1.
    left = seconds_left([HEAD, UPPER, FULL], current=HEAD, epochs_done=8, epoch_seconds=5.0)
    assert left == pytest.approx(2 * 5.0 + 4 * 20 * 0.5 + 40 * 3.0 * 0.5)


def test_the_last_epoch_of_the_last_phase_leaves_nothing() -> None:
    assert seconds_left([HEAD, UPPER], current=UPPER, epochs_done=4, epoch_seconds=5.0) == 0
    assert seconds_left([HEAD, UPPER], current=UPPER, epochs_done=1, epoch_seconds=5.0) == 15


def test_the_line_on_an_epoch_says_losses_time_and_time_left() -> None:
    values = {"seconds": 8.12, "learning_rate": 0.1, "loss": 0.5, "logits_loss": 0.3,
              "val_loss": 0.25, "val_accuracy": 0.975}  # fmt: skip
    assert describe_epoch(UPPER, 2, values, left=3725.0) == (
        "upper 2/4: loss 0.5000, val loss 0.2500, val accuracy 0.9750; 8.1 s, at most 1:02:05 left"
    )
