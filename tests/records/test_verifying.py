"""Shards held to their manifest."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from records.errors import InputError
from records.manifest import Manifest, verify_shards
from records.tfrecord import frame, read_frames
from records.types import Example, Split

Splits = dict[Split, tuple[Example, ...]]
Write = Callable[..., Manifest]


@pytest.fixture
def manifest(tmp_path: Path, splits: Splits, write: Write) -> Manifest:
    """26 records for training in 3 shards, 6 for validation, 8 for testing."""
    return write(tmp_path / "records", splits=splits, target_shard_bytes=1500)


def find_problem(manifest: Manifest, path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        verify_shards(manifest)
    assert "--stage=records" in caught.value.remedy
    assert str(path) in caught.value.problem
    return caught.value.problem.removeprefix(f"{path} ")


def test_shards_as_they_were_written_pass(manifest: Manifest) -> None:
    verify_shards(manifest)


def test_the_first_bad_record_is_named(manifest: Manifest) -> None:
    path, shard = manifest.shard_paths("train")[1], manifest.shards["train"][1]
    frames = [frame(record) for record in read_frames(path)]
    whole, count = b"".join(frames), shard.count
    assert count == len(frames) > 3
    third = len(frames[0]) + len(frames[1])
    for at, reason in ((third + 3, "has a damaged length"), (third + 50, "has damaged data")):
        flipped = whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :]
        problem = find_problem(manifest, path, flipped)
        assert problem == f"is damaged: record 3 of {count} {reason}."
    problem = find_problem(manifest, path, whole[: third + 20])
    assert problem == f"is damaged: record 3 of {count} is cut short."
    assert find_problem(manifest, path, whole[:third]) == f"ends after record 2 of {count}."


def test_what_is_too_much_is_said(manifest: Manifest) -> None:
    [path], [shard] = manifest.shard_paths("test"), manifest.shards["test"]
    whole, count = path.read_bytes(), shard.count
    problem = find_problem(manifest, path, whole + whole[:30])
    assert problem == f"holds 30 bytes behind its {count} records that are no record."
    problem = find_problem(manifest, path, whole + frame(b"more"))
    assert problem == f"holds {count + 1} records instead of {count}."


def test_shards_in_each_other_s_place_are_recognised(manifest: Manifest) -> None:
    first, second, *_ = manifest.shard_paths("train")
    contents = first.read_bytes(), second.read_bytes()
    first.write_bytes(contents[1])
    problem = find_problem(manifest, first, contents[1])
    assert problem == f"holds the records of {second.name}: the names were mixed up."


def test_records_of_another_run_are_not_those_of_this_one(manifest: Manifest) -> None:
    [path] = manifest.shard_paths("validation")
    records = list(read_frames(path))
    problem = find_problem(manifest, path, b"".join(map(frame, reversed(records))))
    assert (
        problem == f"holds {len(records)} undamaged records, but not those its manifest describes."
    )


def test_a_shard_that_cannot_be_read_is_named(manifest: Manifest) -> None:
    [path] = manifest.shard_paths("test")
    path.unlink()
    with pytest.raises(InputError, match=r"x_ray-test.* cannot be read: No such file"):
        verify_shards(manifest)
    verify_shards(manifest, splits=("train", "validation"))


def test_a_manifest_made_for_a_damaged_shard_does_not_pass(manifest: Manifest) -> None:
    """Else TensorFlow would end reading where the damage is."""
    [path], [shard] = manifest.shard_paths("test"), manifest.shards["test"]
    whole = path.read_bytes()
    for damaged, count in ((whole[:-10], 7), (whole + whole[:5], 8), (b"", 0)):
        path.write_bytes(damaged)
        forged = dataclasses.replace(
            shard, sha256=hashlib.sha256(damaged).hexdigest(), count=count + 1
        )
        shards = manifest.shards | {"test": (forged,)}
        with pytest.raises(InputError, match=f"holds {count} records, its manifest says"):
            verify_shards(dataclasses.replace(manifest, shards=shards), splits=("test",))
