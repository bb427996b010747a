"""Training of the supervised autoencoder: reconstruct first, then reconstruct and classify."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import keras
import tensorflow as tf

from pipeline.training import HistoryWriter, Phase, PhaseOutcome, run_phase

RECONSTRUCTION_WEIGHT = 0.5


@dataclass(frozen=True)
class AutoencoderLosses:
    """The two losses of the joint objective, made by the stage from `models.losses`."""

    classification: keras.losses.Loss
    reconstruction: keras.losses.Loss


def train_autoencoder(
    model: keras.Model,
    reconstructor: keras.Model,
    training: tf.data.Dataset,
    validation: tf.data.Dataset,
    *,
    losses: AutoencoderLosses,
    epochs: Sequence[int],
    steps_per_epoch: int,
    learning_rate: float,
    classes: int,
    history: HistoryWriter,
) -> list[PhaseOutcome]:
    """Trains in place: reconstruction alone, then both losses together.

    Args:
        model: With outputs `logits` and `reconstruction`.
        reconstructor: Its encoder and decoder, sharing the weights.
        training: Endless `(images, labels)`.
        validation: Finite `(images, labels)`.
        losses: The two losses.
        epochs: Of pretraining and of joint training; a phase of 0 epochs is left out.
        steps_per_epoch: Batches an epoch.
        learning_rate: Peak of joint training; pretraining takes half of it.
        classes: Number of classes.
        history: Records every epoch.
    """
    outcomes = []
    if epochs[0]:
        outcomes.append(
            run_phase(
                reconstructor,
                training.map(lambda images, labels: (images, images)),
                validation.map(lambda images, labels: (images, images)),
                phase=Phase("pretrain", epochs[0], steps_per_epoch, learning_rate / 2),
                loss=losses.reconstruction,
                history=history,
            )
        )
    joint = Phase(
        "joint", epochs[1], steps_per_epoch, learning_rate, "val_logits_mean", math.log(classes)
    )
    outcomes.append(
        run_phase(
            model,
            training.map(_with_both_targets),
            validation.map(_with_both_targets),
            phase=joint,
            loss={"logits": losses.classification, "reconstruction": losses.reconstruction},
            loss_weights={"logits": 1.0, "reconstruction": RECONSTRUCTION_WEIGHT},
            metrics={
                "logits": ["accuracy", _mean_of(losses.classification)],
                "reconstruction": _mean_of(losses.reconstruction),
            },
            history=history,
        )
    )
    return outcomes


def _mean_of(loss: keras.losses.Loss) -> keras.metrics.Metric:
    # Keras reports the loss of an output as the mean of its batches, so that in a last batch of 8
    # pictures each counts 8 times as much as in one of 64. A metric counts pictures.
    return keras.metrics.MeanMetricWrapper(loss.call, name="mean")


def _with_both_targets(
    images: tf.Tensor, labels: tf.Tensor
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    return images, {"logits": labels, "reconstruction": images}
