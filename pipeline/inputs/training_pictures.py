"""The pictures of a training, all or some of them labelled, and the batches made of them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pipeline.distribution.data_parts import DataPart
from pipeline.distribution.workers import gather_from_workers
from pipeline.inputs.batches import make_training_dataset
from pipeline.inputs.operations import Operation
from pipeline.inputs.pictures import PictureTable

NO_LABEL = -1
"""Stands in place of a label that is not to be known; losses and metrics pass over it."""


def draw_labelled_rows(
    labels: npt.NDArray[np.int64], *, per_class: int, seed: int
) -> npt.NDArray[np.int64]:
    """Draws the rows that keep their labels: so many of each class, all of a smaller one.

    Args:
        labels: int64 `[n]`.
        per_class: Rows a class; 0: all.
        seed: Seed of the draw. A draw of more rows holds that of fewer.

    Returns:
        int64 `[labelled]`, rising.
    """
    if not per_class:
        return np.arange(len(labels))
    order = np.random.default_rng(seed).permutation(len(labels))
    kept = [order[labels[order] == label][:per_class] for label in np.unique(labels)]
    return np.sort(np.concatenate(kept))


@dataclass(frozen=True)
class TrainingPictures:
    """Pictures of the training split, of which those in `labelled_rows` have a label to train on.

    In all data sets made here the batch of a step is a pure function of `seed` and the step.

    Attributes:
        table: All pictures.
        labelled_rows: int64 `[labelled]`, rising.
        batch_size: Pictures a batch.
        operations: Augmentation.
        seed: Seed of order and augmentation.
        parts: Parts that the rows of the table belong to, in order; none: they are one. All
            pictures are labelled then.
    """

    table: PictureTable
    labelled_rows: npt.NDArray[np.int64]
    batch_size: int
    operations: tuple[Operation, ...]
    seed: int
    parts: tuple[DataPart, ...] = ()

    @property
    def labelled_table(self) -> PictureTable:
        """The labelled pictures alone, in memory; the table itself if they are all."""
        if self._all_labelled:
            return self.table
        return _take_rows(self.table, self.labelled_rows)

    @property
    def labelled(self) -> TrainingPictures:
        """The same of the labelled pictures alone."""
        table = self.labelled_table
        return dataclasses.replace(self, table=table, labelled_rows=np.arange(len(table.labels)))

    def make_dataset(self, first_step: int = 0) -> tf.data.Dataset:
        """Endless batches of all pictures from a step on, as `make_training_dataset` has them.

        Of parts each gives as many, one after another.
        """
        return join_batches(
            [
                part._make(part.table, part.batch_size, part.seed, first_step)
                for part in self.divided()
            ]
        )

    def divided(self) -> list[TrainingPictures]:
        """The parts, each with its share of the batch and a seed of its own; itself if whole."""
        if not self.parts:
            return [self]
        ends = itertools.accumulate(part.count for part in self.parts)
        return [
            dataclasses.replace(
                self,
                table=_take_rows(self.table, slice(end - part.count, end)),
                labelled_rows=np.arange(part.count),
                batch_size=self.batch_size // len(self.parts),
                # 0 would stand for no part at all.
                seed=int(np.random.default_rng([self.seed, part.number + 1]).integers(2**31)),
                parts=(),
            )
            for part, end in zip(self.parts, ends, strict=True)
        ]

    def make_labelled_dataset(self, first_step: int = 0) -> tf.data.Dataset:
        """The same with half of every batch from the labelled pictures, unless they are all.

        The other half comes from all pictures, with `NO_LABEL` for those without one. So a label is
        seen in every step, however few there are.
        """
        if self._all_labelled:
            return self.make_dataset(first_step)
        labels = np.full_like(self.table.labels, NO_LABEL)
        labels[self.labelled_rows] = self.table.labels[self.labelled_rows]
        everything = dataclasses.replace(self.table, labels=labels)
        size = (self.batch_size + 1) // 2
        # Seeds apart, so that the two halves are not augmented alike.
        half = self._make(self.labelled_table, size, self.seed, first_step)
        if size == self.batch_size:
            return half
        other = self._make(everything, self.batch_size - size, self.seed + 1, first_step)
        return join_batches([half, other])

    def plain_batches_of_all(self, steps: int) -> Iterator[tf.Tensor]:
        """The pictures of the first batches of all workers together, not augmented.

        Yields:
            float32 `[batch, size, size, channels]`, 0 to 255; the same for all workers.
        """
        plain = dataclasses.replace(self, operations=())
        for images, *_ in plain.make_dataset().take(steps):
            of_all = gather_from_workers(images.numpy().astype(np.float64))
            yield tf.constant(of_all.reshape(-1, *images.shape[1:]), tf.float32)

    @property
    def _all_labelled(self) -> bool:
        return len(self.labelled_rows) == len(self.table.labels)

    def _make(
        self, table: PictureTable, batch_size: int, seed: int, first_step: int
    ) -> tf.data.Dataset:
        return make_training_dataset(
            table,
            batch_size=batch_size,
            operations=self.operations,
            seed=seed,
            first_step=first_step,
        )


def join_batches(datasets: Sequence[tf.data.Dataset]) -> tf.data.Dataset:
    """Batches that hold those of all `datasets`, one after another."""
    if len(datasets) == 1:
        return datasets[0]
    return tf.data.Dataset.zip(*datasets).map(
        lambda *batches: tf.nest.map_structure(lambda *x: tf.concat(x, axis=0), *batches)
    )


def _take_rows(table: PictureTable, rows: slice | npt.NDArray[np.int64]) -> PictureTable:
    fields = dataclasses.fields(table)
    return PictureTable(**{x.name: getattr(table, x.name)[rows] for x in fields})
