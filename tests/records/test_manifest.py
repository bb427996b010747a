from __future__ import annotations

import copy
import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from records.errors import InputError
from records.manifest import (
    MANIFEST_NAME,
    SCHEMA_VERSION,
    Manifest,
    Shard,
    file_digest,
    read_manifest,
)
from records.types import Example, Split

Splits = dict[Split, tuple[Example, ...]]
Write = Callable[..., Manifest]
VALUES: dict[str, Any] = {
    "name": "x_ray",
    "layout": "folders",
    "classes": ["io", "nio"],
    "box_classes": ["void"],
    "is_grey": True,
    "counts": {
        "train": {"io": 3, "nio": 2},
        "validation": {"io": 1, "nio": 1},
        "test": {"io": 1, "nio": 0},
    },
    "shards": {
        split: [
            {
                "file": f"x_ray-{split}.tfrecord-{index:05d}-of-{len(counts):05d}",
                "count": count,
                "sha256": f"{index}a" * 32,
                "plan": f"{index}b" * 32,
            }
            for index, count in enumerate(counts)
        ]
        for split, counts in {"train": [3, 2], "validation": [2], "test": [1]}.items()
    },
    "source_digest": "0f" * 32,
    "split_seed": 7,
    "schema_version": SCHEMA_VERSION,
}


def put(folder: Path, values: Any) -> Path:
    """A manifest of these values, and files of the names its shards should have."""
    folder.mkdir(exist_ok=True)
    (folder / MANIFEST_NAME).write_text(json.dumps(values))
    for shard in (shard for shards in VALUES["shards"].values() for shard in shards):
        (folder / shard["file"]).touch()
    return folder


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    manifest = read_manifest(put(tmp_path, VALUES))
    assert manifest.classes == ("io", "nio")
    assert manifest.count("train") == 5
    assert manifest.shards["validation"] == (
        Shard("x_ray-validation.tfrecord-00000-of-00001", 2, "0a" * 32, "0b" * 32),
    )
    manifest.write()
    assert json.loads((tmp_path / MANIFEST_NAME).read_text()) == VALUES
    assert read_manifest(tmp_path) == manifest


def test_a_folder_without_a_manifest_holds_no_records(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the stage records has not been run here"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("version", "remedy"),
    [
        (1, "Write them again"),
        (SCHEMA_VERSION + 1, "Update this program, or write them again"),
    ],
)
def test_another_version_is_told_apart_from_damage(
    tmp_path: Path, version: int, remedy: str
) -> None:
    # Nothing but the version is looked at: what else stands there is for that version to know.
    put(tmp_path, {"schema_version": version, "classes": 3})
    with pytest.raises(InputError) as caught:
        read_manifest(tmp_path)
    assert caught.value.problem == (
        f"The records in {tmp_path} are of schema version {version}; this program reads version "
        f"{SCHEMA_VERSION}."
    )
    command = "python main.py --stage=records --data_dir=FOLDER with the same --work_dir."
    assert caught.value.remedy == f"{remedy}: {command}"


def change(path: str, value: Any) -> dict[str, Any]:
    """The values with one of them replaced, or removed when `value` is `...`."""
    values = copy.deepcopy(VALUES)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    parent: Any = values
    for key in parents:
        parent = parent[key]
    if value is ...:
        del parent[last]
    else:
        parent[last] = value
    return values


