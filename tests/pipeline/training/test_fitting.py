from __future__ import annotations

import csv
import functools
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.autoencoder import build_autoencoder, of_any_size, reconstruction_model
from models.losses import EvidenceLoss, ReconstructionLoss, WeightedCrossEntropy
from pipeline.inputs.operations import parse_augmentation
from pipeline.inputs.pictures import PictureTable
from pipeline.inputs.training_pictures import TrainingPictures
from pipeline.rundir import RunDir
from pipeline.training.autoencoder import (
    AutoencoderLosses,
    MeanOverLabelled,
    make_phases,
    train_autoencoder,
)
from pipeline.training.fitting import run_phase
from pipeline.training.history import COLUMNS
from pipeline.training.mixed_precision import computing_in
from pipeline.training.phases import Phase, PhaseOutcome
from pipeline.training.plan import TrainingPlan
from pipeline.training.run import TrainingRun
from records.errors import InputError

LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
STEPS = 4


def build_small() -> keras.Model:
    """Batch normalisation and dropout: statistics and seeds that have to go on too."""
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input([3]),
            keras.layers.Dense(8),
            keras.layers.BatchNormalization(momentum=0.9),
            keras.layers.ReLU(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(2),
        ]
    )


def draw_batch(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    x = tf.random.stateless_normal([16, 3], tf.stack([tf.constant(1, tf.int64), step]))
    return x, tf.cast(x[:, 0] > 0, tf.int64)


def batches(first_step: int, *, fails_at: int = 10**6) -> tf.data.Dataset:
    """Endless; from the step `fails_at` on there is an error, as a full disk would give one."""

    def draw(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.control_dependencies(
            [tf.debugging.assert_less(step, tf.constant(fails_at, tf.int64))]
        ):
            return draw_batch(step)

    return tf.data.Dataset.counter(first_step).map(draw)


VALIDATION = tf.data.Dataset.range(10**6, 10**6 + 2).map(draw_batch)
PHASES = (
    Phase("first", 3, STEPS, 0.02, weight_average=0.9),
    Phase("second", 4, STEPS, 0.05, weight_decay=0.1),
)


def train(
    folder: RunDir, *, fails_at: tuple[int, int] = (10**6, 10**6)
) -> tuple[keras.Model, list[PhaseOutcome], TrainingRun]:
    model = build_small()
    run = TrainingRun(folder, model)
    run.announce(PHASES)
    outcomes = [
        run_phase(
            model,
            functools.partial(batches, fails_at=step),
            VALIDATION,
            phase=phase,
            loss=LOSS,
            metrics=["accuracy"],
            run=run,
        )
        for phase, step in zip(PHASES, fails_at, strict=True)
    ]
    return model, outcomes, run


def read_rows(folder: RunDir) -> list[dict[str, str]]:
    """`history.csv` without the columns that hold times."""
    with folder.history.open() as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k not in ("seconds", "input_wait_fraction")}
            for row in rows]  # fmt: skip


def without_times(outcomes: list[PhaseOutcome]) -> list[tuple[object, ...]]:
    return [(x.name, x.epochs_run, x.best_epoch, x.best_value, x.stopped) for x in outcomes]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, list, RunDir]:
    folder = RunDir(tmp_path_factory.mktemp("whole"), "autoencoder").checkpoint
    model, outcomes, _ = train(folder)
    return model, outcomes, folder


def require_same(
    folder: RunDir, model: keras.Model, outcomes: list[PhaseOutcome], whole: tuple
) -> None:
    for variable, expected in zip(model.variables, whole[0].variables, strict=True):
        np.testing.assert_array_equal(variable.numpy(), expected.numpy(), variable.path)
    assert without_times(outcomes) == without_times(whole[1])
    assert read_rows(folder) == read_rows(whole[2])


