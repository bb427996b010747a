"""`manifest.json`: what a folder of records holds, and the proof that it is whole.

It is the last file written and the first one removed, so where it stands the records stand. Needs
no TensorFlow: a stage whose forerunner is missing can say so at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

from records.atomic import write_json
from records.errors import InputError
from records.types import SPLITS, Example, Split

MANIFEST_NAME = "manifest.json"
SCHEMA_VERSION = 1
"""Grows when a reader of the old records could not read the new ones."""
_PIECE_BYTES = 2**20

_REMEDY = "Run: python main.py --stage=records --data_dir=FOLDER with the same --work_dir."


@dataclass(frozen=True, slots=True)
class Shard:
    """One TFRecord file: its name in the folder, its records, its SHA-256 in hexadecimal."""

    file: str
    count: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` says.

    Attributes:
        folder: Where the records are; not part of the file, which may be moved with them.
        name: Name of the data set, the first part of the shards' names.
        layout: How the data set was laid out, one of those of `records.layouts`.
        classes: Class names; a picture's label is an index into them.
        box_classes: Class names of the boxes; a box's label is an index into them plus one.
        is_grey: Whether no training picture holds colour. It decides on the model's input, on which
            the pictures that the model is measured with have no say.
        counts: Pictures of each split and class, zeros included.
        shards: The files of each split, in order.
        source_digest: SHA-256 over what went in: pictures, labels, splits and boxes.
        split_seed: Seed of the split and of the order of the records.
        schema_version: `SCHEMA_VERSION` of the writer.
    """

    folder: Path
    name: str
    layout: str
    classes: tuple[str, ...]
    box_classes: tuple[str, ...]
    is_grey: bool
    counts: dict[Split, dict[str, int]]
    shards: dict[Split, tuple[Shard, ...]]
    source_digest: str
    split_seed: int
    schema_version: int = SCHEMA_VERSION

    @property
    def digest(self) -> str:
        """SHA-256 of `manifest.json`, in hexadecimal.

        It stands for the records as they were written, since the manifest has their sums;
        `verify_shards` proves that they still are.
        """
        return file_digest(self.folder / MANIFEST_NAME)

    def shard_paths(self, split: Split) -> list[Path]:
        """The files of a split, in order."""
        return [self.folder / shard.file for shard in self.shards[split]]

    def count(self, split: Split) -> int:
        """Pictures in a split."""
        return sum(self.counts[split].values())

    def write(self) -> None:
        """Writes `manifest.json` into the folder, whole or not at all."""
        values = asdict(self)
        del values["folder"]
        write_json(self.folder / MANIFEST_NAME, values)


def read_manifest(records_dir: Path) -> Manifest:
    """Reads the manifest of a folder of records and looks whether its shards are there.

    Raises:
        InputError: There is none, it is damaged, another version wrote it, or a shard is missing.
    """
    path = records_dir / MANIFEST_NAME
    try:
        manifest = _from_json(records_dir, json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise InputError(
            f"{path} is missing: the stage records has not been run here, or not to its end.",
            _REMEDY,
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} cannot be read as a manifest: {type(error).__name__}: {error}.", _REMEDY
        ) from error
    for split in SPLITS:
        for shard in manifest.shard_paths(split):
            if not shard.is_file():
                raise InputError(f"{shard} is missing though {path} names it.", _REMEDY)
    return manifest


def verify_shards(manifest: Manifest, *, splits: Sequence[Split] = SPLITS) -> None:
    """Reads the shards of `splits`, each once and piece by piece, and holds them to the manifest.

    Raises:
        InputError: A shard cannot be read, or has other bytes or another number of records than the
            manifest says.
    """
    for split in splits:
        for shard, path in zip(manifest.shards[split], manifest.shard_paths(split), strict=True):
            try:
                sha256, count = _scan_shard(path)
            except OSError as error:
                raise InputError(f"{path} cannot be read: {error.strerror}.", _REMEDY) from error
            if sha256 != shard.sha256:
                raise InputError(f"{path} is not the file its manifest describes.", _REMEDY)
            if count != shard.count:
                raise InputError(
                    f"{path} holds {count} records, its manifest says {shard.count}.", _REMEDY
                )
        if manifest.count(split) != sum(shard.count for shard in manifest.shards[split]):
            raise InputError(f"The counts of {split} in {manifest.folder} disagree.", _REMEDY)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def withdraw_manifest(records_dir: Path) -> None:
    """Removes the manifest, if any: from now on the folder counts as holding no records."""
    (records_dir / MANIFEST_NAME).unlink(missing_ok=True)


def digest_source(splits: Mapping[Split, Sequence[Example]]) -> str:
    """SHA-256 over pictures, labels, splits and boxes: what went in, whatever order it came in."""
    rows = sorted(
        [
            example.source_id,
            example.sha256,
            example.label,
            split,
            [[item.name, *astuple(item.box)] for item in example.objects],
        ]
        for split in SPLITS
        for example in splits[split]
    )
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _scan_shard(path: Path) -> tuple[str, int]:
    """SHA-256 of a TFRecord file in hexadecimal, and how many whole records it holds.

    A record is its length (uint64, little-endian), 4 bytes of checksum, the data and 4 bytes of
    checksum: https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details.
    """
    digest, count = hashlib.sha256(), 0
    with path.open("rb") as file:
        while header := file.read(12):
            digest.update(header)
            left = int.from_bytes(header[:8], "little") + 4
            while left and (piece := file.read(min(left, _PIECE_BYTES))):
                digest.update(piece)
                left -= len(piece)
            count += left == 0
    return digest.hexdigest(), count


def _from_json(folder: Path, values: dict[str, Any]) -> Manifest:
    version = values["schema_version"]
    if version != SCHEMA_VERSION:
        raise ValueError(f"schema version {version}, this program reads {SCHEMA_VERSION}")
    return Manifest(
        folder=folder,
        name=values["name"],
        layout=values["layout"],
        classes=tuple(values["classes"]),
        box_classes=tuple(values["box_classes"]),
        is_grey=values["is_grey"],
        counts={split: dict(values["counts"][split]) for split in SPLITS},
        shards={
            split: tuple(Shard(**shard) for shard in values["shards"][split]) for split in SPLITS
        },
        source_digest=values["source_digest"],
        split_seed=values["split_seed"],
    )
