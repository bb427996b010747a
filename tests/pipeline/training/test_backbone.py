from __future__ import annotations

import dataclasses
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.backbone import cut_model
from models.losses import WeightedCrossEntropy
from pipeline.distribution.data_parts import DataPart
from pipeline.inputs.feature_table import row_type
from pipeline.inputs.operations import parse_augmentation
from pipeline.inputs.pictures import PictureTable
from pipeline.inputs.training_pictures import TrainingPictures
from pipeline.rundir import RunDir
from pipeline.training.backbone import BackboneParts, plan_phases, train_backbone
from pipeline.training.plan import TrainingPlan
from pipeline.training.run import TrainingRun
from pipeline.training.trunk_features import read_through_trunk
from tests.pipeline.picture_tables import make_table

SIDE, COUNT = 8, 40
FIELDS = dataclasses.fields(PictureTable)
PLAN = TrainingPlan(
    model="xception",
    classes=("dark", "bright"),
    positive_class="",
    image_size=SIDE,
    channels=1,
    resize="stretch",
    standardize=False,
    augment="flip|brightness(0.02)",
    batch_size=8,
    pretrain_epochs=2,
    epochs=2,
    learning_rate=0.01,
    weight_average=0.0,
    weight_decay=0.0,
    labels_per_class=0,
    precision="float32",
    seed=3,
    training_pictures=COUNT,
    records_digest="digest",
    versions={},
    git_commit="",
    fine_tune_from="block2",
    views=2,
)


def build() -> keras.Model:
    """A trunk of one convolution, a block of another, a head: each with its normalisation."""
    keras.utils.set_random_seed(0)
    image = keras.Input([SIDE, SIDE, 1], name="image")
    x = keras.layers.Rescaling(1 / 127.5, -1.0)(image)
    for block in ("block1", "block2"):
        x = keras.layers.Conv2D(4, 3, name=f"{block}_conv")(x)
        x = keras.layers.BatchNormalization(name=f"{block}_norm")(x)
        x = keras.layers.ReLU(name=f"{block}_act")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(0.1, name="dropout")(x)
    return keras.Model(image, keras.layers.Dense(2, name="logits")(x))


def tables(folder: Path) -> tuple[PictureTable, PictureTable]:
    """Flat pictures with noise, the second half brighter."""
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    made = []
    for name in ("train", "validation"):
        labels = np.arange(COUNT) // (COUNT // 2)
        images = 100 + 40 * labels[:, None, None, None] + rng.normal(0, 9, (COUNT, SIDE, SIDE, 1))
        table = make_table(folder / name, images)
        made.append(dataclasses.replace(table, labels=labels))
    return made[0], made[1]