SHARD = "shards/train/0"


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        ("schema_version", ..., "it has no schema_version"),
        ("schema_version", True, "it has no schema_version"),
        ("schema_version", "2", "it has no schema_version"),
        ("classes", ..., "the field classes is missing"),
        ("surplus", 1, "there is no field surplus"),
        ("name", "../x", "name is no name"),
        ("layout", "", "layout is no text"),
        ("classes", "io", "classes is no list"),
        ("classes", ["io", "io"], "classes has a name twice"),
        ("classes", ["io", "\ud800"], "a name in classes is no valid Unicode"),
        ("classes", ["io", "bad"], "counts of train are not those of the classes"),
        ("box_classes/0", 3, "a name in box_classes is no text"),
        ("is_grey", 1, "is_grey is neither true nor false"),
        ("counts/test", ..., "counts is no table of train, validation, test"),
        ("counts/train", [], "counts of train is no table"),
        ("counts/train/io", -1, "counts of train, io, is negative"),
        ("counts/train/io", 3.0, "counts of train, io, is no whole number"),
        ("counts/train/io", True, "counts of train, io, is no whole number"),
        ("counts/train/io", 4, "counts of train add up to 6, its shards hold 5"),
        ("shards/test", {}, "shards of test is no list"),
        ("shards/test", [], "counts of test add up to 1, its shards hold 0"),
        (SHARD, 3, "an entry of a shard of train is no table"),
        (f"{SHARD}/plan", ..., "the fields of a shard of train are others"),
        (f"{SHARD}/count", None, "count of a shard of train is no whole number"),
        (f"{SHARD}/sha256", "0A" * 32, "sha256 of a shard of train is no SHA-256"),
        (f"{SHARD}/plan", "", "plan of a shard of train is no SHA-256"),
        (f"{SHARD}/file", "/etc/passwd", "is no name of a shard x_ray-train"),
        (f"{SHARD}/file", "x_ray-test.tfrecord-00000-of-00001", "no name of a shard x_ray-train"),
        (f"{SHARD}/file", "x_ray-train.tfrecord-00001-of-00002", "a shard is there twice"),
        ("source_digest", "0f", "source_digest is no SHA-256"),
        ("split_seed", "7", "split_seed is no whole number"),
    ],
)
def test_a_field_that_cannot_be_is_named(
    tmp_path: Path, path: str, value: Any, complaint: str
) -> None:
    put(tmp_path, change(path, value))
    with pytest.raises(InputError, match=f"cannot be read as a manifest: .*{complaint}") as caught:
        read_manifest(tmp_path)
    assert "--stage=records" in caught.value.remedy


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"schema_version": 2}', b"1e999"]
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / MANIFEST_NAME).write_bytes(text)
    with pytest.raises(InputError, match="cannot be read as a manifest"):
        read_manifest(tmp_path)


def list_paths(values: Any, prefix: str = "") -> list[str]:
    items = values.items() if isinstance(values, dict) else enumerate(values)
    found = []
    for key, value in items:
        found.append(f"{prefix}{key}")
        if isinstance(value, dict | list):
            found += list_paths(value, f"{prefix}{key}/")
    return found


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(list_paths(VALUES)), JSON | st.just(...))
def test_any_value_anywhere_is_refused_or_does_no_harm(
    tmp_path: Path, path: str, value: Any
) -> None:
    put(tmp_path, change(path, value))
    try:
        manifest = read_manifest(tmp_path)
    except InputError:
        return
    # What may be another is what nothing else in the manifest is bound to.
    before = dataclasses.asdict(read_manifest(put(tmp_path, VALUES)))
    after = dataclasses.asdict(manifest)
    changed = {key for key in after if after[key] != before[key]}
    assert changed <= {"layout", "is_grey", "box_classes", "split_seed"}


def test_a_missing_shard_is_named(tmp_path: Path, splits: Splits, write: Write) -> None:
    manifest = write(tmp_path / "records", splits=splits)
    manifest.shard_paths("test")[0].unlink()
    with pytest.raises(InputError, match=r"x_ray-test.*is missing though"):
        read_manifest(tmp_path / "records")


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
    assert read_manifest(tmp_path / "records").count("train") == len(splits["train"])


@pytest.mark.parametrize("module", ["manifest", "schema", "tfrecord", "to_voc"])
def test_what_reads_records_imports_no_tensorflow(module: str) -> None:
    code = f"import sys, records.{module}; print('tensorflow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.strip() == "False"
