from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from records.errors import InputError
from records.manifest import (
    MANIFEST_NAME,
    Manifest,
    file_digest,
    read_manifest,
    verify_shards,
)
from records.types import Example, Split

Splits = dict[Split, tuple[Example, ...]]
Write = Callable[..., Manifest]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "cannot be read as a manifest"),
        ("[]", "cannot be read as a manifest"),
        ('{"schema_version": 1}', "KeyError"),
        ('{"schema_version": 99}', "schema version 99, this program reads 1"),
    ],
)
def test_a_damaged_or_foreign_manifest_is_refused(
    tmp_path: Path, text: str, complaint: str
) -> None:
    (tmp_path / MANIFEST_NAME).write_text(text)
    with pytest.raises(InputError, match=complaint) as caught:
        read_manifest(tmp_path)
    assert "--stage=records" in caught.value.remedy


def test_a_missing_shard_is_named(tmp_path: Path, splits: Splits, write: Write) -> None:
    manifest = write(tmp_path / "records", splits=splits)
    manifest.shard_paths("test")[0].unlink()
    with pytest.raises(InputError, match=r"x_ray-test.*is missing though"):
        read_manifest(tmp_path / "records")


def test_verify_finds_a_flipped_bit_and_a_cut_file(
    tmp_path: Path, splits: Splits, write: Write
) -> None:
    manifest = write(tmp_path / "records", splits=splits)
    [path] = manifest.shard_paths("validation")
    whole = path.read_bytes()
    for damaged in (whole[:100] + bytes([whole[100] ^ 1]) + whole[101:], whole[:-10]):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="x_ray-validation"):
            verify_shards(manifest)


def test_a_shard_that_cannot_be_read_is_named(tmp_path: Path, splits: Splits, write: Write) -> None:
    manifest = write(tmp_path / "records", splits=splits)
    [path] = manifest.shard_paths("test")
    path.unlink()
    with pytest.raises(InputError, match=r"x_ray-test.* cannot be read: No such file"):
        verify_shards(manifest)
    verify_shards(manifest, splits=("train", "validation"))


def test_records_that_are_not_whole_are_not_counted(
    tmp_path: Path, splits: Splits, write: Write
) -> None:
    """A manifest that was made for a damaged shard, which TensorFlow would end reading in."""
    manifest = write(tmp_path / "records", splits=splits)
    [path], [shard] = manifest.shard_paths("test"), manifest.shards["test"]
    whole = path.read_bytes()
    for damaged, count in (
        (whole[:-10], 7),
        (whole + whole[:5], 8),
        (b"\xff" * 8 + whole[8:], 0),
        (b"", 0),
    ):
        path.write_bytes(damaged)
        forged = dataclasses.replace(
            shard, sha256=hashlib.sha256(damaged).hexdigest(), count=count + 1
        )
        with pytest.raises(InputError, match=f"holds {count} records"):
            verify_shards(
                dataclasses.replace(manifest, shards=manifest.shards | {"test": (forged,)}),
                splits=("test",),
            )


def test_verify_finds_a_wrong_count(tmp_path: Path, splits: Splits, write: Write) -> None:
    manifest = write(tmp_path / "records", splits=splits)
    [shard] = manifest.shards["test"]
    wrong = manifest.shards | {"test": (dataclasses.replace(shard, count=9),)}
    with pytest.raises(InputError, match="holds 8 records, its manifest says 9"):
        verify_shards(dataclasses.replace(manifest, shards=wrong))


def test_the_digest_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")  # FIPS 180-4, the example of one block.
    assert file_digest(tmp_path / "a") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_the_manifest_is_strict_json_without_paths_or_times(
    tmp_path: Path, splits: Splits, write: Write
) -> None:
    write(tmp_path / "records", splits=splits)
    text = (tmp_path / "records" / MANIFEST_NAME).read_text()
    assert str(tmp_path) not in text
    names = {field.name for field in dataclasses.fields(Manifest)}
    assert set(json.loads(text)) == names - {"folder"}


def test_neither_split_nor_manifest_imports_tensorflow() -> None:
    code = "import sys, records.split, records.manifest; print('tensorflow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.strip() == "False"
