from __future__ import annotations

import dataclasses
import hashlib
import itertools
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf

from records.errors import InputError
from records.manifest import MANIFEST_NAME, Manifest, read_manifest, verify_shards
from records.parsing import parse_record
from records.types import SPLITS, AnnotatedObject, BoundingBox, Example, Split

Splits = dict[Split, tuple[Example, ...]]
Write = Callable[..., Manifest]
CLASSES = ("io", "nio")
BOX_CLASSES = ("bridge", "void")


def read_all(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def read_source_ids(paths: list[Path]) -> list[str]:
    data = tf.data.TFRecordDataset([str(path) for path in paths]).map(parse_record)
    return [record["source_id"].decode() for record in data.as_numpy_iterator()]


def source_ids(splits: Splits, split: Split) -> list[str]:
    return [example.source_id for example in splits[split]]


def test_the_folder_holds_the_contract_s_files_and_no_other(
    tmp_path: Path, splits: Splits, write: Write
) -> None:
    write(tmp_path / "records", splits=splits)
    assert sorted(read_all(tmp_path / "records")) == [
        "dataset_info.json",
        "features.json",
        "image-class-label.labels.txt",
        "label_map.pbtxt",
        "manifest.json",
        "x_ray-test.tfrecord-00000-of-00001",
        "x_ray-train.tfrecord-00000-of-00001",
        "x_ray-validation.tfrecord-00000-of-00001",
    ]


def test_the_manifest_says_what_was_written(tmp_path: Path, splits: Splits, write: Write) -> None:
    manifest = write(tmp_path / "records", splits=splits, seed=5)
    assert read_manifest(tmp_path / "records") == manifest
    assert (manifest.name, manifest.layout, manifest.split_seed) == ("x_ray", "folders", 5)
    assert (manifest.classes, manifest.box_classes) == (CLASSES, BOX_CLASSES)
    assert manifest.is_grey
    # 30 and 10 pictures, 20 % and 16 % of each, rounded.
    assert manifest.counts == {
        "train": {"io": 19, "nio": 6},
        "validation": {"io": 5, "nio": 2},
        "test": {"io": 6, "nio": 2},
    }
    assert [manifest.count(split) for split in SPLITS] == [25, 7, 8]
    [shard], [path] = manifest.shards["test"], manifest.shard_paths("test")
    assert shard.count == 8
    assert shard.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    text = (tmp_path / "records" / MANIFEST_NAME).read_bytes()
    assert manifest.digest == hashlib.sha256(text).hexdigest()
    verify_shards(manifest)


def test_every_picture_is_in_its_split_once_with_its_own_bytes(
    tmp_path: Path, splits: Splits, write: Write
) -> None:
    manifest = write(tmp_path / "records", splits=splits)
    for split in SPLITS:
        files = [str(path) for path in manifest.shard_paths(split)]
        records = list(tf.data.TFRecordDataset(files).map(parse_record).as_numpy_iterator())
        by_id = {record["source_id"].decode(): record for record in records}
        assert len(records) == len(by_id)
        assert sorted(by_id) == sorted(source_ids(splits, split))
        for example in splits[split]:
            record = by_id[example.source_id]
            assert record["encoded"] == (tmp_path / "pictures" / example.source_id).read_bytes()
            assert CLASSES[record["label"]] == example.label
            assert len(record["boxes"]) == len(example.objects)


def test_shards_are_as_many_as_the_bytes_ask_and_hold_all_classes(
    tmp_path: Path, splits: Splits, write: Write
) -> None:
    size = sum(example.size_bytes for example in splits["train"])
    manifest = write(tmp_path / "records", splits=splits, target_shard_bytes=size // 3 + 1)
    names = [f"x_ray-train.tfrecord-{index:05d}-of-00003" for index in range(3)]
    assert [shard.file for shard in manifest.shards["train"]] == names
    assert [shard.count for shard in manifest.shards["train"]] == [8, 8, 9]
    parts = [read_source_ids([path]) for path in manifest.shard_paths("train")]
    assert sorted(itertools.chain.from_iterable(parts)) == sorted(source_ids(splits, "train"))
    assert all({name.split("/")[0] for name in part} == set(CLASSES) for part in parts)
    verify_shards(manifest)


def test_no_more_shards_than_pictures(tmp_path: Path, splits: Splits, write: Write) -> None:
    manifest = write(tmp_path / "records", splits=splits, target_shard_bytes=1)
    assert [shard.count for shard in manifest.shards["validation"]] == [1] * 7


def test_same_pictures_and_seed_give_the_same_bytes_wherever_and_in_whatever_order(
    tmp_path: Path, splits: Splits, write: Write
) -> None:
    write(tmp_path / "records", splits=splits, target_shard_bytes=1500)
    copy = Path(shutil.copytree(tmp_path / "pictures", tmp_path / "copy"))
    moved: Splits = {
        split: tuple(random.Random(1).sample(splits[split], len(splits[split])))
        for split in reversed(SPLITS)
    }
    write(tmp_path / "again", source=copy, splits=moved, target_shard_bytes=1500)
    assert read_all(tmp_path / "again") == read_all(tmp_path / "records")


def test_the_seed_changes_the_order_and_nothing_else(
    tmp_path: Path, splits: Splits, write: Write
) -> None:
    orders = [
        read_source_ids(write(tmp_path / str(seed), splits=splits, seed=seed).shard_paths("train"))
        for seed in (0, 1)
    ]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])


