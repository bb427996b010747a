"""`records` on a Dask cluster: the same bytes as on one machine, whoever works and is killed."""

from __future__ import annotations

import os
import random
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import distributed
import pytest

from pipeline.config import Settings
from pipeline.stages import records
from records.manifest import read_manifest, verify_shards
from tests.clusters import kill, running, scale, wait_for
from tests.pipeline.stages.test_every_fault import (
    TRAIN,
    annotate,
    draw,
    draw_sound,
    plant_annotations,
    plant_pictures,
)

KILLS = int(os.environ.get("NIOSCOPE_KILLS", "1"))
MORE = 40


@pytest.fixture(scope="module")
def dask() -> Iterator[distributed.LocalCluster]:
    with running(1) as local:
        yield local


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some 120 pictures, with every kind of fault that leaves enough of them."""
    folder = tmp_path_factory.mktemp("cluster") / "pictures"
    draw_sound(folder)
    for index in range(MORE):
        label = ("io", "nio")[index % 2]
        draw(folder / TRAIN / label / f"more_{index}.png", 2000 + index)
        annotate(folder / "train/annotations", f"more_{index}", (label, 10, 10, 40, 50))
    plant_pictures(folder)
    plant_annotations(folder)
    shutil.rmtree(folder / TRAIN / "rare")
    return folder


@pytest.fixture(scope="module")
def expected(pictures: Path) -> dict[str, bytes]:
    """What one machine writes."""
    work_dir = pictures.with_name("one machine")
    records.run(Settings(stage="records", data_dir=pictures, work_dir=work_dir, workers=2))
    manifest = read_manifest(work_dir / "records")
    verify_shards(manifest)
    assert sum(sum(counts.values()) for counts in manifest.counts.values()) > 90
    return read_all(work_dir)


def read_all(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


def run(dask: distributed.LocalCluster, pictures: Path, work_dir: Path) -> float:
    """Runs the stage on the cluster; returns how many seconds it took."""
    started = time.perf_counter()
    records.run(
        Settings(
            stage="records",
            data_dir=pictures,
            work_dir=work_dir,
            scheduler=dask.scheduler_address,
        )
    )
    return time.perf_counter() - started


@pytest.mark.parametrize(
    "workers", [*(pytest.param(count, marks=pytest.mark.long) for count in (1, 2)), 4]
)
def test_the_number_of_workers_leaves_no_trace(
    dask: distributed.LocalCluster,
    pictures: Path,
    expected: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
) -> None:
    scale(dask, workers)
    monkeypatch.chdir(tmp_path)  # The workers are elsewhere.
    run(dask, Path(os.path.relpath(pictures)), Path("run"))
    assert read_all(tmp_path / "run") == expected


def test_killed_workers_leave_no_trace(
    dask: distributed.LocalCluster, pictures: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    scale(dask, 2)
    whole = run(dask, pictures, tmp_path / "whole")
    assert read_all(tmp_path / "whole") == expected
    draw_number = random.Random(0)
    kills = 0
    while kills < KILLS:
        wait_for(dask, 2)
        work_dir = tmp_path / "killed" / str(kills)
        delay = whole * draw_number.uniform(0.05, 0.9)
        ending = threading.Timer(delay, kill, (dask, draw_number.randrange(2)))
        ending.start()
        run(dask, pictures, work_dir)
        kills += not ending.is_alive()  # Otherwise it came too late and does not count.
        ending.cancel()
        ending.join()
        assert read_all(work_dir) == expected
        shutil.rmtree(work_dir)
