"""Shards that an earlier run finished are kept, and only those that hold what they should."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from records.errors import InputError
from records.manifest import MANIFEST_NAME, Manifest, verify_shards
from records.shard_writing import PROGRESS_NAME
from records.types import SPLITS, Example, Split
from records.workers import Workers

Splits = dict[Split, tuple[Example, ...]]
Write = Callable[..., Manifest]
SMALL_SHARD_BYTES = 1500


def read_all(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def inodes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in folder.glob("*.tfrecord-*")}


def interrupt(folder: Path, tmp_path: Path, splits: Splits, write: Write) -> None:
    """Leaves `folder` as a run does that ends before the last picture of the test split."""
    last = tmp_path / "pictures" / splits["test"][-1].source_id
    kept = last.read_bytes()
    last.unlink()
    with pytest.raises(InputError, match="can no longer be read"):
        write(folder, splits=splits, target_shard_bytes=SMALL_SHARD_BYTES)
    last.write_bytes(kept)


def test_finished_shards_are_kept_and_the_bytes_are_the_same(
    tmp_path: Path, splits: Splits, write: Write
) -> None:
    folder = tmp_path / "records"
    write(tmp_path / "whole", splits=splits, target_shard_bytes=SMALL_SHARD_BYTES)
    interrupt(folder, tmp_path, splits, write)
    assert not (folder / MANIFEST_NAME).exists()
    finished = inodes(folder)
    assert len(finished) > 3
    write(folder, splits=splits, target_shard_bytes=SMALL_SHARD_BYTES)
    assert read_all(folder) == read_all(tmp_path / "whole")
    after = inodes(folder)
    assert {name: after[name] for name in finished} == finished


@pytest.mark.parametrize("size", [SMALL_SHARD_BYTES // 2, 3 * SMALL_SHARD_BYTES])
def test_a_run_that_goes_on_with_another_size_of_shards_leaves_no_trace_of_the_first(
    tmp_path: Path, splits: Splits, write: Write, size: int
) -> None:
    folder = tmp_path / "records"
    interrupt(folder, tmp_path, splits, write)
    finished = inodes(folder)
    write(folder, splits=splits, target_shard_bytes=size)
    write(tmp_path / "fresh", splits=splits, target_shard_bytes=size)
    assert read_all(folder) == read_all(tmp_path / "fresh")
    kept = {name for name, inode in inodes(folder).items() if finished.get(name) == inode}
    # A split that is one file at either size is the same file.
    assert all(name.endswith("-00000-of-00001") for name in kept)


@pytest.mark.parametrize("damage", ["a byte", "the end", "the notes", "the plan"])
def test_a_finished_shard_that_is_not_what_it_should_be_is_written_again(
    tmp_path: Path, splits: Splits, write: Write, damage: str
) -> None:
    folder = tmp_path / "records"
    interrupt(folder, tmp_path, splits, write)
    shard = sorted(folder.glob("*.tfrecord-*"))[0]
    content = shard.read_bytes()
    notes = folder / PROGRESS_NAME
    if damage == "a byte":
        shard.write_bytes(content[:40] + bytes([content[40] ^ 1]) + content[41:])
    elif damage == "the end":
        shard.write_bytes(content[:-5])
    elif damage == "the notes":
        notes.write_bytes(notes.read_bytes()[:-30] + b"\xff{[")
    else:
        first = splits["train"][0]
        relabelled = "io" if first.label == "nio" else "nio"
        splits = {
            **splits,
            "train": (dataclasses.replace(first, label=relabelled), *splits["train"][1:]),
        }
    manifest = write(folder, splits=splits, target_shard_bytes=SMALL_SHARD_BYTES)
    verify_shards(manifest)
    write(tmp_path / "fresh", splits=splits, target_shard_bytes=SMALL_SHARD_BYTES)
    assert read_all(folder) == read_all(tmp_path / "fresh")


def test_shards_of_earlier_records_are_taken_over_where_they_hold_the_same(
    tmp_path: Path, splits: Splits, write: Write
) -> None:
    write(tmp_path / "earlier", splits=splits)
    changed: Splits = {**splits, "test": splits["test"][1:]}
    write(tmp_path / "records", splits=changed, earlier=tmp_path / "earlier")
    earlier, after = inodes(tmp_path / "earlier"), inodes(tmp_path / "records")
    same = {name for name in after if after[name] == earlier[name]}
    assert {name.split("-")[1].split(".")[0] for name in same} == {"train", "validation"}
    write(tmp_path / "fresh", splits=changed)
    assert read_all(tmp_path / "records") == read_all(tmp_path / "fresh")


@pytest.mark.parametrize("count", [2, 3])
def test_the_number_of_processes_leaves_no_trace(
    tmp_path: Path, splits: Splits, write: Write, count: int
) -> None:
    write(tmp_path / "one", splits=splits, target_shard_bytes=SMALL_SHARD_BYTES)
    with Workers(count) as workers:
        manifest = write(
            tmp_path / "many",
            splits=splits,
            target_shard_bytes=SMALL_SHARD_BYTES,
            workers=workers,
        )
    assert read_all(tmp_path / "many") == read_all(tmp_path / "one")
    assert sum(manifest.count(split) for split in SPLITS) == 40
