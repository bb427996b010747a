from __future__ import annotations

import hashlib
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from records.audit import Audit, audit
from records.layouts import find_samples
from records.manifest import Manifest, verify_shards
from records.parsing import parse_record
from records.pictures import read_file
from records.shards import write_records
from records.split import assign_splits
from records.types import SPLITS, Split

NEU_CLASSES = (
    "crazing",
    "inclusion",
    "patches",
    "pitted_surface",
    "rolled-in_scale",
    "scratches",
)


def write(folder: Path, audited: Audit) -> Manifest:
    return write_records(
        folder,
        source=audited.source,
        name="real",
        layout=audited.layout,
        classes=audited.classes,
        box_classes=audited.box_classes,
        splits=assign_splits(audited.examples, audited.groups, seed=0).splits,
        seed=0,
    )


def read_contents(manifest: Manifest) -> dict[Split, set[str]]:
    """SHA-256 of the stored pictures of each split."""
    contents: dict[Split, set[str]] = {}
    for split in SPLITS:
        data = tf.data.TFRecordDataset([str(path) for path in manifest.shard_paths(split)])
        contents[split] = {
            hashlib.sha256(record["encoded"]).hexdigest()
            for record in data.map(parse_record).as_numpy_iterator()
        }
    return contents


def copy_in_random_order(source: Path, target: Path, *, prefix: str = "") -> Path:
    """Copies a folder file by file in a random order, each name with a random prefix if asked."""
    files = sorted(path for path in source.rglob("*") if path.is_file())
    draw = random.Random(0)
    prefixes = {stem: f"{prefix}{draw.random():.9f}_" for stem in sorted({p.stem for p in files})}
    for path in draw.sample(files, len(files)):
        copy = target / path.relative_to(source)
        if prefix:
            copy = copy.with_name(prefixes[path.stem] + path.name)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return target


@pytest.fixture(scope="module")
def neu_audit(real_data: Path) -> Audit:
    return audit(find_samples(real_data / "neu-det"))


@pytest.fixture(scope="module")
def neu(neu_audit: Audit, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return write(tmp_path_factory.mktemp("neu"), neu_audit)


def test_neu_keeps_its_published_test_pictures_and_draws_validation(neu: Manifest) -> None:
    # Two of patches are the same bytes; ten pictures show what a test picture shows.
    train = {**dict.fromkeys(NEU_CLASSES, 203), "crazing": 204, "rolled-in_scale": 204}
    train["scratches"] = 197
    assert (neu.classes, neu.box_classes, neu.is_grey) == (NEU_CLASSES, NEU_CLASSES, True)
    assert neu.counts == {
        "train": train,
        "validation": dict.fromkeys(NEU_CLASSES, 36) | {"scratches": 35},
        "test": dict.fromkeys(NEU_CLASSES, 60),
    }
    verify_shards(neu)


def test_no_picture_of_neu_is_in_two_splits(neu: Manifest) -> None:
    contents = read_contents(neu)
    assert [len(contents[split]) for split in SPLITS] == [1214, 215, 360]
    assert len(set.union(*contents.values())) == 1789


def test_tfds_reads_neu_as_it_is_on_disk(neu: Manifest, neu_audit: Audit) -> None:
    by_id = {example.source_id: example for example in neu_audit.examples}
    builder = tfds.builder_from_directory(neu.folder)
    assert builder.info.splits["train"].num_examples == 1214
    for item in tfds.as_numpy(builder.as_dataset(split="test[:40]")):
        image = item["image"]
        example = by_id[image["source_id"].decode()]
        encoded = read_file(neu_audit.source / example.source_id)
        np.testing.assert_array_equal(image["encoded"], tf.io.decode_jpeg(encoded, channels=1))
        assert NEU_CLASSES[image["class"]["label"]] == example.label
        pixels = np.stack(
            [image["object"]["bbox"][side] * 200 for side in ("xmin", "ymin", "xmax", "ymax")],
            axis=-1,
        )
        boxes = [item.box for item in example.objects]
        wanted = np.array([(box.xmin, box.ymin, box.xmax, box.ymax) for box in boxes])
        np.testing.assert_allclose(pixels, wanted, atol=1e-4)


def test_neu_copied_in_another_order_gives_the_same_bytes(
    neu: Manifest, real_data: Path, tmp_path: Path
) -> None:
    copy = copy_in_random_order(real_data / "neu-det", tmp_path / "copy")
    again = write(tmp_path / "records", audit(find_samples(copy)))
    for path in sorted(neu.folder.iterdir()):
        assert (again.folder / path.name).read_bytes() == path.read_bytes(), path.name
    assert again.digest == neu.digest


def test_magnetic_tiles_are_split_by_content_whatever_their_names(
    real_data: Path, tmp_path: Path
) -> None:
    source = real_data / "magnetic-tile"
    manifest = write(tmp_path / "records", audit(find_samples(source)))
    assert manifest.counts == {
        "train": {"io": 613, "nio": 245},
        "validation": {"io": 147, "nio": 68},
        "test": {"io": 192, "nio": 79},
    }
    assert manifest.box_classes == ("blowhole", "break", "crack", "fray", "uneven")
    copy = copy_in_random_order(source, tmp_path / "copy", prefix="renamed_")
    renamed = write(tmp_path / "renamed", audit(find_samples(copy)))
    assert read_contents(renamed) == read_contents(manifest)
    assert renamed.counts == manifest.counts
