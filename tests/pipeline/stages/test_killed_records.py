"""`records` killed at random moments, as by a power cut of the process: never a torn file."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from records.manifest import read_manifest, verify_shards
from records.tfrecord import read_frames

REPOSITORY = Path(__file__).resolve().parents[3]
KILLS = int(os.environ.get("NIOSCOPE_KILLS", "2"))
PICTURES = 200 if KILLS > 2 else 100


def draw_folder(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for index in range(PICTURES):
        path = folder / ("io", "nio")[index % 2] / f"{index:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (96, 96), np.uint8)).save(path, compress_level=1)
    return folder


def start(
    pictures: Path, work_dir: Path, prepare: Callable[[], None] | None = None
) -> subprocess.Popen[bytes]:
    flags = ["--stage=records", f"--data_dir={pictures}", f"--work_dir={work_dir}", "--workers=2"]
    return subprocess.Popen(
        [sys.executable, "main.py", *flags],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=prepare,
    )


def finish(pictures: Path, work_dir: Path) -> float:
    """Runs to the end; returns how many seconds it took."""
    started = time.perf_counter()
    process = start(pictures, work_dir)
    errors = process.communicate(timeout=300)[1]
    assert process.returncode == 0, errors.decode()
    return time.perf_counter() - started


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, float]:
    """Pictures, the run directory with their records, and the seconds it took to make those."""
    folder = tmp_path_factory.mktemp("whole")
    pictures = draw_folder(folder / "pictures")
    return pictures, folder / "whole", finish(pictures, folder / "whole")


@pytest.fixture
def copied(made: tuple[Path, Path, float], tmp_path: Path) -> tuple[Path, Path]:
    """A copy of the pictures, and of the run directory."""
    pictures, whole, _ = made
    return (
        shutil.copytree(pictures, tmp_path / "pictures"),
        shutil.copytree(whole, tmp_path / "run"),
    )


def read_all(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def require_nothing_torn(work_dir: Path) -> None:
    """Every file that has its final name is whole, and `records` is a whole set if it is there."""
    for path in work_dir.rglob("*"):
        if path.name.startswith(".draft-") or not path.is_file():
            continue
        if ".tfrecord-" in path.name:
            assert list(read_frames(path))
        elif path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".html":
            assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")
    if (work_dir / "records").exists():
        verify_shards(read_manifest(work_dir / "records"))


def test_killed_at_any_moment_it_ends_with_the_same_bytes(
    made: tuple[Path, Path, float], tmp_path: Path
) -> None:
    pictures, whole, seconds = made
    draw = random.Random(0)
    kills = 0
    while kills < KILLS:
        process = start(pictures, tmp_path / "killed")
        time.sleep(seconds * draw.uniform(0.1, 1.0))
        if process.poll() is None:
            kills += 1
            process.kill()
        process.communicate()
        require_nothing_torn(tmp_path / "killed")
    finish(pictures, tmp_path / "killed")
    assert read_all(tmp_path / "killed/records") == read_all(whole / "records")
    left = {path.name for path in (tmp_path / "killed").iterdir()}
    assert left == {"records", "settings"}


def test_a_disk_without_room_is_named_and_earlier_records_stay(
    copied: tuple[Path, Path], tmp_path: Path
) -> None:
    pictures, work_dir = copied
    before = read_all(work_dir / "records")
    for path in sorted(pictures.rglob("*.png"))[::20]:
        path.unlink()

    def allow_small_files() -> None:
        # A limit on a file's size fails like a full disk, in the middle of a shard.
        resource.setrlimit(resource.RLIMIT_FSIZE, (250_000, 250_000))

    process = start(pictures, work_dir, allow_small_files)
    errors = process.communicate(timeout=300)[1].decode()
    assert process.returncode == 2
    assert "cannot be written" in errors
    assert "File too large" in errors
    assert "Remedy: Make room on the disk" in errors
    assert "Traceback" not in errors
    assert read_all(work_dir / "records") == before
    finish(pictures, work_dir)
    finish(pictures, tmp_path / "fresh")
    assert read_all(work_dir / "records") == read_all(tmp_path / "fresh/records") != before


def test_a_finished_shard_is_not_written_again(copied: tuple[Path, Path]) -> None:
    pictures, work_dir = copied
    shards = re.compile(r".*\.tfrecord-\d{5}-of-\d{5}")
    before = {p.name: p.stat().st_ino for p in (work_dir / "records").iterdir()}
    finish(pictures, work_dir)
    after = {p.name: p.stat().st_ino for p in (work_dir / "records").iterdir()}
    assert {name for name in after if shards.fullmatch(name)}
    assert {name for name in after if after[name] == before[name]} == {
        name for name in after if shards.fullmatch(name)
    }
