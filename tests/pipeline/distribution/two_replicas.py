"""Trains a small autoencoder on one machine and on two replicas; writes what came of it.

A program of its own, since a processor can be divided only before TensorFlow computes anything.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from models.autoencoder import build_autoencoder, reconstruction_model
from models.losses import EvidenceLoss, ReconstructionLoss, WeightedCrossEntropy
from models.replicas import over_replicas
from pipeline.distribution.replica_loop import ReplicaLossScale
from pipeline.inputs.batches import make_table_dataset
from pipeline.inputs.operations import parse_augmentation
from pipeline.inputs.pictures import PictureTable
from pipeline.inputs.training_pictures import TrainingPictures
from pipeline.rundir import RunDir
from pipeline.training.autoencoder import AutoencoderLosses, train_autoencoder
from pipeline.training.plan import TrainingPlan
from pipeline.training.run import TrainingRun

SIZE, COUNT, BATCH = 32, 20, 8
PLAN = TrainingPlan(
    model="autoencoder", classes=("a", "b"), positive_class="", image_size=SIZE, channels=1,
    resize="stretch", standardize=False, augment="flip|noise(0.05)", batch_size=BATCH,
    pretrain_epochs=0, epochs=3, learning_rate=1e-3, weight_average=0.9, weight_decay=0.01,
    labels_per_class=3, precision="float32", seed=3, training_pictures=COUNT, records_digest="",
    versions={}, git_commit="", box_classes=("spot",), reconstruction_weight=0.5,
    evidence_weight=1.0, pretraining="masked",
)  # fmt: skip


def make_table(count: int, seed: int) -> PictureTable:
    """Noise, of which some pictures of the second class have a bright spot that a box encloses."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 30_000, (count, SIZE, SIZE, 1)).astype(np.uint16)
    labels = rng.integers(0, 2, count)
    boxes, box_labels = np.zeros((count, 1, 4), np.float32), np.zeros((count, 1), np.int64)
    for row in np.flatnonzero(labels):
        left, top = rng.integers(0, SIZE - 8, 2)
        images[row, top : top + 8, left : left + 8] += 30_000
        if rng.uniform() < 0.7:
            boxes[row, 0] = np.array([left, top, left + 8, top + 8]) / SIZE
            box_labels[row, 0] = 1
    content = np.tile(np.array([0, 0, 1, 1], np.float32), (count, 1))
    return PictureTable(images, labels, boxes, box_labels, content)  # type: ignore[arg-type]


def train(folder: Path, strategy: tf.distribute.Strategy | None) -> np.ndarray:
    """Trains all phases; half of every batch has a label; returns all weights in a row."""
    keras.utils.set_random_seed(PLAN.seed)
    classification = WeightedCrossEntropy([0.8, 1.3])
    with strategy.scope() if strategy else contextlib.nullcontext():
        model = build_autoencoder(
            image_size=SIZE, channels=1, classes=2, mean=70.0, variance=2500.0
        )
        run = TrainingRun(RunDir(folder, "autoencoder").checkpoint, model)
        with over_replicas(model) as learner:
            train_autoencoder(
                learner,
                reconstruction_model(learner),
                cell_px=SIZE // model.output["evidence"].shape[1],
                training=TrainingPictures(
                    make_table(COUNT, 1),
                    np.array([0, 1, 2, 5, 7, 11]),
                    BATCH,
                    parse_augmentation(PLAN.augment),
                    PLAN.seed,
                ),
                # The last batch holds one picture, which two replicas cannot share.
                validation=make_table_dataset(make_table(9, 2), batch_size=4),
                losses=AutoencoderLosses(
                    classification,
                    classification.of_pictures,
                    EvidenceLoss(),
                    ReconstructionLoss(2500.0),
                    evidence_weight=1.0,
                    reconstruction_weight=0.5,
                ),
                plan=PLAN,
                run=run,
            )
    return np.concatenate([weight.numpy().ravel() for weight in model.weights])


def overflow(strategy: tf.distribute.Strategy) -> list[float]:
    """The variable 1 and the scale 8 after a step in which one replica of two overflows."""
    with strategy.scope():
        variable = keras.Variable(1.0)
        optimizer = ReplicaLossScale(keras.optimizers.SGD(1.0), initial_scale=8.0)
        optimizer.build([variable])

    @tf.function
    def step() -> None:
        def on_replica() -> None:
            rank = tf.distribute.get_replica_context().replica_id_in_sync_group
            gradient = tf.where(tf.equal(rank, 1), np.float32(np.inf), 8.0)
            optimizer.apply_gradients([(gradient, variable)])

        strategy.run(on_replica)

    step()
    return [float(variable.numpy()), float(optimizer.dynamic_scale.numpy())]


def main(out: Path) -> None:
    """Trains on one machine and on two replicas."""
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )
    two = tf.distribute.MirroredStrategy()
    assert two.num_replicas_in_sync == 2
    for name, strategy in (("fit", None), ("two", two)):
        np.save(out / f"{name}.npy", train(out / name, strategy))
    np.save(out / "overflow.npy", overflow(two))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
