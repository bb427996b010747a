"""Stage `train`: from records to `model.keras` and everything a later stage must know of it."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from models import autoencoder, losses, registry, xception
from models.picture import decode_picture
from pipeline import inputs, plots, provenance
from pipeline.autoencoder_training import AutoencoderLosses, train_autoencoder
from pipeline.backbone_training import VIEWS, BackboneParts, train_backbone
from pipeline.config import Settings
from pipeline.modelfacts import ModelFacts, choose_fail_classes, choose_positive_class
from pipeline.operations import parse_augmentation
from pipeline.rundir import RunDir
from pipeline.training import HistoryWriter, PhaseOutcome
from records.errors import InputError
from records.manifest import Manifest, file_digest, read_manifest, verify_shards
from records.types import Split

_CALIBRATION_PICTURES = 256


@dataclass(frozen=True)
class _Plan:
    """The flags with the model's defaults filled in, and what the records say."""

    spec: registry.ModelSpec
    manifest: Manifest
    image_size: int
    channels: int
    batch_size: int
    epochs: tuple[int, int]
    augment: str
    positive_class: str
    seed: int

    @property
    def classes(self) -> tuple[str, ...]:
        return self.manifest.classes

    @property
    def decode(self) -> inputs.Decode:
        return functools.partial(decode_picture, image_size=self.image_size, channels=self.channels)

    @property
    def class_weights(self) -> list[float]:
        counts = self.manifest.counts["train"]
        return losses.balanced_class_weights([counts[name] for name in self.classes])

    def training(self, augment: str) -> tf.data.Dataset:
        return inputs.make_training_dataset(
            self.manifest.shard_paths("train"),
            decode=self.decode,
            batch_size=self.batch_size,
            operations=parse_augmentation(augment),
            count=self.manifest.count("train"),
            seed=self.seed,
        )

    def measured(self, split: Split) -> tf.data.Dataset:
        return inputs.make_evaluation_dataset(
            self.manifest.shard_paths(split),
            decode=self.decode,
            batch_size=64,
            count=self.manifest.count(split),
        )


def run(settings: Settings) -> None:
    """Trains the model that the settings name.

    Raises:
        InputError: Records are missing, a flag does not fit them, or weights cannot be had.
    """
    run_dir = RunDir(settings.work_dir, settings.model)
    plan = _plan(settings, read_manifest(run_dir.records))
    verify_shards(plan.manifest, splits=("train", "validation"))
    if plan.positive_class:
        print(f"The class that must be caught is {plan.positive_class}.", flush=True)
    keras.utils.set_random_seed(settings.seed)
    started = time.monotonic()
    with run_dir.replacing_model() as draft:
        history = HistoryWriter(draft.history, draft.logs)
        train = _train_autoencoder if plan.spec.reconstructs else _train_backbone
        model, outcomes = train(plan, settings, draft, history)
        registry.save_model(draft.weights, model)
        plots.write_history(draft.history)
        facts = _facts(plan, settings, draft, outcomes, time.monotonic() - started)
        facts.write(draft.config)
    print(
        f"Trained {settings.model} on {plan.manifest.count('train')} pictures in "
        f"{facts.training['seconds']:.0f} s: {run_dir.weights}"
    )


def _plan(settings: Settings, manifest: Manifest) -> _Plan:
    spec = registry.MODELS[settings.model]
    augment = spec.augment if settings.augment == "default" else settings.augment
    pretrain = spec.pretrain_epochs if settings.pretrain_epochs < 0 else settings.pretrain_epochs
    return _Plan(
        spec=spec,
        manifest=manifest,
        image_size=settings.image_size or spec.image_size,
        channels=1 if manifest.is_grey else 3,
        batch_size=min(settings.batch_size or spec.batch_size, manifest.count("train")),
        epochs=(pretrain, settings.epochs or spec.epochs),
        augment=augment,
        positive_class=choose_positive_class(
            manifest.classes, manifest.counts["train"], asked=settings.positive_class
        ),
        seed=settings.seed,
    )


