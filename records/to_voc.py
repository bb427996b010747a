"""Records written back as pictures and VOC annotations, for who has nothing but the records.

Read as a data set again (`--stage=records`), they give the same pictures byte for byte, the same
classes, boxes and flags, and the same splits.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from records.atomic import locked, remove_tree, write_text
from records.errors import InputError
from records.manifest import Manifest, verify_shards
from records.pictures import probe_header
from records.schema import Record, decode_example
from records.tfrecord import read_frames
from records.types import SPLITS, Annotation, Split
from records.voc import format_annotation
from records.voc_names import Names, split_name

_LIST_NAMES: dict[Split, str] = {"train": "train", "validation": "val", "test": "test"}


@dataclass(frozen=True, slots=True)
class WrittenVoc:
    """What was written.

    Attributes:
        layout: `split` or `voc`.
        counts: Pictures of each split.
        renamed: Folders of those classes whose names are none for a folder, by the class.
    """

    layout: str
    counts: dict[Split, int]
    renamed: dict[str, str]

    @property
    def count(self) -> int:
        """Pictures in all."""
        return sum(self.counts.values())


def write_voc(manifest: Manifest, folder: Path) -> WrittenVoc:
    """Writes the pictures and annotations of a folder of records.

    Where classes came from folders, they become folders (layout `split`):
    `<split>/images/<class>/*` and `<split>/annotations/*.xml`. Where they came from the objects
    (layouts `voc` and `flat`), a folder could say less than the objects do, and it becomes a VOC
    devkit: `JPEGImages/*`, `Annotations/*.xml` and the lists of `ImageSets/Main`.

    A picture is called as it was when the records were made, with another extension where the
    record holds another format, and with a number where another one has the name. Every picture
    gets an annotation, those without objects an empty one.

    Args:
        manifest: Of records; all shards are verified first.
        folder: Where to; it must not exist or be empty. It appears whole or not at all.

    Raises:
        InputError: The records are damaged, `folder` holds something, cannot be written, or is
            being written by another process.
    """
    folder = folder.resolve()
    _require_empty(folder)
    verify_shards(manifest)
    try:
        with _drafting(folder) as draft:
            written = _write_all(manifest, draft)
            os.sync()  # After a power cut the name must not stand for files that are not there.
            draft.replace(folder)
    except OSError as error:
        raise InputError(
            f"The pictures cannot be written to {folder}: {error.strerror or error}.",
            "Make room on the disk, change the folder's permissions or give another folder.",
        ) from error
    return written


@dataclass(frozen=True, slots=True)
class _Target:
    """Where the pictures of a layout go, and which names are taken."""

    root: Path
    layout: str
    stems: Names = field(default_factory=Names)
    classes: Names = field(default_factory=Names)
    folder_of: dict[str, str] = field(default_factory=dict)
    listed: dict[Split, list[str]] = field(default_factory=lambda: {name: [] for name in SPLITS})

    def place(self, split: Split, record: Record) -> tuple[Path, Path]:
        """Paths for a picture and its annotation; their folders are made."""
        stem, extension = split_name(record.filename, record.image_format)
        stem = self.stems.take(stem)
        self.listed[split].append(stem)
        if self.layout == "voc":
            pictures, annotations = self.root / "JPEGImages", self.root / "Annotations"
        else:
            pictures = self.root / split / "images" / self._find_folder(record.label)
            annotations = self.root / split / "annotations"
        for folder in (pictures, annotations):
            folder.mkdir(parents=True, exist_ok=True)
        return pictures / f"{stem}{extension}", annotations / f"{stem}.xml"

    def write_lists(self) -> None:
        """Writes which picture is in which split, where the folders do not say it."""
        if self.layout == "voc":
            for split, stems in self.listed.items():
                path = self.root / "ImageSets" / "Main" / f"{_LIST_NAMES[split]}.txt"
                write_text(path, "".join(f"{stem}\n" for stem in stems))

    def _find_folder(self, label: str) -> str:
        if label not in self.folder_of:
            self.folder_of[label] = self.classes.take(label)
        return self.folder_of[label]


@contextlib.contextmanager
def _drafting(folder: Path) -> Iterator[Path]:
    """Yields an empty folder beside `folder`; what a killed run left there is removed first."""
    draft = folder.with_name(f".draft-{folder.name}")
    if draft.is_symlink():
        draft.unlink()
    draft.mkdir(parents=True, exist_ok=True)
    with locked(draft) as is_ours:
        if not is_ours:
            raise InputError(
                f"Another process writes to {folder}.", "Wait for its end, or give another folder."
            )
        try:
            for left in draft.iterdir():
                remove_tree(left)
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _require_empty(folder: Path) -> None:
    try:
        is_free = not folder.exists() or not any(folder.iterdir())
    except OSError:  # A file, or a folder that may not be looked into.
        is_free = False
    if not is_free:
        raise InputError(
            f"{folder} is there already and is no empty folder.",
            "Give a folder that does not exist yet, or an empty one.",
        )


def _write_all(manifest: Manifest, root: Path) -> WrittenVoc:
    target = _Target(root, "voc" if manifest.layout in ("voc", "flat") else "split")
    counts: Counter[Split] = Counter()
    with tqdm(
        total=sum(manifest.count(split) for split in SPLITS),
        unit="pictures",
        desc="voc",
        disable=None,
    ) as progress:
        for split, record in _read_records(manifest):
            picture, annotation = target.place(split, record)
            picture.write_bytes(record.encoded)
            annotation.write_bytes(_format_annotation(record, picture.name))
            counts[split] += 1
            progress.update()
    target.write_lists()
    renamed = {label: name for label, name in target.folder_of.items() if label != name}
    return WrittenVoc(target.layout, {split: counts[split] for split in SPLITS}, renamed)


def _read_records(manifest: Manifest) -> Iterator[tuple[Split, Record]]:
    for split in SPLITS:
        for path in manifest.shard_paths(split):
            for number, serialized in enumerate(read_frames(path), start=1):
                try:
                    yield split, decode_example(serialized)
                except ValueError as error:
                    raise InputError(
                        f"Record {number} of {path} is none of ours: {error}.",
                        "Write the records again with this program.",
                    ) from error


def _format_annotation(record: Record, filename: str) -> bytes:
    try:
        depth = 1 if probe_header(record.encoded).is_grey else 3
        return format_annotation(
            Annotation(filename, record.width, record.height, depth, record.objects)
        )
    except ValueError as error:  # Not a picture that is read, or a name that XML cannot hold.
        raise InputError(
            f"The record of {record.source_id} cannot be written back: {error}.",
            "Write the records again with this program.",
        ) from error
