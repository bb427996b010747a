"""The features that training on a frozen trunk starts from, and which pictures they are of."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import google_crc32c
import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pipeline.distribution.workers import sum_over_workers
from pipeline.inputs.batches import make_table_dataset
from pipeline.inputs.feature_table import FeatureTable
from pipeline.inputs.pictures import PictureTable
from pipeline.inputs.training_pictures import TrainingPictures
from pipeline.training.frozen_graph import FrozenGraph
from pipeline.training.plan import TrainingPlan
from pipeline.training.trunk_cache import BATCH_SIZE, Rows, affordable_views, fill_cache
from pipeline.training.trunk_digest import digest_trunk

# What the trunk's answers depend on, besides the trunk.
_FACTS = (
    *("records_digest", "image_size", "channels", "resize", "standardize"),
    *("labels_per_class", "augment", "seed"),
)


def read_through_trunk(
    trunk: keras.Model,
    training: Sequence[TrainingPictures],
    validation: PictureTable,
    *,
    plan: TrainingPlan,
    cache_dir: Path,
) -> tuple[list[FeatureTable], FeatureTable]:
    """The trunk's answers, computed once and kept.

    Each part of the training pictures is shown by itself, so that they do not depend on which
    worker has which parts.

    Args:
        trunk: From pictures to features.
        training: The parts that this worker has, all of their pictures labelled.
        validation: Pictures to watch.
        plan: Of the training. Fewer views are taken than it says where space is short.
        cache_dir: Where to keep them.

    Returns:
        Those to the training pictures, part by part, and those to the validation pictures.
    """
    count, held_out = sum(len(part.table.labels) for part in training), len(validation.labels)
    shape = trunk.output_shape[1:]
    # As if one machine had to keep the pictures of all: so all take as many views.
    pictures = int(sum_over_workers(count))
    views = affordable_views(plan.views, pictures=pictures, held_out=held_out, feature_shape=shape)
    wanted = [
        Rows(
            _name(view, part=rank, parts=plan.parts),
            len(part.table.labels),
            functools.partial(_view, part, view),
        )
        for rank, part in enumerate(training)
        for view in range(views)
    ]
    wanted.append(Rows("validation", held_out, functools.partial(_plain, validation)))
    folder = cache_dir / _digest(trunk, plan, training[0])
    print(f"trunk: once over {views} views of {count} training pictures", flush=True)
    *rows, last = fill_cache(folder, FrozenGraph(trunk), wanted, feature_shape=shape)
    known = [FeatureTable(tuple(rows[i : i + views])) for i in range(0, len(rows), views)]
    return known, FeatureTable((last,))


def first_augmented(part: TrainingPictures) -> npt.NDArray[np.float32]:
    """The first augmented pictures that a trunk sees, `[BATCH_SIZE, size, size, channels]`."""
    images: npt.NDArray[np.float32]
    images, _ = next(_view(part, 1, 0).take(1).as_numpy_iterator())
    return images


def without_boxes(
    images: tf.Tensor, labels: tf.Tensor, *boxes: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """The pictures and labels of a batch."""
    return images, labels


def _name(view: int, *, part: int, parts: int) -> str:
    # The rank of a part among this worker's own: of several workers only the chief, whose parts are
    # the first, keeps its folder.
    return f"view-{view}" + (f"-part-{part}-of-{parts}" if parts > 1 else "")


def _digest(trunk: keras.Model, plan: TrainingPlan, first: TrainingPictures) -> str:
    facts = {
        **{name: getattr(plan, name) for name in _FACTS},
        "batch_size": BATCH_SIZE,
        # The pictures themselves as well: what augmentation does may change with this program.
        "first_pictures": google_crc32c.value(first_augmented(first).tobytes()),
    }
    return digest_trunk(trunk, facts)


def _view(part: TrainingPictures, view: int, first_step: int) -> tf.data.Dataset:
    """The first view shows the pictures as the model will see them; the others are drawn."""
    if view == 0:
        return _plain(part.table, first_step)
    seed = int(np.random.default_rng([part.seed, view]).integers(2**31))
    drawn = dataclasses.replace(part, batch_size=BATCH_SIZE, seed=seed)
    return drawn.make_dataset(first_step).map(without_boxes)


def _plain(table: PictureTable, first_step: int) -> tf.data.Dataset:
    batches = make_table_dataset(table, batch_size=BATCH_SIZE)
    return batches.skip(first_step).map(without_boxes)