def test_the_source_digest_sees_boxes_labels_and_splits(
    tmp_path: Path, splits: Splits, write: Write
) -> None:
    def with_first(example: Example) -> Splits:
        return {**splits, "train": (example, *splits["train"][1:])}

    first = splits["train"][0]
    box = AnnotatedObject("void", BoundingBox(1, 1, 2, 2.5))
    variants: list[Splits] = [
        splits,
        with_first(dataclasses.replace(first, objects=(box,))),
        with_first(dataclasses.replace(first, label="io" if first.label == "nio" else "nio")),
        {**splits, "train": splits["test"], "test": splits["train"]},
    ]
    digests = [
        write(tmp_path / str(index), splits=variant).source_digest
        for index, variant in enumerate(variants)
    ]
    assert len(set(digests)) == 4
    assert write(tmp_path / "again", splits=splits, seed=9).source_digest == digests[0]


def test_shards_and_drafts_of_earlier_runs_go_and_other_files_stay(
    tmp_path: Path, splits: Splits, write: Write
) -> None:
    folder = tmp_path / "records"
    write(folder, splits=splits, target_shard_bytes=1500)
    write(folder, splits=splits, name="other")
    draft = folder / ".draft-x1y2z3.tfrecord-00000-"
    for path in (draft, folder / "audit.json", folder / "mine.tfrecord"):
        path.write_text("{}")
    write(folder, splits=splits)
    written = set(read_all(folder))
    write(tmp_path / "fresh", splits=splits)
    assert written == set(read_all(tmp_path / "fresh")) | {"audit.json", "mine.tfrecord"}


@pytest.mark.parametrize("fault", ["changed", "gone"])
def test_a_picture_that_changed_or_went_is_named_and_nothing_looks_whole(
    tmp_path: Path, splits: Splits, fault: str, write: Write
) -> None:
    write(tmp_path / "records", splits=splits)
    path = tmp_path / "pictures" / splits["test"][-1].source_id
    if fault == "changed":
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    else:
        path.unlink()
    with pytest.raises(InputError) as caught:
        write(tmp_path / "records", splits=splits, seed=1)
    assert str(path) in caught.value.problem
    assert "--stage=records again" in caught.value.remedy
    assert not (tmp_path / "records" / MANIFEST_NAME).exists()
    assert not [name for name in read_all(tmp_path / "records") if name.startswith(".")]
    with pytest.raises(InputError, match="has not been run here, or not to its end"):
        read_manifest(tmp_path / "records")


def test_a_place_that_cannot_be_written_is_named(
    tmp_path: Path, splits: Splits, write: Write
) -> None:
    (tmp_path / "records").write_text("a file, not a folder")
    with pytest.raises(InputError, match="cannot be written"):
        write(tmp_path / "records", splits=splits)


def test_only_training_pictures_decide_on_grey(
    tmp_path: Path, splits: Splits, write: Write
) -> None:
    def colour_first(split: Split) -> Splits:
        first, *rest = splits[split]
        return {**splits, split: (dataclasses.replace(first, is_grey=False), *rest)}

    assert write(tmp_path / "test", splits=colour_first("test")).is_grey
    assert write(tmp_path / "validation", splits=colour_first("validation")).is_grey
    assert not write(tmp_path / "train", splits=colour_first("train")).is_grey
