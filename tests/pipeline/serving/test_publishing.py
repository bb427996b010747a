"""Versions in the folder that Serving polls: numbered, whole, and never touched again."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipeline.serving import publishing
from pipeline.serving.publishing import (
    building_version,
    find_versions,
    publish,
    remove_leftovers,
    remove_old_versions,
)
from records.errors import InputError

REPOSITORY = Path(__file__).resolve().parents[3]
KILLS = int(os.environ.get("NIOSCOPE_KILLS", "4"))
FILES = 12


def fill(version: Path, *, seed: int = 0) -> None:
    """Something like a SavedModel: files in folders, and a manifest of their digests."""
    draw = random.Random(seed)
    digests = {}
    for number in range(FILES):
        path = version / ("variables", "assets.extra/golden", ".")[number % 3] / f"{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(draw.randbytes(draw.randrange(20_000)))
        digests[path.relative_to(version).as_posix()] = digest(path)
    (version / "assets.extra/golden/golden.json").write_text(json.dumps({"files": digests}))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def require_whole(version: Path) -> None:
    sheet = json.loads((version / "assets.extra/golden/golden.json").read_text())
    assert len(sheet["files"]) == FILES
    for name, expected in sheet["files"].items():
        assert digest(version / name) == expected, f"{version}: {name}"


def publish_one(export: Path, *, seed: int = 0) -> Path:
    with building_version(export) as version:
        fill(version, seed=seed)
        return publish(version, export)


def names(export: Path) -> set[str]:
    return {path.name for path in export.iterdir()}


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ([], "1"),
        (["1", "2"], "3"),
        (["9", "10"], "11"),
        (["007"], "8"),
        (["+9"], "10"),
        ([" 3 "], "4"),
        (["-4"], "1"),
        (["1e3", "0x10", "1_000", "\u0663", "v7", "7.0"], "1"),
        (["99999999999999999999"], "1"),  # no 64-bit integer
        (["20261122093000"], "20261122093001"),
    ],
)
@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_a_version_is_above_all_that_serving_takes_for_one(
    tmp_path: Path, there: list[str], expected: str, kind: str
) -> None:
    export = tmp_path / "export"
    export.mkdir()
    for name in there:
        if kind == "folder":
            (export / name).mkdir()
        elif kind == "file":
            (export / name).write_text("not ours")
        else:
            (export / name).symlink_to(tmp_path / "nowhere")
    published = publish_one(export)
    assert published == export / expected
    require_whole(published)
    assert names(export) == {*there, expected}


def test_there_is_a_highest_number(tmp_path: Path) -> None:
    (tmp_path / str(2**63 - 1)).mkdir()
    with pytest.raises(InputError, match=str(2**63 - 1)):
        publish_one(tmp_path)
    assert names(tmp_path) == {str(2**63 - 1)}


def test_what_is_being_built_is_no_version_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), building_version(tmp_path / "export") as version:
        fill(version)
        assert find_versions(tmp_path / "export") == []
        raise RuntimeError
    assert names(tmp_path / "export") == set()


def test_an_existing_version_is_never_touched(tmp_path: Path) -> None:
    first = publish_one(tmp_path, seed=1)
    before = {path: (path.read_bytes(), path.stat()) for path in first.rglob("*") if path.is_file()}
    second = publish_one(tmp_path, seed=2)
    assert (first.name, second.name) == ("1", "2")
    for path, (content, status) in before.items():
        assert path.read_bytes() == content
        assert (path.stat().st_ino, path.stat().st_mtime_ns) == (status.st_ino, status.st_mtime_ns)


def test_a_number_taken_in_the_meantime_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 3):
        (tmp_path / str(number)).mkdir()
    (tmp_path / "2" / "file").touch()
    (tmp_path / "4").write_text("a file")
    # As if none of them had been there when the number was chosen.
    monkeypatch.setattr(publishing, "find_versions", lambda export: [])
    assert publish_one(tmp_path).name == "5"
    assert [len(list((tmp_path / number).iterdir())) for number in "123"] == [0, 1, 0]


def test_exports_at_once_take_different_numbers(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        published = list(pool.map(lambda seed: publish_one(tmp_path, seed=seed), range(16)))
    assert sorted(int(path.name) for path in published) == list(range(1, 17))
    for path in published:
        require_whole(path)
    assert names(tmp_path) == {path.name for path in published}


def test_a_folder_that_is_swept_away_before_it_is_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdir = Path.mkdir
    swept: list[Path] = []

    def sweep(path: Path, *args: Any, **options: Any) -> None:
        if options.get("parents") and path.name.startswith(".candidate-") and not swept:
            swept.append(path)
            path.rmdir()  # Another export, between the look whether it is there and the next.
            raise FileExistsError(path)
        mkdir(path, *args, **options)

    monkeypatch.setattr(Path, "mkdir", sweep)
    published = publish_one(tmp_path, seed=0)
    assert len(swept) == 1
    require_whole(published)


def test_everything_is_synced_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    fsync = os.fsync

    def remember(handle: int) -> None:
        fsync(handle)
        synced.append(os.fstat(handle).st_ino)
        is_published = (tmp_path / "1").exists()
        assert is_published == (
            synced[-1] in (tmp_path.stat().st_ino, tmp_path.parent.stat().st_ino)
        )

    with building_version(tmp_path) as version:
        fill(version)
        monkeypatch.setattr(os, "fsync", remember)
        published = publish(version, tmp_path)
    inodes = {path.stat().st_ino for path in (published, *published.rglob("*"))}
    assert len(inodes) == FILES + 1 + 4  # and a file and four folders
    assert inodes <= set(synced)


def test_leftovers_are_removed_but_not_what_another_run_is_building(tmp_path: Path) -> None:
    for name in (".candidate-old/saved_model", ".candidate-killed/version", ".removed-3-ab"):
        fill(tmp_path / name)
    (tmp_path / ".candidate-killed" / "lock").touch()
    (tmp_path / ".candidate-file").write_text("not a folder")
    (tmp_path / "models.config").write_text("mine")
    with building_version(tmp_path) as version:
        fill(version)
        remove_leftovers(tmp_path)
        assert names(tmp_path) == {version.parent.name, "models.config", ".candidate-file"}
        require_whole(version)
        assert publish_one(tmp_path).name == "1"
        assert publish(version, tmp_path).name == "2"
    require_whole(tmp_path / "2")
    assert names(tmp_path) == {"1", "2", "models.config", ".candidate-file"}


def test_a_link_that_is_called_like_a_leftover_is_let_be(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    export = tmp_path / "export"
    export.mkdir()
    for name in (".candidate-x", ".removed-x"):
        (export / name).symlink_to(mine)
    remove_leftovers(export)
    publish_one(export)
    assert list(mine.iterdir()) == []


def test_the_oldest_of_ours_are_removed(tmp_path: Path) -> None:
    for _ in range(4):
        publish_one(tmp_path)
    (tmp_path / "5" / "assets.extra").mkdir(parents=True)  # another's
    fill(tmp_path / "007")  # a copy of ours, but not put there by us
    (tmp_path / "3" / "assets.extra/golden/golden.json").rename(
        tmp_path / "3" / "assets.extra/model_card.json"
    )
    published = publish_one(tmp_path)
    assert published.name == "8"
    assert remove_old_versions(published, keep=0) == []
    assert remove_old_versions(published, keep=5) == []
    assert remove_old_versions(published, keep=3) == [tmp_path / "1", tmp_path / "2"]
    assert names(tmp_path) == {"3", "4", "5", "007", "8"}
    assert remove_old_versions(published, keep=1) == [tmp_path / "3", tmp_path / "4"]
    assert names(tmp_path) == {"5", "007", "8"}


def test_neither_the_version_just_published_nor_a_later_one_is_removed(tmp_path: Path) -> None:
    published, later = publish_one(tmp_path), publish_one(tmp_path)
    assert remove_old_versions(published, keep=1) == []
    assert names(tmp_path) == {"1", "2"}
    assert remove_old_versions(later, keep=1) == [published]


def test_a_link_to_a_version_is_not_ours(tmp_path: Path) -> None:
    fill(tmp_path / "elsewhere")
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "1").symlink_to(tmp_path / "elsewhere")
    assert remove_old_versions(publish_one(tmp_path / "export"), keep=1) == []
    require_whole(tmp_path / "export" / "1")


# By its file: a library that is installed brings a package called `tests`, which hides this one.
PUBLISHER = f"""
import runpy, sys
from pathlib import Path
from typing import Any
from pipeline.serving.publishing import remove_old_versions

