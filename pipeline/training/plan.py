"""Everything that decides what a training makes: the flags with the defaults filled in, and more.

A training that was interrupted is gone on from only under the same plan; `config.json` holds it.
"""

from __future__ import annotations

import dataclasses
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import provenance
from pipeline.config import Settings
from pipeline.distribution.data_parts import check_parts
from pipeline.flag_checks import BACKBONE_WEIGHTS
from pipeline.inputs.operations import parse_augmentation, window_px
from pipeline.modelfacts import choose_positive_class
from pipeline.rundir import RunDir
from pipeline.training.mixed_precision import choose_precision
from records.atomic import write_json
from records.errors import InputError
from records.manifest import Manifest, file_digest
from records.untrusted import read_json


@dataclass(frozen=True)
class TrainingPlan:
    """What a training is to do. What does not apply to its model is empty, 0 or "".

    Attributes:
        model: Name in `models.registry`.
        classes: Class names.
        positive_class: Of two classes the one that must be caught, else empty.
        image_size: Side of the model's input in pixels.
        channels: 1 for grey, 3 for colour.
        resize: How a picture becomes that input.
        standardize: Whether its mean and contrast are evened out.
        augment: Augmentation line.
        batch_size: Pictures a step.
        pretrain_epochs: Epochs of the phase before supervised training.
        epochs: Epochs of supervised training at most.
        full_epochs: Epochs with the whole backbone trained.
        learning_rate: Peak of the schedule.
        weight_average: Momentum of the moving average of the weights.
        weight_decay: As AdamW takes it.
        box_classes: Class names of the labelled objects, which the evidence is for.
        reconstruction_weight: Weight of the reconstruction loss.
        evidence_weight: Weight of the loss of the evidence.
        pretraining: What the autoencoder reconstructs from in pretraining.
        labels_per_class: Labelled training pictures of each class; 0: all.
        backbone_weights: What a backbone starts from, with the SHA-256 of a file.
        fine_tune_from: Layer from which on a backbone is trained.
        views: Augmented views of each picture that the frozen trunk sees.
        precision: dtype policy of the training.
        seed: Seed of every draw.
        training_pictures: Pictures in the training split.
        records_digest: Digest of the records.
        versions: Python and library versions.
        git_commit: Commit of this project.
        parts: Parts that the files of the training pictures are dealt into.
    """

    model: str
    classes: tuple[str, ...]
    positive_class: str
    image_size: int
    channels: int
    resize: str
    standardize: bool
    augment: str
    batch_size: int
    pretrain_epochs: int
    epochs: int
    learning_rate: float
    weight_average: float
    weight_decay: float
    labels_per_class: int
    precision: str
    seed: int
    training_pictures: int
    records_digest: str
    versions: dict[str, str]
    git_commit: str
    box_classes: tuple[str, ...] = ()
    reconstruction_weight: float = 0.0
    evidence_weight: float = 0.0
    pretraining: str = ""
    backbone_weights: str = ""
    fine_tune_from: str = ""
    views: int = 0
    full_epochs: int = 0
    parts: int = 1

    @property
    def steps_per_epoch(self) -> int:
        """Batches that hold as many pictures as the training split."""
        return math.ceil(self.training_pictures / self.batch_size)

    @property
    def window_px(self) -> int:
        """Side of the windows that are trained on, in pixels; 0: whole pictures."""
        return window_px(parse_augmentation(self.augment))

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values."""
        values = dataclasses.asdict(self)
        return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}

    def settle(self, folder: RunDir) -> None:
        """Makes `folder` ready for this plan: what a training of another one left is taken away.

        Args:
            folder: `RunDir.checkpoint`.
        """
        wanted, earlier = self.to_json(), _read(folder.training_plan)
        if earlier == wanted:
            return
        if folder.can_resume:
            named = [name for name in wanted if earlier.get(name) != wanted[name]]
            print(
                f"An interrupted training differs in {', '.join(named)}; this one starts anew.",
                flush=True,
            )
        # The state goes before the plan it belongs to.
        folder.epoch_state.unlink(missing_ok=True)
        folder.finished_state.unlink(missing_ok=True)
        shutil.rmtree(folder.model_dir, ignore_errors=True)
        write_json(folder.training_plan, wanted)


def make_plan(
    settings: Settings, manifest: Manifest, own: Any, *, workers: int = 1
) -> TrainingPlan:
    """Fills in what the flags leave open.

    Args:
        settings: The flags.
        manifest: The records that are trained on.
        own: The model's own values: a `ModelSpec` of `models.registry`.
        workers: How many machines train together.

    Raises:
        InputError: A flag does not fit the records or the model.
    """
    pretrain = settings.pretrain_epochs
    of_kind = _autoencoder_values if own.reconstructs else _backbone_values
    plan = TrainingPlan(
        model=settings.model,
        classes=manifest.classes,
        positive_class=choose_positive_class(
            manifest.classes, manifest.counts["train"], asked=settings.positive_class
        ),
        image_size=settings.image_size or own.image_size,
        channels=1 if manifest.is_grey else 3,
        resize=settings.resize,
        standardize=settings.standardize,
        augment=own.augment if settings.augment == "default" else settings.augment,
        batch_size=min(settings.batch_size or own.batch_size, manifest.count("train")),
        pretrain_epochs=own.pretrain_epochs if pretrain < 0 else pretrain,
        epochs=own.epochs if settings.epochs < 0 else settings.epochs,
        learning_rate=settings.learning_rate or own.learning_rate,
        weight_average=own.weight_average,
        weight_decay=own.weight_decay,
        labels_per_class=settings.labels_per_class,
        precision=choose_precision(mixed=settings.mixed_precision),
        seed=settings.seed,
        training_pictures=manifest.count("train"),
        records_digest=manifest.digest,
        versions=provenance.versions(),
        git_commit=provenance.git_commit(),
        parts=settings.parts or workers,
        **of_kind(settings, own, manifest),
    )
    check_parts(
        plan.parts,
        workers=workers,
        batch_size=plan.batch_size,
        labels_per_class=plan.labels_per_class,
    )
    return plan


def _autoencoder_values(settings: Settings, own: Any, manifest: Manifest) -> dict[str, Any]:
    _refuse(settings, fine_tune_from="", views=0, full_epochs=0)
    if settings.epochs == 0:
        raise InputError(
            "--epochs=0: the autoencoder would reconstruct and never classify.",
            "Give 1 or more, or leave the flag out.",
        )
    weight, pretraining = settings.reconstruction_weight, settings.pretraining
    return {
        "box_classes": manifest.box_classes,
        "reconstruction_weight": own.reconstruction_weight if weight < 0 else weight,
        "evidence_weight": settings.evidence_weight,
        "pretraining": own.pretraining if pretraining == "default" else pretraining,
    }


def _backbone_values(settings: Settings, own: Any, manifest: Manifest) -> dict[str, Any]:
    _refuse(settings, reconstruction_weight=-1, evidence_weight=1, pretraining="default")
    if settings.epochs == settings.pretrain_epochs == settings.full_epochs == 0:
        raise InputError(
            "--epochs=0 --pretrain_epochs=0: there is nothing to train.", "Leave one of them out."
        )
    if settings.augment != "default" and window_px(parse_augmentation(settings.augment)):
        raise InputError(
            f"--augment={settings.augment!r}: window has no meaning for --model={settings.model}.",
            "Leave it out, or give another --model.",
        )
    weights = settings.backbone_weights
    return {
        # A file is known by what it holds.
        "backbone_weights": weights if weights in BACKBONE_WEIGHTS else file_digest(Path(weights)),
        "fine_tune_from": settings.fine_tune_from or own.fine_tune_from,
        "views": settings.views or own.views,
        "full_epochs": settings.full_epochs,
    }


def _refuse(settings: Settings, **left_out: Any) -> None:
    """Refuses flags that say something about a model of the other kind."""
    for name, value in left_out.items():
        if (given := getattr(settings, name)) != value:
            raise InputError(
                f"--{name}={given} has no meaning for --model={settings.model}.",
                "Leave the flag out, or give another --model.",
            )


def _read(path: Path) -> dict[str, Any]:
    try:
        plan = read_json(path)
    except (OSError, ValueError):
        return {}
    return plan if isinstance(plan, dict) else {}
