from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from records.errors import InputError
from records.manifest import MANIFEST_NAME, Manifest, read_manifest
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