publish_one = runpy.run_path({__file__!r})["publish_one"]
print("ready", flush=True)
for seed in range(10**9):
    remove_old_versions(publish_one(Path(sys.argv[1]), seed=seed), keep=2)
"""


def poll(export: Path, *, until: float) -> int:
    """Looks at all versions again and again; returns how many it saw whole."""
    seen = 0
    while time.monotonic() < until:
        for version, _ in find_versions(export):
            try:
                require_whole(version)
            except FileNotFoundError:
                # Removed as one: then all of it is gone.
                assert not version.exists()
            else:
                seen += 1
    return seen


def test_killed_at_any_moment_no_version_is_half(tmp_path: Path) -> None:
    draw, seen, interrupted = random.Random(0), 0, 0
    export = tmp_path / "export"
    started = time.monotonic()
    publish_one(export)
    one = time.monotonic() - started
    for _ in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-c", PUBLISHER, str(export)], cwd=REPOSITORY, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        seen += poll(export, until=time.monotonic() + draw.uniform(0.0, 4 * one))
        process.kill()
        process.communicate()
        for version, _ in find_versions(export):
            require_whole(version)
        interrupted += any(name.startswith(".") for name in names(export))
    assert interrupted, "none of the kills met a version that was being built or removed"
    last = publish_one(export)
    require_whole(last)
    assert last.name == str(max(int(path.name) for path, _ in find_versions(export)))
    assert names(export) == {path.name for path, _ in find_versions(export)}
    print(
        f"{KILLS} kills, {interrupted} in the middle; {seen} versions seen whole, {last.name} made"
    )
