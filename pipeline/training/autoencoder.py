"""Training of the supervised autoencoder: reconstruct first, then reconstruct and classify."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pipeline.distribution.workers import sum_over_workers
from pipeline.inputs.corruption import corrupt
from pipeline.inputs.evidence import find_boxed_classes, make_evidence
from pipeline.inputs.operations import without_window
from pipeline.inputs.training_pictures import TrainingPictures, join_batches
from pipeline.training.fitting import run_phase
from pipeline.training.phases import Phase, PhaseOutcome
from pipeline.training.plan import TrainingPlan
from pipeline.training.run import TrainingRun

_PICTURES_SHOWN = 8
# After windows: what a whole picture's features are like is learned soon, and nothing else is to
# be forgotten for it.
_WHOLE_SHARE = 0.1
_WHOLE_RATE = 0.1


@dataclass(frozen=True)
class AutoencoderLosses:
    """The losses of the joint objective, made by the stage from `models.losses`.

    Attributes:
        classification: Passes over pictures whose label is -1.
        classification_of_pictures: The same of each picture by itself, `[batch]`.
        evidence: Passes over pictures whose cells hold -1.
        reconstruction: Of pictures, 0 to 255.
        evidence_weight: Its weight in the sum; that of the classification is 1.
        reconstruction_weight: Likewise.
    """

    classification: keras.losses.Loss
    classification_of_pictures: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    evidence: keras.losses.Loss
    reconstruction: keras.losses.Loss
    evidence_weight: float
    reconstruction_weight: float


def make_phases(plan: TrainingPlan) -> list[Phase]:
    """Pretraining at half the rate, joint training, and after windows some on whole pictures.

    Those without an epoch are left out.
    """
    pretrain = Phase(
        name="pretrain",
        epochs=plan.pretrain_epochs,
        steps_per_epoch=plan.steps_per_epoch,
        learning_rate=plan.learning_rate / 2,
        weight_average=plan.weight_average,
        weight_decay=plan.weight_decay,
    )
    joint = dataclasses.replace(
        pretrain,
        name="joint",
        epochs=plan.epochs,
        learning_rate=plan.learning_rate,
        monitor="val_logits_mean",
        scale=math.log(len(plan.classes)),
    )
    if not plan.window_px:
        return [phase for phase in (pretrain, joint) if phase.epochs]
    whole = dataclasses.replace(
        joint,
        name="whole pictures",
        epochs=math.ceil(plan.epochs * _WHOLE_SHARE),
        learning_rate=plan.learning_rate * _WHOLE_RATE,
        effort=(plan.image_size / plan.window_px) ** 2,
    )
    if plan.box_classes and plan.evidence_weight:
        # A head that knows windows finds too much in whole pictures, the more the better it gets;
        # what a cell holds is the same question in both.
        joint = dataclasses.replace(joint, monitor="val_evidence_loss", scale=2 * math.log(2))
    return [phase for phase in (pretrain, joint, whole) if phase.epochs]


def train_autoencoder(
    model: keras.Model,
    reconstructor: keras.Model,
    *,
    cell_px: int,
    training: TrainingPictures,
    validation: tf.data.Dataset,
    losses: AutoencoderLosses,
    plan: TrainingPlan,
    run: TrainingRun,
) -> list[PhaseOutcome]:
    """Trains in place: reconstruction alone, then all losses together.

    Args:
        model: With outputs `logits`, `evidence` and `reconstruction`; for pictures of any size if
            there are windows to train on.
        reconstructor: Its encoder and decoder, sharing the weights.
        cell_px: Side of a cell of the evidence in pixels.
        training: Pictures to train on.
        validation: Finite `(images, labels, boxes, box_labels)`, whole pictures.
        losses: The losses.
        plan: How long and how.
        run: The training this is.
    """
    phases = make_phases(plan)
    run.announce(phases)
    work = _AutoencoderTraining(
        *(model, reconstructor, cell_px, training, validation, losses, plan, run)
    )
    steps = {"pretrain": work.pretrain, "joint": work.joint, "whole pictures": work.whole}
    return [steps[phase.name](phase) for phase in phases]


@dataclass(frozen=True)
class _AutoencoderTraining:
    model: keras.Model
    reconstructor: keras.Model
    cell_px: int
    training: TrainingPictures
    validation: tf.data.Dataset
    losses: AutoencoderLosses
    plan: TrainingPlan
    run: TrainingRun

    def pretrain(self, phase: Phase) -> PhaseOutcome:
        return run_phase(
            self.reconstructor,
            functools.partial(_make_corrupted, self.training, self.plan.pretraining),
            self.validation.map(lambda images, *_: (images, images)),
            phase=phase,
            loss=self.losses.reconstruction,
            run=self.run,
            pictures=functools.partial(self._pictures, self.training),
        )

    def whole(self, phase: Phase) -> PhaseOutcome:
        operations = without_window(self.training.operations)
        return self._classify(phase, dataclasses.replace(self.training, operations=operations))

    def joint(self, phase: Phase) -> PhaseOutcome:
        return self._classify(phase, self.training)

    def _classify(self, phase: Phase, training: TrainingPictures) -> PhaseOutcome:
        losses, labelled = self.losses, training.labelled_table
        has_boxes = find_boxed_classes(
            labelled.labels, labelled.boxes, classes=len(self.plan.classes)
        )
        with_targets = functools.partial(
            _with_targets,
            cell_px=self.cell_px,
            box_classes=self.model.output["evidence"].shape[-1],
            is_boxed=sum_over_workers(has_boxes.astype(np.int64)) > 0,
        )
        return run_phase(
            self.model,
            lambda first_step: training.make_labelled_dataset(first_step).map(with_targets),
            self.validation.map(with_targets),
            phase=phase,
            loss={
                "logits": losses.classification,
                "evidence": losses.evidence,
                "reconstruction": losses.reconstruction,
            },
            loss_weights={
                "logits": 1.0,
                "evidence": losses.evidence_weight,
                "reconstruction": losses.reconstruction_weight,
            },
            metrics={
                "logits": [
                    MeanOverLabelled(keras.metrics.sparse_categorical_accuracy, name="accuracy"),
                    MeanOverLabelled(losses.classification_of_pictures, name="mean"),
                ],
                "reconstruction": keras.metrics.MeanMetricWrapper(
                    losses.reconstruction.call, name="mean"
                ),
            },
            run=self.run,
            pictures=functools.partial(self._pictures, training),
        )

    def _pictures(self, training: TrainingPictures) -> dict[str, npt.NDArray[np.float32]]:
        """What TensorBoard shows: augmented pictures, and others above their reconstructions."""
        augmented, originals = (
            next(iter(dataset.take(1).as_numpy_iterator()))[0][:_PICTURES_SHOWN]
            for dataset in (training.make_dataset(), self.validation)
        )
        seen = np.asarray(self.reconstructor(originals, training=False), np.float32)
        return {
            "augmented": augmented,
            "reconstruction": np.concatenate([originals, seen], axis=1),
        }


class MeanOverLabelled(keras.metrics.MeanMetricWrapper):
    """Mean of a function over all pictures whose label is known, that is at least 0.

    Keras reports the loss of an output as the mean of its batches, so that in a last batch of 8
    pictures each counts 8 times as much as in one of 64. A metric counts pictures.
    """

    def update_state(self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: Any = None) -> Any:
        """Takes in one batch."""
        known = tf.cast(tf.reshape(y_true, [-1]) >= 0, tf.float32)
        return super().update_state(y_true, y_pred, sample_weight=known)


@tf.autograph.experimental.do_not_convert
def _with_targets(
    images: tf.Tensor,
    labels: tf.Tensor,
    boxes: tf.Tensor,
    box_labels: tf.Tensor,
    *,
    cell_px: int,
    **facts: Any,
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    cells = images.shape[1] // cell_px
    evidence = make_evidence(labels, boxes, box_labels, cells=cells, **facts)
    return images, {"logits": labels, "evidence": evidence, "reconstruction": images}


def _make_corrupted(training: TrainingPictures, kind: str, first_step: int) -> tf.data.Dataset:
    """Endless `(corrupted images, images)`."""

    def make(part: TrainingPictures) -> tf.data.Dataset:
        steps = tf.data.Dataset.counter(first_step)
        seed = tf.constant(part.seed, tf.int64)
        return tf.data.Dataset.zip(part.make_dataset(first_step), steps).map(
            lambda batch, step: (corrupt(kind, batch[0], tf.stack([seed, step])), batch[0]),
            num_parallel_calls=tf.data.AUTOTUNE,
        )

    return join_batches([make(part) for part in training.divided()])
