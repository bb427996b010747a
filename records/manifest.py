"""`manifest.json`: what a folder of records holds, and the proof that it is whole.

It is the last file written and the first one removed, so where it stands the records stand. Needs
no TensorFlow: a stage whose forerunner is missing can say so at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from records.atomic import write_json
from records.errors import InputError
from records.manifest_fields import check_fields
from records.tfrecord import count_frames, describe_damage
from records.types import SPLITS, Split
from records.untrusted import read_json, require_file

MANIFEST_NAME = "manifest.json"
SCHEMA_VERSION = 2
"""Grows when a reader of the old records could not read the new ones, or their manifest."""

_RUN_RECORDS = "python main.py --stage=records --data_dir=FOLDER with the same --work_dir"
_REMEDY = f"Run: {_RUN_RECORDS}."


@dataclass(frozen=True, slots=True)
class Shard:
    """One TFRecord file.

    Attributes:
        file: Its name in the folder.
        count: Records in it.
        sha256: Of its bytes, in hexadecimal.
        plan: SHA-256 over what went into it, in hexadecimal: a shard that is to hold the same again
            need not be written again.
    """

    file: str
    count: int
    sha256: str
    plan: str


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
        values = read_json(path)
        _require_version(path, values)
        check_fields(values)
    except FileNotFoundError as error:
        raise InputError(
            f"{path} is missing: the stage records has not been run here, or not to its end.",
            _REMEDY,
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a manifest: {error}.", _REMEDY) from error
    manifest = _from_json(records_dir, values)
    for split in SPLITS:
        for shard in manifest.shard_paths(split):
            if not shard.is_file():
                raise InputError(f"{shard} is missing though {path} names it.", _REMEDY)
    return manifest


def verify_shards(manifest: Manifest, *, splits: Sequence[Split] = SPLITS) -> None:
    """Holds the shards of `splits` to the manifest, piece by piece, and says where they differ.

    A shard's SHA-256 proves all of it. Only where that differs are the records walked through, to
    name the first bad one, counted from 1.

    Raises:
        InputError: A shard cannot be read, is cut short or damaged (with the record's number), has
            something behind its records, is another file, or holds another number of records than
            the manifest says.
    """
    for split in splits:
        for shard, path in zip(manifest.shards[split], manifest.shard_paths(split), strict=True):
            try:
                problem = _find_problem(manifest, shard, path)
            except OSError as error:
                raise InputError(f"{path} cannot be read: {error.strerror}.", _REMEDY) from error
            if problem:
                raise InputError(f"{path} {problem}.", _REMEDY)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with require_file(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def withdraw_manifest(records_dir: Path) -> None:
    """Removes the manifest, if any: from now on the folder counts as holding no records."""
    (records_dir / MANIFEST_NAME).unlink(missing_ok=True)


def _find_problem(manifest: Manifest, shard: Shard, path: Path) -> str:
    """What is wrong with a shard, empty when nothing is."""
    sha256 = file_digest(path)
    if sha256 == shard.sha256:
        count = count_frames(path)
        is_right = count == shard.count
        return "" if is_right else f"holds {count} records, its manifest says {shard.count}"
    for other in (other for split in SPLITS for other in manifest.shards[split]):
        if other.sha256 == sha256:
            return f"holds the records of {other.file}: the names were mixed up"
    return describe_damage(path, shard.count)


def _require_version(path: Path, values: Any) -> None:
    version = values.get("schema_version") if isinstance(values, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        raise ValueError("it has no schema_version")
    if version == SCHEMA_VERSION:
        return
    raise InputError(
        f"The records in {path.parent} are of schema version {version}; this program reads version "
        f"{SCHEMA_VERSION}.",
        f"Write them again: {_RUN_RECORDS}."
        if version < SCHEMA_VERSION
        else f"Update this program, or write them again: {_RUN_RECORDS}.",
    )


def _from_json(folder: Path, values: dict[str, Any]) -> Manifest:
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
