"""A copy holds the bytes that were judged, or there is none."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.predicting.sorted_copies import copy_judged

DIGEST = hashlib.sha256(b"judged").hexdigest()


def replace(path: Path) -> None:
    path.unlink()
    path.symlink_to("other.png")
    path.with_name("other.png").write_bytes(b"another")


def put_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def put_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


CHANGES: dict[str, Callable[[Path], object]] = {
    "other bytes": lambda path: path.write_bytes(b"judgee"),
    "longer": lambda path: path.write_bytes(b"judged, and more"),
    "cut short": lambda path: path.write_bytes(b"jud"),
    "gone": lambda path: path.unlink(),
    "a link": replace,
    "a folder": put_folder,
    "a pipe": put_pipe,
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_since_it_was_judged_is_named_and_not_copied(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    pictures = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in pictures:
        path.write_bytes(b"judged")
    CHANGES[change](pictures[0])
    targets = [tmp_path / "nio" / path.name for path in pictures]
    copy_judged([(path, DIGEST) for path in pictures], targets)
    assert [path.name for path in (tmp_path / "nio").iterdir()] == ["b.png"]
    assert targets[1].read_bytes() == b"judged"
    assert capsys.readouterr().err == (
        f"{pictures[0]} has changed since it was judged: it was not copied.\n"
    )
