"""Training on top of a frozen trunk: the head first, then the upper blocks with it.

The model comes in three parts that share its weights: the trunk (frozen, runs once over every
view), the blocks above it, and the head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from pipeline.training import HistoryWriter, Phase, PhaseOutcome, run_phase
from pipeline.trunk_cache import TrunkCache, affordable_views, fill_trunk_cache

VIEWS = 4
HEAD_LEARNING_RATE = 1e-3
# The upper blocks see some 40 steps an epoch; at Keras' 0.99 their statistics lag behind.
BATCH_NORM_MOMENTUM = 0.9


@dataclass(frozen=True)
class BackboneParts:
    """One model cut in three; each part takes what the one before gives.

    Attributes:
        trunk: From pictures to the features that fine-tuning starts from.
        blocks: The blocks that fine-tuning trains, without the head.
        head: From their features to logits.
        upper: `blocks` and `head` in one.
    """

    trunk: keras.Model
    blocks: keras.Model
    head: keras.Model
    upper: keras.Model


def train_backbone(
    parts: BackboneParts,
    training: tf.data.Dataset,
    validation: tf.data.Dataset,
    *,
    cache_dir: Path,
    counts: tuple[int, int],
    loss: keras.losses.Loss,
    epochs: Sequence[int],
    views: int,
    batch_size: int,
    learning_rate: float,
    classes: int,
    seed: int,
    history: HistoryWriter,
) -> list[PhaseOutcome]:
    """Trains in place: the head on the frozen model, then upper blocks and head.

    Args:
        parts: The model.
        training: Endless `(images, labels)`, augmented anew at each pass.
        validation: Finite `(images, labels)`.
        cache_dir: Where the trunk's answers are kept meanwhile.
        counts: Pictures in the training and in the validation split.
        loss: Classification loss.
        epochs: Of the head alone and of fine-tuning; a phase of 0 epochs is left out.
        views: Augmented views of each training picture; fewer are taken where space is short.
        batch_size: Pictures a step.
        learning_rate: Peak of fine-tuning.
        classes: Number of classes.
        seed: Seed of the order.
        history: Records every epoch.
    """
    shape = parts.trunk.output_shape[1:]
    views = affordable_views(views, pictures=counts[0], feature_shape=shape)
    trunk = _compiled(parts.trunk)
    print(f"trunk: once over {views} views of {counts[0]} training pictures", flush=True)
    known = fill_trunk_cache(
        cache_dir / "train.npy",
        trunk,
        training,
        rows=views * counts[0],
        feature_shape=shape,
        description=f"trunk, {views} views",
    )
    held_out = fill_trunk_cache(
        cache_dir / "validation.npy",
        trunk,
        validation,
        rows=counts[1],
        feature_shape=shape,
        description="trunk, validation",
    )
    steps, scale = math.ceil(counts[0] / batch_size), math.log(classes)
    outcomes = []
    if epochs[0]:
        pooled = [_through_blocks(parts.blocks, cache) for cache in (known, held_out)]
        outcomes.append(
            run_phase(
                parts.head,
                _make_shuffled(*pooled[0], batch_size, seed),
                tf.data.Dataset.from_tensor_slices(pooled[1]).batch(batch_size),
                phase=Phase("head", epochs[0], steps, HEAD_LEARNING_RATE, scale=scale),
                loss=loss,
                metrics=["accuracy"],
                history=history,
            )
        )
    if epochs[1]:
        for layer in parts.blocks.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = BATCH_NORM_MOMENTUM
        outcomes.append(
            run_phase(
                parts.upper,
                known.make_dataset(batch_size, shuffle_seed=seed),
                held_out.make_dataset(batch_size),
                phase=Phase("fine-tune", epochs[1], steps, learning_rate, scale=scale),
                loss=loss,
                metrics=["accuracy"],
                history=history,
            )
        )
    return outcomes


def _compiled(model: keras.Model) -> tf.types.experimental.PolymorphicFunction:
    # Inference mode: the statistics of a frozen trunk's batch normalisation stay as they are.
    return tf.function(lambda images: model(images, training=False), reduce_retracing=True)


def _through_blocks(blocks: keras.Model, cache: TrunkCache) -> tuple[np.ndarray, np.ndarray]:
    run = _compiled(blocks)
    pooled = [run(features).numpy() for features, _ in cache.make_dataset(64)]
    return np.concatenate(pooled), cache.labels


def _make_shuffled(
    features: np.ndarray, labels: np.ndarray, batch_size: int, seed: int
) -> tf.data.Dataset:
    rows = tf.data.Dataset.from_tensor_slices((features, labels))
    return rows.shuffle(len(labels), seed=seed).repeat().batch(batch_size, drop_remainder=True)
