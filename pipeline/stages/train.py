"""Stage `train`: from records to `model.keras` and everything a later stage must know of it."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from models import autoencoder, backbone, losses, registry
from models.files import save_model
from models.picture import decode_picture, place_boxes
from models.replicas import over_replicas
from pipeline.config import Settings
from pipeline.distribution import workers
from pipeline.distribution.data_parts import DataPart, deal_files
from pipeline.distribution.tf_config import read_place
from pipeline.figures import plots
from pipeline.inputs import batches
from pipeline.inputs.operations import parse_augmentation
from pipeline.inputs.pictures import PictureReader, PictureTable, build_picture_table, pad_boxes
from pipeline.inputs.training_pictures import TrainingPictures, draw_labelled_rows
from pipeline.modelfacts import input_form
from pipeline.rundir import RunDir
from pipeline.training.autoencoder import AutoencoderLosses, train_autoencoder
from pipeline.training.backbone import BackboneParts, train_backbone
from pipeline.training.facts import make_facts
from pipeline.training.folder import training_folder
from pipeline.training.mixed_precision import computing_in
from pipeline.training.phases import PhaseOutcome
from pipeline.training.plan import TrainingPlan, make_plan
from pipeline.training.run import TrainingRun
from records.atomic import replacing
from records.errors import InputError
from records.manifest import Manifest, read_manifest, verify_shards
from records.types import Split

_SPLITS: tuple[Split, ...] = ("train", "validation")
_MEASURED_AT_ONCE = 64
_CALIBRATION_PICTURES = 256


def run(settings: Settings) -> None:
    """Trains the model that the settings name, or goes on where that was interrupted.

    Raises:
        InputError: Records are missing, a flag does not fit them, weights cannot be had, or another
            worker is lost.
    """
    place = read_place(settings.distribute)
    run_dir = RunDir(settings.work_dir, settings.model)
    manifest = read_manifest(run_dir.records)
    plan = make_plan(settings, manifest, registry.MODELS[settings.model], workers=place.workers)
    _check_image_size(plan)  # Before anything is decoded, which may take long.
    manifest, parts = deal_files(manifest, parts=plan.parts, place=place)
    verify_shards(manifest, splits=_SPLITS)
    if plan.positive_class:
        print(f"The class that must be caught is {plan.positive_class}.", flush=True)
    with workers.naming_lost_workers(place):
        with training_folder(run_dir, plan, place) as draft:
            strategy = workers.make_strategy(settings.distribute, place, batch_size=plan.batch_size)
            with workers.scope(strategy):
                trained = _train(plan, settings, manifest, parts, draft)
            if place.is_chief:
                _write(trained, plan, settings, draft)
        workers.end_together(strategy, place)
    print(
        f"Trained {plan.model} on {plan.training_pictures} pictures in "
        f"{trained.run.seconds:.0f} s: {run_dir.weights if place.is_chief else 'see worker 0'}"
    )


@dataclass(frozen=True)
class _Trained:
    model: keras.Model
    run: TrainingRun
    outcomes: list[PhaseOutcome]
    class_weights: list[float]


def _check_image_size(plan: TrainingPlan) -> None:
    spec = registry.MODELS[plan.model]
    try:
        spec.check_image_size(plan.image_size, window_px=plan.window_px)
    except ValueError as error:
        raise InputError(
            f"--image_size={plan.image_size} --augment={plan.augment!r} does not fit. {error}",
            f"Leave the flags out, or give for instance --image_size={spec.image_size}.",
        ) from error


def _train(
    plan: TrainingPlan,
    settings: Settings,
    manifest: Manifest,
    parts: tuple[DataPart, ...],
    draft: RunDir,
) -> _Trained:
    workers.require_same_for_all(plan.to_json())
    workers.send_from_chief(draft.finished_state, draft.epoch_state)
    table, validation = (_read_pictures(plan, manifest, draft, split) for split in _SPLITS)
    table = pad_boxes(table, int(workers.gather_from_workers(table.boxes.shape[1]).max()))
    rows = draw_labelled_rows(table.labels, per_class=plan.labels_per_class, seed=plan.seed)
    batch_size = workers.batch_size_of_worker(plan.batch_size)
    training = TrainingPictures(
        table, rows, batch_size, parse_augmentation(plan.augment), plan.seed, parts
    )
    counts = np.bincount(table.labels[rows], minlength=len(plan.classes))
    weights = losses.balanced_class_weights(workers.sum_over_workers(counts).tolist())
    loss = losses.WeightedCrossEntropy(weights)
    keras.utils.set_random_seed(plan.seed)
    if plan.fine_tune_from:
        trained = _train_backbone(plan, settings, training, validation, loss, draft)
    else:
        trained = _train_autoencoder(plan, training, validation, loss, draft)
    return _Trained(*trained, weights)


def _write(trained: _Trained, plan: TrainingPlan, settings: Settings, draft: RunDir) -> None:
    with replacing(draft.weights) as weights:
        save_model(weights, trained.model)
    plots.write_history(draft.history)
    make_facts(
        plan,
        draft,
        trained.run,
        trained.outcomes,
        cam_layer=registry.MODELS[plan.model].cam_layer,
        class_weights=trained.class_weights,
        distribute=settings.distribute,
        workers=read_place(settings.distribute).workers,
    ).write(draft.config)


def _read_pictures(
    plan: TrainingPlan, manifest: Manifest, draft: RunDir, split: Split
) -> PictureTable:
    return build_picture_table(
        draft.pictures / split,
        manifest.shard_paths(split),
        reader=PictureReader(
            decode=functools.partial(decode_picture, **input_form(plan)),
            place=functools.partial(place_boxes, image_size=plan.image_size, resize=plan.resize),
        ),
        # Of these files, which may be a worker's own alone.
        count=sum(shard.count for shard in manifest.shards[split]),
        description=f"{split} pictures",
    )


def _train_autoencoder(
    plan: TrainingPlan,
    training: TrainingPictures,
    validation: PictureTable,
    loss: losses.WeightedCrossEntropy,
    draft: RunDir,
) -> tuple[keras.Model, TrainingRun, list[PhaseOutcome]]:
    mean, variance = batches.measure_grey(training.table)
    model = _build(plan, mean=mean, variance=variance, box_classes=max(1, len(plan.box_classes)))
    run = TrainingRun(draft, model)
    trained = autoencoder.of_any_size(model) if plan.window_px else model
    with computing_in(model, plan.precision), over_replicas(trained) as learner:
        outcomes = train_autoencoder(
            learner,
            autoencoder.reconstruction_model(learner),
            cell_px=plan.image_size // model.output["evidence"].shape[1],
            training=training,
            validation=batches.make_table_dataset(validation, batch_size=_MEASURED_AT_ONCE),
            losses=AutoencoderLosses(
                loss,
                loss.of_pictures,
                losses.EvidenceLoss(),
                losses.ReconstructionLoss(variance),
                plan.evidence_weight,
                plan.reconstruction_weight,
            ),
            plan=plan,
            run=run,
        )
    return model, run, outcomes


def _train_backbone(
    plan: TrainingPlan,
    settings: Settings,
    training: TrainingPictures,
    validation: PictureTable,
    loss: keras.losses.Loss,
    draft: RunDir,
) -> tuple[keras.Model, TrainingRun, list[PhaseOutcome]]:
    model = _build(plan)
    parts = _cut(plan, model)
    run = TrainingRun(draft, model)
    if not run.resumed:
        _start_backbone(model, settings.backbone_weights, plan, training)
    cache_dir = RunDir(draft.root, plan.model).trunk_cache  # Temporary, unless of the chief.
    with (
        computing_in(model, plan.precision),
        over_replicas(parts.head) as head,
        over_replicas(parts.upper) as upper,
        over_replicas(model) as whole,
    ):
        parts = dataclasses.replace(parts, head=head, upper=upper, whole=whole)
        outcomes = train_backbone(
            parts, training, validation, plan=plan, cache_dir=cache_dir, loss=loss, run=run
        )
    return model, run, outcomes


def _cut(plan: TrainingPlan, model: keras.Model) -> BackboneParts:
    try:
        trunk, blocks, head, upper = backbone.cut_model(model, plan.fine_tune_from)
    except ValueError as error:
        raise InputError(
            f"--fine_tune_from={plan.fine_tune_from} does not fit the model. {error}",
            "Leave the flag out, or name a block that all of the picture goes through.",
        ) from error
    return BackboneParts(trunk=trunk, blocks=blocks, head=head, upper=upper, whole=model)


def _start_backbone(
    model: keras.Model, weights: str, plan: TrainingPlan, training: TrainingPictures
) -> None:
    if weights == "calibrated":
        steps = max(1, _CALIBRATION_PICTURES // plan.batch_size)
        backbone.calibrate_batch_norm(model, training.plain_batches_of_all(steps))
        workers.take_from_chief(model.non_trainable_variables)
        return
    network = registry.MODELS[plan.model].backbone
    assert network is not None
    try:
        backbone.load_backbone(model, network, weights)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"--backbone_weights={weights} cannot be loaded: {str(error).strip()[:300]}",
            f"Give the path of the weights file that keras.applications publishes for "
            f"{network.function} without its top, downloaded where there is a network; or take "
            "--backbone_weights=calibrated, which needs no file.",
        ) from error


def _build(plan: TrainingPlan, **own: Any) -> keras.Model:
    spec, classes = registry.MODELS[plan.model], len(plan.classes)
    return spec.build(image_size=plan.image_size, channels=plan.channels, classes=classes, **own)