def _train_autoencoder(
    plan: _Plan, settings: Settings, run_dir: RunDir, history: HistoryWriter
) -> tuple[keras.Model, list[PhaseOutcome]]:
    mean, variance = inputs.measure_grey(plan.measured("train"))
    model = _build(plan, mean=mean, variance=variance)
    outcomes = train_autoencoder(
        model,
        autoencoder.reconstruction_model(model),
        plan.training(plan.augment),
        plan.measured("validation"),
        losses=AutoencoderLosses(
            losses.WeightedCrossEntropy(plan.class_weights), losses.ReconstructionLoss(variance)
        ),
        epochs=plan.epochs,
        steps_per_epoch=math.ceil(plan.manifest.count("train") / plan.batch_size),
        learning_rate=plan.spec.learning_rate,
        classes=len(plan.classes),
        history=history,
    )
    return model, outcomes


def _train_backbone(
    plan: _Plan, settings: Settings, run_dir: RunDir, history: HistoryWriter
) -> tuple[keras.Model, list[PhaseOutcome]]:
    model = _build(plan)
    _start_backbone(model, settings.backbone_weights, plan)
    cut, head = plan.spec.fine_tune_from, "dropout"
    parts = BackboneParts(
        trunk=xception.segment(model, end=cut),
        blocks=xception.segment(model, cut, head),
        head=xception.segment(model, head),
        upper=xception.segment(model, cut),
    )
    outcomes = train_backbone(
        parts,
        plan.training(plan.augment),
        plan.measured("validation"),
        cache_dir=run_dir.trunk_cache,
        counts=(plan.manifest.count("train"), plan.manifest.count("validation")),
        loss=losses.WeightedCrossEntropy(plan.class_weights),
        epochs=plan.epochs,
        views=VIEWS if plan.augment else 1,
        batch_size=plan.batch_size,
        learning_rate=plan.spec.learning_rate,
        classes=len(plan.classes),
        seed=plan.seed,
        history=history,
    )
    return model, outcomes


def _build(plan: _Plan, **statistics: float) -> keras.Model:
    try:
        return plan.spec.build(
            image_size=plan.image_size,
            channels=plan.channels,
            classes=len(plan.classes),
            **statistics,
        )
    except ValueError as error:
        raise InputError(
            f"--image_size={plan.image_size} does not fit the model. {error}",
            f"Leave the flag out, or give for instance --image_size={plan.spec.image_size}.",
        ) from error


def _start_backbone(model: keras.Model, weights: str, plan: _Plan) -> None:
    if weights == "calibrated":
        batches = plan.training("").take(max(1, _CALIBRATION_PICTURES // plan.batch_size))
        xception.calibrate_batch_norm(model, (images for images, _ in batches))
        return
    try:
        xception.load_backbone(model, weights)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"--backbone_weights={weights} cannot be loaded: {str(error).strip()[:300]}",
            "Give the path of xception_weights_tf_dim_ordering_tf_kernels_notop.h5 of "
            "keras.applications, downloaded where there is a network; or take "
            "--backbone_weights=calibrated, which needs no file.",
        ) from error


def _facts(
    plan: _Plan,
    settings: Settings,
    run_dir: RunDir,
    outcomes: list[PhaseOutcome],
    seconds: float,
) -> ModelFacts:
    asked: dict[str, Any] = {
        "batch_size": plan.batch_size,
        "epochs": plan.epochs[1],
        "pretrain_epochs": plan.epochs[0],
        "augment": plan.augment,
        "class_weights": plan.class_weights,
    }
    if plan.spec.fine_tune_from:
        asked["backbone_weights"] = settings.backbone_weights
    return ModelFacts(
        model=settings.model,
        classes=plan.classes,
        positive_class=plan.positive_class,
        fail_classes=choose_fail_classes(plan.classes, positive_class=plan.positive_class),
        image_size=plan.image_size,
        channels=plan.channels,
        cam_layer=plan.spec.cam_layer,
        seed=plan.seed,
        records_digest=plan.manifest.digest,
        weights_digest=file_digest(run_dir.weights),
        training={
            **asked,
            "phases": [dataclasses.asdict(outcome) for outcome in outcomes],
            "seconds": round(seconds, 1),
        },
        versions=provenance.versions(),
        git_commit=provenance.git_commit(),
    )
