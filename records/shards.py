"""A folder of records: planned by one process, its shards written by several.

What a run writes goes into a folder beside the earlier records, which `records.atomic.building`
puts in their place when it is whole. A run that was killed leaves that folder; the next one keeps
the shards in it that are as they should be. So the bytes are the same however often a run was
killed, and however many processes wrote.
"""

from __future__ import annotations

import contextlib
import functools
import re
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from records import tfds_metadata
from records.atomic import open_own, write_json, write_text
from records.errors import InputError
from records.manifest import MANIFEST_NAME, Manifest, Shard, withdraw_manifest
from records.places import Place
from records.shard_plan import SHARD_ENDING, cut_into_shards, name_shard
from records.shard_writing import PROGRESS_NAME, ShardTask, format_note, read_finished, write_shard
from records.split import order_by_content
from records.types import SPLITS, Example, Split
from records.workers import Workers

BYTES_A_MB = 1_000_000
TARGET_SHARD_BYTES = 32 * BYTES_A_MB
"""TensorFlow's guide on input performance asks for 100 MB or more where records lie on another
machine. Here they lie beside the training, and smaller shards are written and read side by side,
and less is lost when a run is killed."""

_OUR_SHARD = re.compile(rf"[a-z][a-z0-9_]*-(train|validation|test){SHARD_ENDING.pattern}", re.ASCII)

_OTHER_FILES = (
    *(MANIFEST_NAME, PROGRESS_NAME, tfds_metadata.FEATURES_NAME),
    *(tfds_metadata.DATASET_INFO_NAME, tfds_metadata.LABELS_NAME, tfds_metadata.LABEL_MAP_NAME),
)


def write_records(
    records_dir: Path,
    *,
    source: Place,
    name: str,
    layout: str,
    classes: Sequence[str],
    box_classes: Sequence[str],
    splits: Mapping[Split, Sequence[Example]],
    seed: int,
    workers: Workers | None = None,
    earlier: Path | None = None,
    target_shard_bytes: int = TARGET_SHARD_BYTES,
) -> Manifest:
    """Writes the shards, the files of other readers and, last, the manifest.

    Args:
        records_dir: Where to; made when it is not there. Shards that stand there and hold just what
            they should are kept, others of an earlier run are removed.
        source: The data folder.
        name: Name of the data folder; `tfds_metadata.dataset_name` makes it fit for a file.
        layout: How the data set was laid out.
        classes: Class names in the order of the labels.
        box_classes: Class names of the boxes in the order of their labels.
        splits: The examples of all of `SPLITS`, in any order.
        seed: Seed of the order of the records, which mixes the classes in every shard.
        workers: Who writes.
        earlier: A folder of records whose shards may be taken over, if they hold the same.
        target_shard_bytes: Bytes of pictures a shard holds at most, roughly.

    Returns:
        The manifest as written. Same arguments and same pictures give the same bytes in all files.

    Raises:
        InputError: A picture is gone or is no longer what it was, or the folder cannot be written.
    """
    name = tfds_metadata.dataset_name(name)
    folder = records_dir.absolute()  # Another process may have another current folder.
    work = functools.partial(
        write_shard, source.absolute(), folder, tuple(classes), tuple(box_classes)
    )
    try:
        records_dir.mkdir(parents=True, exist_ok=True)
        _remove_drafts(records_dir)
        finished = read_finished(records_dir, earlier)
        withdraw_manifest(records_dir)
        tasks = [
            ShardTask(split, file, tuple(examples), finished.get(file, ()))
            for split in SPLITS
            for file, examples in _plan(name, split, splits[split], seed, target_shard_bytes)
        ]
        written = _write_all(records_dir, tasks, workers or Workers(1), work)
        manifest = Manifest(
            folder=records_dir,
            name=name,
            layout=layout,
            classes=tuple(classes),
            box_classes=tuple(box_classes),
            is_grey=all(example.is_grey for example in splits["train"]),
            counts=_count(splits, classes),
            shards={
                split: tuple(
                    shard
                    for task, (shard, _) in zip(tasks, written, strict=True)
                    if task.split == split
                )
                for split in SPLITS
            },
            source_digest=f"{sum(total for _, total in written) % 2**256:064x}",
            split_seed=seed,
        )
        _write_metadata(manifest, splits)
        manifest.write()
        _remove_stale(manifest)
    except OSError as error:
        raise InputError(
            f"The records cannot be written to {records_dir}: {error.strerror or error}.",
            "Make room on the disk, change the folder's permissions or give another --work_dir; "
            "what is finished is kept.",
        ) from error
    return manifest


