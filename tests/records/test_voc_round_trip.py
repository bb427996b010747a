"""Pictures to records, to pictures again, to records again: the same in all that counts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from records.audit import Audit, audit
from records.layouts import find_samples
from records.manifest import Manifest
from records.schema import decode_example
from records.shards import write_records
from records.split import assign_splits
from records.tfrecord import read_frames
from records.to_voc import write_voc
from records.types import SPLITS
from tests.records.folders import annotate, draw

NIO = (("void", 0.0, 0.0, 20.5, 20.0), ("bridge", 20.0, 1.0, 30.0, 3.25))


def make_records(source: Path, folder: Path, *, near_duplicates: bool) -> tuple[Manifest, Audit]:
    found = audit(find_samples(source), near_duplicates=near_duplicates)
    manifest = write_records(
        folder,
        source=source,
        name="data",
        layout=found.layout,
        classes=found.classes,
        box_classes=found.box_classes,
        splits=assign_splits(found.examples, found.groups, seed=0).splits,
        seed=0,
    )
    return manifest, found


def read_contents(manifest: Manifest) -> list[tuple[object, ...]]:
    """All that a record holds but the picture's name, split by split, in the order of the files."""
    return [
        (split, *dataclasses.astuple(dataclasses.replace(record, filename="", source_id="")))
        for split in SPLITS
        for path in manifest.shard_paths(split)
        for record in map(decode_example, read_frames(path))
    ]


def put_pair(picture: Path, annotation: Path, seed: int, *, is_nio: bool) -> None:
    draw(picture, seed)
    annotate(annotation, *NIO if is_nio else ())


def make_split(root: Path) -> None:
    for number in range(18):
        split, label = ("train", "validation", "test")[number % 3], "nio" if number % 2 else "io"
        stem = f"{label} {number // 6}"
        annotation = root / split / "annotations" / f"{stem}.xml"
        picture = root / split / "images" / label / f"{stem}.png"
        put_pair(picture, annotation, number, is_nio=number % 2 == 1)


def make_images(root: Path) -> None:
    """Two pictures of one name, and a 16-bit TIFF; `io` has no annotations."""
    for number in range(24):
        label = "nio" if number % 3 == 0 else "io"
        draw(root / "images" / label / f"{number // 3}{'ab'[label == 'io']}.bmp", number)
        if label == "nio":
            annotate(root / "annotations" / f"{number // 3}a.xml", *NIO)
    noise = np.random.default_rng(99).integers(0, 65536, (20, 30)).astype(np.uint16)
    Image.fromarray(noise).save(root / "images" / "nio" / "0c.tif")


def make_folders(root: Path) -> None:
    """The same names in both folders."""
    for number in range(20):
        draw(root / ("good", "bad")[number % 2] / f"{number // 2}.jpg", number)


def make_voc(root: Path) -> None:
    """`bridge` is never the largest, so that it is the class of no picture; `io` has no objects."""
    for number in range(20):
        annotation = root / "Annotations" / f"{number}.xml"
        put_pair(root / "JPEGImages" / f"{number}.png", annotation, number, is_nio=number % 2 == 1)
    lists = root / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for name, numbers in {"train": range(12), "val": range(12, 16), "test": range(16, 20)}.items():
        (lists / f"{name}.txt").write_text("".join(f"{number}\n" for number in numbers))


def make_flat(root: Path) -> None:
    for number in range(20):
        picture, annotation = root / f"p {number}.PNG", root / f"p {number}.xml"
        put_pair(picture, annotation, number, is_nio=number % 2 == 1)


@pytest.mark.parametrize("make", [make_split, make_images, make_folders, make_voc, make_flat])
def test_every_layout_survives_the_way_there_and_back(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "source")
    first, audited = make_records(tmp_path / "source", tmp_path / "first", near_duplicates=False)
    assert not [item for item in audited.findings if item.is_error]
    written = write_voc(first, tmp_path / "voc")
    assert written.renamed == {}
    again, audited = make_records(tmp_path / "voc", tmp_path / "again", near_duplicates=False)
    assert {item.code for item in audited.findings} <= {"class_too_small"}
    assert audited.layout == written.layout
    assert (again.classes, again.box_classes) == (first.classes, first.box_classes)
    assert again.counts == first.counts
    contents = read_contents(first)
    assert len(contents) == sum(first.count(split) for split in SPLITS) > 15
    assert sorted(map(repr, read_contents(again))) == sorted(map(repr, contents))


def test_neu_survives_the_way_there_and_back(real_data: Path, tmp_path: Path) -> None:
    first, _ = make_records(real_data / "neu-det", tmp_path / "first", near_duplicates=False)
    write_voc(first, tmp_path / "voc")
    again, audited = make_records(tmp_path / "voc", tmp_path / "again", near_duplicates=False)
    # What was set aside is gone, what was remarked on is remarked on again.
    codes = {item.code for item in audited.findings}
    assert codes == {"object_of_other_class"}
    assert read_contents(again) == read_contents(first)
    assert again.counts == first.counts
