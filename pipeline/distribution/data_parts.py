"""The parts that the files of the training pictures are dealt into, one or more a worker.

Every part gives the same number of pictures to every batch, in an order of its own. So a worker
needs to read its own files alone, and a training with the same parts sees the same batches
whatever the number of workers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.distribution.tf_config import Place
from records.errors import InputError
from records.manifest import Manifest, Shard

# Above it a picture of the smallest part is seen clearly more often than one of the largest.
_LARGEST_RATIO = 1.25


@dataclass(frozen=True)
class DataPart:
    """One part of the training pictures.

    Attributes:
        number: From 0, among all parts.
        count: Pictures in it.
    """

    number: int
    count: int


def check_parts(parts: int, *, workers: int, batch_size: int, labels_per_class: int) -> None:
    """Looks whether a training can be done in parts.

    Args:
        parts: How many.
        workers: Machines that share them out.
        batch_size: Pictures of a step, of all parts together.
        labels_per_class: Labelled pictures a class; 0: all are.

    Raises:
        InputError: It cannot.
    """
    if parts % workers:
        raise InputError(
            f"--parts={parts} cannot be shared out among {workers} workers.",
            f"Leave it out, or give a multiple of {workers}.",
        )
    if batch_size % parts:
        raise InputError(
            f"A batch of {batch_size} pictures cannot be shared out among {parts} parts.",
            f"Give a --batch_size that is a multiple of {parts}.",
        )
    if parts > 1 and labels_per_class:
        raise InputError(
            f"--labels_per_class={labels_per_class} is drawn from all pictures, but each of "
            f"{parts} parts knows its own alone.",
            "Leave it out, or train on one machine without --parts.",
        )


def deal_files(
    manifest: Manifest, *, parts: int, place: Place
) -> tuple[Manifest, tuple[DataPart, ...]]:
    """What of the records a worker is to read.

    File number i belongs to part i modulo `parts`; the parts go to the workers in order.

    Args:
        manifest: All records.
        parts: Number of parts, a multiple of the number of workers.
        place: The worker.

    Returns:
        The manifest with the worker's own training files alone, its counts untouched; and the parts
        that they are, in the order of the files, or none if there is one part only.

    Raises:
        InputError: There are fewer files than parts.
    """
    if parts == 1:
        return manifest, ()
    files = manifest.shards["train"]
    if len(files) < parts:
        raise InputError(
            f"{manifest.folder} holds its training pictures in {len(files)} files, too few for "
            f"{parts} parts: a part takes whole files.",
            "Write them anew by --stage=records with a smaller --shard_mb, which makes more files; "
            "or train on fewer workers, or with fewer --parts.",
        )
    dealt = [files[part::parts] for part in range(parts)]
    counts = [sum(shard.count for shard in part) for part in dealt]
    _warn_of_uneven(counts)
    share = parts // place.workers
    own = range(place.index * share, (place.index + 1) * share)
    return (
        _with_training_files(manifest, [shard for part in own for shard in dealt[part]]),
        tuple(DataPart(part, counts[part]) for part in own),
    )


def _with_training_files(manifest: Manifest, files: Sequence[Shard]) -> Manifest:
    return dataclasses.replace(manifest, shards={**manifest.shards, "train": tuple(files)})


def _warn_of_uneven(counts: Sequence[int]) -> None:
    if (ratio := max(counts) / min(counts)) > _LARGEST_RATIO:
        print(
            f"The parts hold {min(counts)} to {max(counts)} training pictures: those of the "
            f"smallest are seen {ratio:.1f} times as often as those of the largest.",
            flush=True,
        )