def test_a_training_keeps_the_best_and_writes_the_history(
    whole: tuple[keras.Model, list[PhaseOutcome], RunDir],
) -> None:
    model, outcomes, folder = whole
    with folder.history.open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["phase"] for row in rows] == ["first"] * 3 + ["second"] * 4
    assert [row["epoch"] for row in rows] == [str(n) for n in range(1, 8)]
    assert float(rows[-1]["val_loss"]) < 0.6 * float(rows[0]["val_loss"])
    assert all(0 <= float(row["input_wait_fraction"]) < 1 for row in rows)
    assert [outcome.epochs_run for outcome in outcomes] == [3, 4]
    best = min(float(row["val_loss"]) for row in rows[3:])
    assert outcomes[1].best_value == pytest.approx(best)
    kept = np.mean([float(LOSS(y, model(x, training=False))) for x, y in VALIDATION])
    assert kept == pytest.approx(best, abs=1e-5)
    assert outcomes[1].seconds == pytest.approx(
        sum(float(row["seconds"]) for row in rows[3:]), abs=0.06
    )
    assert list(folder.logs.glob("events.out.tfevents.*"))


def test_a_training_interrupted_at_any_place_ends_as_if_nothing_had_been(
    tmp_path: Path, whole: tuple
) -> None:
    folder = RunDir(tmp_path, "autoencoder").checkpoint
    end = 10**6
    for fails_at in [(STEPS + 1, 0), (end, 0), (end, 3 * STEPS + 1)]:
        with pytest.raises(tf.errors.InvalidArgumentError):
            train(folder, fails_at=fails_at)
    model, outcomes, run = train(folder)
    assert run.resumed
    require_same(folder, model, outcomes, whole)


def test_a_finished_training_is_not_done_again(tmp_path: Path, whole: tuple) -> None:
    folder = RunDir(tmp_path, "autoencoder").checkpoint
    shutil.copytree(whole[2].model_dir, folder.model_dir)
    assert not folder.epoch_state.exists()
    model, outcomes, run = train(folder, fails_at=(0, 0))
    assert run.resumed
    assert outcomes == whole[1]
    require_same(folder, model, outcomes, whole)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    folder = RunDir(tmp_path_factory.mktemp("interrupted"), "autoencoder").checkpoint
    with pytest.raises(tf.errors.InvalidArgumentError):
        train(folder, fails_at=(10**6, 2 * STEPS + 1))
    return folder


