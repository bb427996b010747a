"""TFRecord files: written so that a folder of records is whole or visibly not there.

The old manifest goes first and the new one comes last. Between the two a run may be killed at any
moment: what it leaves is no set of records to any stage, and the next run clears it away.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import tensorflow as tf
from tqdm import tqdm

from records import tfds_metadata
from records.atomic import replacing, write_json, write_text
from records.errors import InputError
from records.manifest import Manifest, Shard, digest_source, file_digest, withdraw_manifest
from records.schema import encode_example
from records.split import order_by_content
from records.types import SPLITS, Example, Split

TARGET_SHARD_BYTES = 100_000_000
"""What TensorFlow's guide on input performance asks of a shard: 100 MB or more."""

_OUR_SHARD = re.compile(r"[a-z][a-z0-9_]*-(train|validation|test)\.tfrecord-\d{5}-of-\d{5}")


def write_records(
    records_dir: Path,
    *,
    name: str,
    layout: str,
    classes: Sequence[str],
    box_classes: Sequence[str],
    splits: Mapping[Split, Sequence[Example]],
    seed: int,
    target_shard_bytes: int = TARGET_SHARD_BYTES,
) -> Manifest:
    """Writes the shards, the files of other readers and, last, the manifest.

    Args:
        records_dir: Where to; made when it is not there. Shards of an earlier run are removed.
        name: Name of the data folder; `tfds_metadata.dataset_name` makes it fit for a file.
        layout: How the data set was laid out.
        classes: Class names in the order of the labels.
        box_classes: Class names of the boxes in the order of their labels.
        splits: The examples of all of `SPLITS`, in any order.
        seed: Seed of the order of the records, which mixes the classes in every shard.
        target_shard_bytes: Bytes of pictures a shard holds at most, roughly.

    Returns:
        The manifest as written. Same arguments and same pictures give the same bytes in all files.

    Raises:
        InputError: A picture is gone or is no longer what it was, or the folder cannot be written.
    """
    examples = [example for split in SPLITS for example in splits[split]]
    encode = functools.partial(encode_example, classes=classes, box_classes=box_classes)
    name = tfds_metadata.dataset_name(name)
    ordered = {
        split: order_by_content(splits[split], seed=seed, purpose="records") for split in SPLITS
    }
    try:
        records_dir.mkdir(parents=True, exist_ok=True)
        withdraw_manifest(records_dir)
        with tqdm(total=len(examples), unit="pictures", desc="records", disable=None) as bar:
            shards = {
                split: _write_shards(
                    records_dir / f"{name}-{split}.tfrecord",
                    ordered[split],
                    encode=encode,
                    target_bytes=target_shard_bytes,
                    bar=bar,
                )
                for split in SPLITS
            }
        manifest = Manifest(
            folder=records_dir,
            name=name,
            layout=layout,
            classes=tuple(classes),
            box_classes=tuple(box_classes),
            is_grey=all(example.is_grey for example in splits["train"]),
            counts=_count(splits, classes),
            shards=shards,
            source_digest=digest_source(splits),
            split_seed=seed,
        )
        _write_metadata(manifest, channels=_decoded_channels(examples))
        manifest.write()
        _remove_stale(manifest)
    except (OSError, tf.errors.OpError) as error:
        raise InputError(
            f"The records cannot be written to {records_dir}: {error}.",
            "Make room on the disk, change the folder's permissions or give another --work_dir.",
        ) from error
    return manifest


def _write_shards(
    stem: Path,
    ordered: Sequence[Example],
    *,
    encode: Callable[[Example, bytes], bytes],
    target_bytes: int,
    bar: tqdm[NoReturn],
) -> tuple[Shard, ...]:
    """Writes examples in this order, to shards of nearly equal count, as many as the size asks."""
    size = sum(_picture_bytes(example) for example in ordered)
    number = max(1, min(len(ordered), math.ceil(size / target_bytes)))
    bounds = [len(ordered) * index // number for index in range(number + 1)]
    return tuple(
        _write_shard(
            stem.with_name(f"{stem.name}-{index:05d}-of-{number:05d}"),
            ordered[first:last],
            encode=encode,
            bar=bar,
        )
        for index, (first, last) in enumerate(itertools.pairwise(bounds))
    )


def _write_shard(
    path: Path,
    examples: Sequence[Example],
    *,
    encode: Callable[[Example, bytes], bytes],
    bar: tqdm[NoReturn],
) -> Shard:
    with replacing(path) as draft:
        with tf.io.TFRecordWriter(str(draft)) as writer:
            for example in examples:
                writer.write(encode(example, _read_picture(example)))
                bar.update()
        return Shard(file=path.name, count=len(examples), sha256=file_digest(draft))


def _read_picture(example: Example) -> bytes:
    """Reads a picture's bytes and proves that they are those that were audited."""
    try:
        encoded = example.image_path.read_bytes()
    except OSError as error:
        raise _picture_gone(example, error) from error
    if hashlib.sha256(encoded).hexdigest() != example.sha256:
        raise InputError(
            f"{example.image_path} changed while the records were being written.",
            "Wait until nothing writes to the data folder, then run --stage=records again.",
        )
    return encoded


def _picture_bytes(example: Example) -> int:
    try:
        return example.image_path.stat().st_size
    except OSError as error:
        raise _picture_gone(example, error) from error


def _picture_gone(example: Example, error: OSError) -> InputError:
    return InputError(
        f"{example.image_path} can no longer be read: {error.strerror}.",
        "Put the file back or run --stage=records again without it.",
    )


def _count(
    splits: Mapping[Split, Sequence[Example]], classes: Sequence[str]
) -> dict[Split, dict[str, int]]:
    counts = {split: Counter(example.label for example in splits[split]) for split in SPLITS}
    return {split: {name: counts[split][name] for name in classes} for split in SPLITS}


def _decoded_channels(examples: Sequence[Example]) -> int:
    """Channels that a reader can decode every picture to; TensorFlow decodes no BMP to one."""
    is_plain_grey = all(item.is_grey and item.image_format != "bmp" for item in examples)
    return 1 if is_plain_grey else 3


def _write_metadata(manifest: Manifest, *, channels: int) -> None:
    folder = manifest.folder
    info = tfds_metadata.dataset_info_json(
        name=manifest.name,
        shard_lengths={name: [item.count for item in manifest.shards[name]] for name in SPLITS},
        shard_bytes={
            name: sum(path.stat().st_size for path in manifest.shard_paths(name)) for name in SPLITS
        },
    )
    features = tfds_metadata.features_json(classes=manifest.classes, channels=channels)
    write_json(folder / tfds_metadata.FEATURES_NAME, features)
    write_json(folder / tfds_metadata.DATASET_INFO_NAME, info)
    write_text(folder / tfds_metadata.LABELS_NAME, tfds_metadata.labels_text(manifest.classes))
    write_text(
        folder / tfds_metadata.LABEL_MAP_NAME, tfds_metadata.label_map_text(manifest.box_classes)
    )


def _remove_stale(manifest: Manifest) -> None:
    """Removes shards that the manifest does not name, and drafts that a killed run left."""
    current = {shard.file for split in SPLITS for shard in manifest.shards[split]}
    for path in manifest.folder.iterdir():
        is_shard = _OUR_SHARD.fullmatch(path.name) is not None
        is_draft = path.name.startswith(".draft-")
        if (is_shard and path.name not in current) or is_draft:
            path.unlink()