def _plan(
    name: str, split: Split, examples: Sequence[Example], seed: int, target_bytes: int
) -> list[tuple[str, Sequence[Example]]]:
    """Names of a split's shards, as many as the size asks, and which examples go into each."""
    ordered = order_by_content(examples, seed=seed, purpose="records")
    size = sum(example.size_bytes for example in ordered)
    bounds = cut_into_shards(len(ordered), size, target_bytes=target_bytes)
    return [
        (name_shard(name, split, index, len(bounds)), ordered[start:stop])
        for index, (start, stop) in enumerate(bounds)
    ]


def _write_all(
    folder: Path,
    tasks: Sequence[ShardTask],
    workers: Workers,
    work: functools.partial[tuple[Shard, int]],
) -> list[tuple[Shard, int]]:
    """Writes all shards and notes each that is finished, so that a later run need not."""
    written = []
    total = sum(len(task.examples) for task in tasks)
    with (
        tqdm(total=total, unit="pictures", desc="records", disable=None) as progress,
        open_own(folder / PROGRESS_NAME, "a", encoding="utf-8") as notes,
        _marked(folder) as mark,
    ):
        notes.write("\n")  # A kill may have torn the last line.
        for shard, row_sum in workers.map(work, tasks, seen=[mark]):
            notes.write(format_note(shard))
            notes.flush()
            written.append((shard, row_sum))
            progress.update(shard.count)
    return written


@contextlib.contextmanager
def _marked(folder: Path) -> Iterator[Path]:
    """Yields a file that is in the folder as long as this run writes to it.

    Who does not see it is on a machine that has another folder of this name, or late: it belongs
    to a run that was killed, and must not write into the folder of the next.
    """
    mark = folder / f".draft-{uuid.uuid4().hex}"
    mark.touch()
    try:
        yield mark
    finally:
        mark.unlink(missing_ok=True)


def _count(
    splits: Mapping[Split, Sequence[Example]], classes: Sequence[str]
) -> dict[Split, dict[str, int]]:
    counts = {split: Counter(example.label for example in splits[split]) for split in SPLITS}
    return {split: {name: counts[split][name] for name in classes} for split in SPLITS}


def _write_metadata(manifest: Manifest, splits: Mapping[Split, Sequence[Example]]) -> None:
    folder = manifest.folder
    examples = [example for split in SPLITS for example in splits[split]]
    # What a reader can decode every picture to; TensorFlow decodes no BMP to one channel.
    is_plain_grey = all(item.is_grey and item.image_format != "bmp" for item in examples)
    is_deep = all(item.bit_depth == 16 for item in examples)
    info = tfds_metadata.dataset_info_json(
        name=manifest.name,
        shard_lengths={name: [item.count for item in manifest.shards[name]] for name in SPLITS},
        shard_bytes={
            name: sum(path.stat().st_size for path in manifest.shard_paths(name)) for name in SPLITS
        },
    )
    features = tfds_metadata.features_json(
        classes=manifest.classes,
        channels=1 if is_plain_grey else 3,
        bits=16 if is_deep else 8,
    )
    write_json(folder / tfds_metadata.FEATURES_NAME, features)
    write_json(folder / tfds_metadata.DATASET_INFO_NAME, info)
    write_text(folder / tfds_metadata.LABELS_NAME, tfds_metadata.labels_text(manifest.classes))
    write_text(
        folder / tfds_metadata.LABEL_MAP_NAME, tfds_metadata.label_map_text(manifest.box_classes)
    )


def find_foreign(records_dir: Path, beside: Sequence[str]) -> Path | None:
    """The first thing in a folder of records that is none of its files, if any.

    Args:
        records_dir: The folder; it need not be there.
        beside: Names of files that may lie there as well.
    """
    known = {*beside, *_OTHER_FILES}
    for path in sorted(records_dir.iterdir()) if records_dir.is_dir() else ():
        is_known = path.name in known or _OUR_SHARD.fullmatch(path.name)
        if not is_known and not path.name.startswith(".draft-"):
            return path
    return None


def _remove_drafts(folder: Path) -> None:
    """Removes drafts that a kill left; what still writes to one cannot put it in its place then."""
    for path in folder.glob(".draft-*"):
        path.unlink(missing_ok=True)


def _remove_stale(manifest: Manifest) -> None:
    """Removes shards that the manifest does not name, notes, and drafts that a kill left."""
    current = {shard.file for split in SPLITS for shard in manifest.shards[split]}
    _remove_drafts(manifest.folder)
    for path in manifest.folder.iterdir():
        is_shard = _OUR_SHARD.fullmatch(path.name) is not None
        if (is_shard and path.name not in current) or path.name == PROGRESS_NAME:
            path.unlink()