@pytest.mark.parametrize("name", ["epoch_state", "finished_state"])
def test_a_damaged_state_is_done_anew_with_a_line(
    tmp_path: Path, name: str, interrupted: RunDir, whole: tuple, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunDir(tmp_path, "autoencoder").checkpoint
    shutil.copytree(interrupted.model_dir, folder.model_dir)
    damaged = getattr(folder, name)
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    model, outcomes, _ = train(folder)
    assert f"{damaged} is damaged" in capsys.readouterr().out
    require_same(folder, model, outcomes, whole)


def test_a_phase_that_had_stopped_does_not_train_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunDir(tmp_path, "autoencoder").checkpoint
    phase = Phase("only", 20, 1, 0.0)  # at a rate of 0 nothing improves for long

    def block_the_end(first_step: int) -> tf.data.Dataset:
        # A folder in the way of the file that is written when the phase ends.
        folder.finished_state.mkdir(parents=True)
        return batches(first_step)

    model = build_small()
    with pytest.raises(IsADirectoryError):
        run_phase(
            model, block_the_end, VALIDATION, phase=phase, loss=LOSS, run=TrainingRun(folder, model)
        )
    folder.finished_state.rmdir()
    first = capsys.readouterr().out
    again = build_small()
    outcome = run_phase(
        again, batches, VALIDATION, phase=phase, loss=LOSS, run=TrainingRun(folder, again)
    )
    second = capsys.readouterr().out
    assert outcome.epochs_run == first.count("only ") < 20
    assert "only 1" not in second
    assert f"only: {outcome.stopped}; kept epoch {outcome.best_epoch} " in first
    for variable, expected in zip(again.variables, model.variables, strict=True):
        np.testing.assert_array_equal(variable.numpy(), expected.numpy())


def test_a_training_that_diverges_leaves_nothing_to_go_on_from(tmp_path: Path) -> None:
    folder = RunDir(tmp_path, "autoencoder").checkpoint
    model = build_small()
    with pytest.raises(InputError, match="diverged in the phase only: val_loss is nan"):
        run_phase(
            model,
            batches,
            VALIDATION.map(lambda x, y: (x * np.nan, y)),
            phase=Phase("only", 3, 1, 0.1),
            loss=LOSS,
            run=TrainingRun(folder, model),
        )
    assert not folder.can_resume


def test_in_float16_the_loss_is_scaled_and_the_weights_stay_in_32_bit(tmp_path: Path) -> None:
    folder = RunDir(tmp_path, "autoencoder").checkpoint
    model = build_small()
    before = model.get_weights()
    with computing_in(model, "mixed_float16"):
        outcome = run_phase(
            model,
            batches,
            VALIDATION,
            phase=Phase("only", 2, 4, 0.05),
            loss=LOSS,
            run=TrainingRun(folder, model),
        )
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert outcome.epochs_run == 2
    for weight, earlier in zip(model.weights, before, strict=True):
        assert weight.dtype == "float32"
        assert not np.array_equal(weight.numpy(), earlier)


def test_pictures_are_asked_for_in_the_first_epoch_and_every_few(tmp_path: Path) -> None:
    folder = RunDir(tmp_path, "autoencoder").checkpoint
    asked = []

    def draw() -> dict[str, np.ndarray]:
        asked.append(1)
        return {"some": np.full([2, 4, 4, 1], 300.0)}

    model = build_small()
    run_phase(
        model,
        batches,
        VALIDATION,
        phase=Phase("only", 7, 1, 0.01),
        loss=LOSS,
        run=TrainingRun(folder, model),
        pictures=draw,
    )
    assert len(asked) == 2  # epochs 1 and 6
    (events,) = folder.logs.glob("events.out.tfevents.*")
    tags = {
        value.tag
        for event in tf.compat.v1.train.summary_iterator(str(events))
        for value in event.summary.value
    }
    assert {"only/some/image/0", "only/some/image/1"} <= tags or "only/some" in tags


def test_only_known_labels_count_in_a_metric() -> None:
    metric = MeanOverLabelled(keras.metrics.sparse_categorical_accuracy, name="accuracy")
    logits = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], np.float32)
    metric.update_state(np.array([0, 1, -1, -1]), logits)
    metric.update_state(np.array([1, -1, -1, -1]), logits[::-1])
    assert float(metric.result()) == pytest.approx(2 / 3)


def plan_of(**values: object) -> TrainingPlan:
    common = {
        "model": "autoencoder", "classes": ("a", "b"), "positive_class": "", "image_size": 32,
        "channels": 1, "resize": "stretch", "standardize": False, "augment": "", "batch_size": 3,
        "pretrain_epochs": 0, "epochs": 1, "learning_rate": 1e-4, "weight_average": 0.0,
        "weight_decay": 0.0,
        "labels_per_class": 0, "precision": "float32", "seed": 0, "training_pictures": 3,
        "records_digest": "", "versions": {}, "git_commit": "", "reconstruction_weight": 0.5,
        "pretraining": "plain",
    }  # fmt: skip
    return TrainingPlan(**{**common, **values})  # type: ignore[arg-type]


def make_losses() -> AutoencoderLosses:
    classification = WeightedCrossEntropy([1.0, 3.0])
    return AutoencoderLosses(
        *(classification, classification.of_pictures, EvidenceLoss(), ReconstructionLoss(5000.0)),
        evidence_weight=1.0,
        reconstruction_weight=0.5,
    )


