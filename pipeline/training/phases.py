"""What a phase of training is to do, and what it did."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Phase:
    """What one phase is to do.

    Attributes:
        name: Stands in `history.csv`; no two phases of a training have the same.
        epochs: At most.
        steps_per_epoch: Batches an epoch.
        learning_rate: Peak; reached after a tenth of all steps, then a half cosine down to 0.
        monitor: What is watched on the validation split; the weights with its minimum are kept.
        scale: The watched loss of a model that knows nothing; fluctuation is measured against it.
        weight_average: Momentum of the moving average of the weights, which is then what is
            validated and kept; 0: none.
        weight_decay: Share of a weight that AdamW takes off a step, times the learning rate;
            0: Adam.
        effort: Time of a step relative to the other phases; says how long they may last.
    """

    name: str
    epochs: int
    steps_per_epoch: int
    learning_rate: float
    monitor: str = "val_loss"
    scale: float = 1.0
    weight_average: float = 0.0
    weight_decay: float = 0.0
    effort: float = 1.0


@dataclass(frozen=True)
class PhaseOutcome:
    """What one phase did: written to `config.json`.

    Attributes:
        name: As in `Phase`.
        epochs_run: Epochs it took, the one that stopped it included.
        best_epoch: The epoch whose weights were kept, from 1.
        best_value: What was watched, in that epoch.
        stopped: Why it ended, in words.
        seconds: Time of its epochs, validation included.
    """

    name: str
    epochs_run: int
    best_epoch: int
    best_value: float
    stopped: str
    seconds: float = 0.0
