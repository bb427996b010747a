"""Training on top of a frozen trunk: the head, then the upper blocks too, then perhaps everything.

The model comes in parts that share its weights: the trunk (frozen, runs once over every view), the
blocks above it, and the head.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy.typing as npt
import tensorflow as tf

from pipeline.inputs.batches import make_table_dataset
from pipeline.inputs.feature_table import FeatureTable
from pipeline.inputs.pictures import PictureTable
from pipeline.inputs.training_pictures import TrainingPictures, join_batches
from pipeline.training.fitting import run_phase
from pipeline.training.frozen_graph import FrozenGraph
from pipeline.training.phases import Phase, PhaseOutcome
from pipeline.training.plan import TrainingPlan
from pipeline.training.run import TrainingRun
from pipeline.training.trunk_cache import BATCH_SIZE
from pipeline.training.trunk_features import first_augmented, read_through_trunk, without_boxes

# Pooled features differ little from picture to picture: at 1e-3 a linear layer was far from done
# after 20 epochs.
HEAD_LEARNING_RATE = 1e-2
# Of that of the upper blocks: what a pass over many pictures has learned is to be kept.
FULL_LEARNING_RATE_FRACTION = 0.01
# The upper blocks see some 40 steps an epoch; at Keras' 0.99 their statistics lag behind.
BATCH_NORM_MOMENTUM = 0.9

_SHOWN = 8  # augmented pictures in TensorBoard
# Of a step, against one of fine-tuning, as seen with Xception at 200 x 200.
_HEAD_EFFORT, _FULL_EFFORT = 0.01, 10.0


@dataclass(frozen=True)
class BackboneParts:
    """One model cut in three; each part takes what the one before gives.

    Attributes:
        trunk: From pictures to the features that fine-tuning starts from.
        blocks: The blocks that fine-tuning trains, without the head.
        head: From their features to logits.
        upper: `blocks` and `head` in one.
        whole: All three in one: what `run` of `train_backbone` was opened with.
    """

    trunk: keras.Model
    blocks: keras.Model
    head: keras.Model
    upper: keras.Model
    whole: keras.Model


def plan_phases(plan: TrainingPlan) -> list[Phase]:
    """The phases in order: `head`, `fine-tune`, `full`, without those of no epochs."""
    fine, full = plan.learning_rate, plan.learning_rate * FULL_LEARNING_RATE_FRACTION
    make = functools.partial(
        Phase, steps_per_epoch=plan.steps_per_epoch, scale=math.log(len(plan.classes))
    )
    make_upper = functools.partial(
        make, weight_average=plan.weight_average, weight_decay=plan.weight_decay
    )
    phases = (
        make("head", plan.pretrain_epochs, learning_rate=HEAD_LEARNING_RATE, effort=_HEAD_EFFORT),
        make_upper("fine-tune", plan.epochs, learning_rate=fine),
        make_upper("full", plan.full_epochs, learning_rate=full, effort=_FULL_EFFORT),
    )
    return [phase for phase in phases if phase.epochs]


def train_backbone(
    parts: BackboneParts,
    training: TrainingPictures,
    validation: PictureTable,
    *,
    plan: TrainingPlan,
    cache_dir: Path,
    loss: keras.losses.Loss,
    run: TrainingRun,
) -> list[PhaseOutcome]:
    """Trains in place: the head, then the upper blocks too, then everything.

    Args:
        parts: The model.
        training: What to train on; pictures without a label are left out.
        validation: Pictures to watch.
        plan: What to do. Fewer views are taken than it says where space is short.
        cache_dir: Where the trunk's answers are kept; `<model>/trunk` for later trainings, too.
        loss: Classification loss.
        run: The training, opened with `parts.whole`.
    """
    phases = plan_phases(plan)
    run.announce(phases)
    if plan.epochs:
        # Also when fine-tuning was finished before an interruption: the model keeps it.
        for norm in _norms(parts.blocks):
            norm.momentum = BATCH_NORM_MOMENTUM
    labelled = tuple(part.labelled for part in training.divided())
    work = _BackboneTraining(parts, labelled, validation, plan, cache_dir, loss, run)
    steps = {"head": work.head, "fine-tune": work.fine_tune, "full": work.full}
    # A finished phase is not asked for its data: the trunk may have changed since.
    return [run.outcome(phase.name) or steps[phase.name](phase) for phase in phases]


@dataclass(frozen=True)
class _BackboneTraining:
    parts: BackboneParts
    training: tuple[TrainingPictures, ...]
    validation: PictureTable
    plan: TrainingPlan
    cache_dir: Path
    loss: keras.losses.Loss
    run: TrainingRun

    def head(self, phase: Phase) -> PhaseOutcome:
        blocks = FrozenGraph(self.parts.blocks)
        known, held_out = self._features
        pooled = [table.through(blocks) for table in known]
        return self._run_features(self.parts.head, pooled, held_out.through(blocks), phase)

    def fine_tune(self, phase: Phase) -> PhaseOutcome:
        return self._run_features(self.parts.upper, *self._features, phase)

    def full(self, phase: Phase) -> PhaseOutcome:
        def batches(first_step: int) -> tf.data.Dataset:
            drawn = join_batches([part.make_dataset(first_step) for part in self.training])
            return drawn.map(without_boxes)

        # Inference mode: a few epochs at a low rate could not make up for other statistics.
        frozen = _norms(self.parts.trunk)
        for norm in frozen:
            norm.trainable = False
        try:
            return run_phase(
                self.parts.whole,
                batches,
                make_table_dataset(self.validation, batch_size=BATCH_SIZE).map(without_boxes),
                phase=phase,
                loss=self.loss,
                metrics=["accuracy"],
                run=self.run,
                pictures=self._pictures,
            )
        finally:
            for norm in frozen:
                norm.trainable = True

    def _run_features(
        self,
        model: keras.Model,
        known: Sequence[FeatureTable],
        held_out: FeatureTable,
        phase: Phase,
    ) -> PhaseOutcome:
        def batches(first_step: int) -> tf.data.Dataset:
            return join_batches(
                [
                    table.make_training_dataset(
                        part.batch_size, seed=part.seed, first_step=first_step
                    )
                    for part, table in zip(self.training, known, strict=True)
                ]
            )

        return run_phase(
            model,
            batches,
            held_out.make_dataset(self.plan.batch_size),
            phase=phase,
            loss=self.loss,
            metrics=["accuracy"],
            run=self.run,
            pictures=self._pictures,
        )

    @functools.cached_property
    def _features(self) -> tuple[list[FeatureTable], FeatureTable]:
        return read_through_trunk(
            self.parts.trunk,
            self.training,
            self.validation,
            plan=self.plan,
            cache_dir=self.cache_dir,
        )

    def _pictures(self) -> dict[str, npt.ArrayLike]:
        return {"augmented": first_augmented(self.training[0])[:_SHOWN]}


def _norms(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    return [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