def test_what_is_watched_is_the_mean_over_pictures_not_over_batches(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (9, 32, 32, 1)).astype(np.float32)
    labels = np.array([0] * 8 + [1])
    boxes, box_labels = np.zeros((9, 1, 4), np.float32), np.zeros((9, 1), np.int64)
    stored = np.rint(images * 257).astype(np.uint16)
    table = PictureTable(stored, labels, boxes, box_labels, boxes[:, 0])  # type: ignore[arg-type]
    model = build_autoencoder(image_size=32, channels=1, classes=2, mean=127.0, variance=5000.0)
    losses = make_losses()
    folder = RunDir(tmp_path, "autoencoder").checkpoint
    outcomes = train_autoencoder(
        model,
        reconstruction_model(model),
        cell_px=4,
        training=TrainingPictures(table, np.arange(9), 3, (), 0),
        # The last batch holds the one picture of class 1.
        validation=tf.data.Dataset.from_tensor_slices((images, labels, boxes, box_labels)).batch(8),
        losses=losses,
        plan=plan_of(),
        run=TrainingRun(folder, model),
    )
    outputs = model(images, training=False)
    expected = float(losses.classification(labels, outputs["logits"]))
    assert outcomes[0].best_value == pytest.approx(expected, rel=1e-4)
    (row,) = csv.DictReader(folder.history.open())
    assert float(row["val_logits_loss"]) == pytest.approx(expected, rel=1e-4)
    error = float(losses.reconstruction(images, outputs["reconstruction"]))
    assert float(row["val_reconstruction_loss"]) == pytest.approx(error, rel=1e-4)
    assert float(row["val_loss"]) == pytest.approx(expected + 0.5 * error, rel=1e-4)


def test_after_windows_come_whole_pictures() -> None:
    plan = plan_of(augment="window(32)", image_size=64, epochs=11, pretrain_epochs=2)
    pretrain, joint, whole = make_phases(plan)
    assert (pretrain.epochs, joint.epochs, whole.epochs) == (2, 11, 2)
    assert [joint.learning_rate, whole.learning_rate] == pytest.approx([1e-4, 1e-5])
    assert (joint.effort, whole.effort) == (1.0, 4.0)
    assert [phase.name for phase in make_phases(plan_of())] == ["joint"]


def test_windows_are_watched_by_what_is_the_same_in_whole_pictures() -> None:
    def watched(**values: object) -> list[str]:
        plan = plan_of(**{"evidence_weight": 1.0, **values})
        return [phase.monitor for phase in make_phases(plan)]

    assert watched(augment="window(32)") == ["val_logits_mean"] * 2
    with_boxes = {"augment": "window(32)", "box_classes": ("void",)}
    assert watched(**with_boxes) == ["val_evidence_loss", "val_logits_mean"]
    assert watched(**{**with_boxes, "evidence_weight": 0.0}) == ["val_logits_mean"] * 2
    assert watched(box_classes=("void",)) == ["val_logits_mean"]


def test_windows_train_the_model_for_whole_pictures(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    images = np.random.default_rng(0).uniform(0, 255, (6, 64, 64, 1)).astype(np.float32)
    labels, boxes = (
        np.array([0, 1] * 3),
        np.tile(np.array([0.2, 0.2, 0.4, 0.4], np.float32), (6, 1, 1)),
    )
    box_labels, content = (
        np.ones((6, 1), np.int64),
        np.tile(np.array([0, 0, 1, 1], np.float32), (6, 1)),
    )
    stored = np.rint(images * 257).astype(np.uint16)
    table = PictureTable(stored, labels, boxes, box_labels, content)  # type: ignore[arg-type]
    model = build_autoencoder(image_size=64, channels=1, classes=2, mean=127.0, variance=5000.0)
    trained = of_any_size(model)
    operations = parse_augmentation("window(32)")
    folder = RunDir(tmp_path, "autoencoder").checkpoint
    outcomes = train_autoencoder(
        trained,
        reconstruction_model(trained),
        cell_px=64 // model.output["evidence"].shape[1],
        training=TrainingPictures(table, np.arange(6), 3, operations, 0),
        validation=tf.data.Dataset.from_tensor_slices((images, labels, boxes, box_labels)).batch(8),
        losses=make_losses(),
        plan=plan_of(augment="window(32)", image_size=64, pretrain_epochs=1),
        run=TrainingRun(folder, model),
    )
    assert [outcome.name for outcome in outcomes] == ["pretrain", "joint", "whole pictures"]
    # What was watched last is what the model says of whole pictures.
    expected = float(make_losses().classification(labels, model(images, training=False)["logits"]))
    assert outcomes[-1].best_value == pytest.approx(expected, rel=1e-4)