class Training:
    """One training in a folder, and what it made."""

    def __init__(
        self,
        folder: Path,
        plan: TrainingPlan = PLAN,
        labelled: int = COUNT,
        parts: tuple[DataPart, ...] = (),
    ) -> None:
        self.model = build()
        self.before = self.values()
        self.table, validation = tables(folder)
        trunk, blocks, head, upper = cut_model(self.model, plan.fine_tune_from)
        self.parts = BackboneParts(trunk, blocks, head, upper, whole=self.model)
        run_dir = RunDir(folder, plan.model)
        pictures = TrainingPictures(
            self.table,
            np.arange(COUNT)[:: COUNT // labelled],
            plan.batch_size,
            parse_augmentation(plan.augment),
            plan.seed,
            parts,
        )
        run_dir.checkpoint.model_dir.mkdir(parents=True, exist_ok=True)
        self.caches = run_dir.trunk_cache
        self.outcomes = train_backbone(
            self.parts,
            pictures,
            validation,
            plan=plan,
            cache_dir=self.caches,
            loss=WeightedCrossEntropy([1.0, 1.0]),
            run=TrainingRun(run_dir.checkpoint, self.model),
        )
        run_dir.checkpoint.finished_state.unlink()

    def values(self) -> dict[str, list[np.ndarray]]:
        return {x.name: [w.numpy() for w in x.weights] for x in self.model.layers if x.weights}

    def changed(self) -> set[str]:
        """Names of the weights that are not what they were."""
        after = self.values()
        return {
            f"{layer.name}/{weight.name}"
            for layer in self.model.layers
            for i, weight in enumerate(layer.weights)
            if (self.before[layer.name][i] != after[layer.name][i]).any()
        }

    def rows(self, name: str) -> np.ndarray:
        (path,) = self.caches.glob(f"*/{name}.rows")
        return np.fromfile(path, row_type(self.parts.trunk.output_shape[1:]))


HEAD = {"logits/kernel", "logits/bias", "dropout/seed_generator_state"}
BLOCK2 = {f"block2_conv/{x}" for x in ("kernel", "bias")} | {
    f"block2_norm/{x}" for x in ("gamma", "beta", "moving_mean", "moving_variance")
}


def only(pretrain_epochs: int = 0, epochs: int = 0, full_epochs: int = 0) -> TrainingPlan:
    return dataclasses.replace(
        PLAN, pretrain_epochs=pretrain_epochs, epochs=epochs, full_epochs=full_epochs
    )


def test_the_head_alone_moves_nothing_below_it(tmp_path: Path) -> None:
    assert Training(tmp_path, only(pretrain_epochs=2)).changed() <= HEAD


def test_fine_tuning_moves_nothing_of_the_trunk(tmp_path: Path) -> None:
    training = Training(tmp_path, only(epochs=2))
    assert BLOCK2 <= training.changed() <= BLOCK2 | HEAD
    images = np.random.default_rng(1).uniform(0, 255, (2, SIDE, SIDE, 1)).astype(np.float32)
    fresh = cut_model(build(), "block2")[0]
    np.testing.assert_array_equal(training.parts.trunk(images), fresh(images))


def test_at_last_everything_moves_but_the_trunks_normalisation(tmp_path: Path) -> None:
    training = Training(tmp_path, only(full_epochs=2))
    trunk = {"block1_conv/kernel", "block1_conv/bias"}
    assert BLOCK2 | trunk <= training.changed() <= BLOCK2 | trunk | HEAD
    assert all(layer.trainable for layer in training.model.layers)


def test_it_learns_and_says_what_it_did(tmp_path: Path) -> None:
    plan = dataclasses.replace(PLAN, pretrain_epochs=3, epochs=6, full_epochs=1)
    training = Training(tmp_path, plan)
    assert [x.name for x in training.outcomes] == ["head", "fine-tune", "full"]
    images = tf.cast(training.table.images, tf.float32) / 257
    predicted = tf.argmax(training.model(images, training=False), axis=1)
    assert (predicted.numpy() == training.table.labels).mean() >= 0.9
    assert training.outcomes[2].best_value < np.log(2) / 2


def test_the_phases_follow_the_plan() -> None:
    plan = dataclasses.replace(PLAN, full_epochs=5, weight_average=0.9, weight_decay=0.1)
    head, fine, full = plan_phases(plan)
    assert [x.name for x in (head, fine, full)] == ["head", "fine-tune", "full"]
    assert [x.epochs for x in (head, fine, full)] == [2, 2, 5]
    assert [x.learning_rate for x in (head, fine, full)] == pytest.approx([1e-2, 1e-2, 1e-4])
    assert [x.weight_average for x in (head, fine, full)] == [0, 0.9, 0.9]
    assert [x.weight_decay for x in (head, fine, full)] == [0, 0.1, 0.1]
    assert {x.steps_per_epoch for x in (head, fine, full)} == {5}
    assert [x.name for x in plan_phases(only(epochs=1))] == ["fine-tune"]


def test_the_first_view_is_plain_the_others_are_drawn(tmp_path: Path) -> None:
    training = Training(tmp_path, dataclasses.replace(PLAN, views=3, epochs=0, pretrain_epochs=1))
    images = tf.cast(training.table.images, tf.float32) / 257
    expected = training.parts.trunk(images, training=False).numpy()
    np.testing.assert_allclose(training.rows("view-0")["features"], expected, atol=2e-3)
    drawn = [training.rows(f"view-{view}") for view in (1, 2)]
    for rows in drawn:
        assert sorted(rows["label"]) == sorted(training.table.labels)
    assert not np.array_equal(drawn[0]["features"], drawn[1]["features"])
    assert len(training.rows("validation")) == COUNT


def test_the_trunk_runs_once_for_all_trainings_on_the_same_pictures(tmp_path: Path) -> None:
    def stamps() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in first.caches.rglob("*.rows")}

    plan = only(pretrain_epochs=1)
    first = Training(tmp_path, plan)
    before = stamps()
    Training(tmp_path, dataclasses.replace(plan, batch_size=4, views=3))
    assert {path: stamp for path, stamp in stamps().items() if path in before} == before
    assert len(stamps()) == len(before) + 1
    for count, other in (
        (7, dataclasses.replace(plan, augment="flip")),
        (10, dataclasses.replace(plan, records_digest="other")),
    ):
        Training(tmp_path, other)
        assert len(stamps()) == count


def test_the_same_seed_gives_the_same_weights_with_and_without_a_cache(tmp_path: Path) -> None:
    first, second = (Training(tmp_path, only(epochs=1)).values() for _ in range(2))
    for name in first:
        for ours, theirs in zip(first[name], second[name], strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_pictures_without_a_label_are_left_out(tmp_path: Path) -> None:
    plan = dataclasses.replace(only(pretrain_epochs=1), labels_per_class=5)
    training = Training(tmp_path, plan, labelled=10)
    assert training.rows("view-0")["label"].tolist() == [0] * 5 + [1] * 5


def test_a_part_is_shown_to_the_trunk_as_if_it_were_alone(tmp_path: Path) -> None:
    plan = dataclasses.replace(only(pretrain_epochs=1), parts=2)
    training = Training(tmp_path, plan, parts=(DataPart(0, 24), DataPart(1, 16)))
    first, second = (training.rows(f"view-1-part-{part}-of-2") for part in (0, 1))
    assert sorted(first["label"]) == [0] * 20 + [1] * 4
    assert second["label"].tolist() == [1] * 16
    alone = dataclasses.replace(
        training.table, **{x.name: getattr(training.table, x.name)[24:] for x in FIELDS}
    )
    pictures = TrainingPictures(
        alone, np.arange(16), 4, parse_augmentation(plan.augment), plan.seed, (DataPart(1, 16),)
    )
    known, _ = read_through_trunk(
        training.parts.trunk, pictures.divided(), alone, plan=plan, cache_dir=tmp_path / "alone"
    )
    np.testing.assert_array_equal(known[0].views[1]["features"], second["features"])
    plain = np.concatenate(list(pictures.plain_batches_of_all(2)))
    assert plain.shape == (8, SIDE, SIDE, 1)
    assert all(
        (np.abs(alone.images / 257 - picture).max((1, 2, 3)) < 0.01).any() for picture in plain
    )
