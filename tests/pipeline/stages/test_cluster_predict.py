"""`predict` on a Dask cluster: the same answers to the byte as on one machine."""

from __future__ import annotations

import os
import random
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import distributed
import keras
import pytest

from models.autoencoder import build_autoencoder
from pipeline.predicting.incoming import BATCH_SIZE, SHARD_SIZE
from tests.benchmarks.contest import export
from tests.clusters import kill, running, scale, wait_for
from tests.pipeline.stages.predict_bench import (
    TWO,
    Bench,
    draw,
    export_tiny,
    make_bench,
    read_lines,
    read_rejects,
    tree,
)

KILLS = int(os.environ.get("NIOSCOPE_KILLS", "1"))
PICTURES = 2 * SHARD_SIZE + BATCH_SIZE + 5


@pytest.fixture(scope="module")
def dask() -> Iterator[distributed.LocalCluster]:
    with running(1) as local:
        yield local


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A SavedModel that watches for drift, and pictures, some broken, whose last get darker."""
    folder = tmp_path_factory.mktemp("cluster")
    keras.utils.set_random_seed(0)
    model = build_autoencoder(image_size=32, channels=1, classes=2, mean=120.0, variance=900.0)
    export(folder / "exports" / "1", model, TWO)
    bench = make_bench(folder, folder / "exports", pictures=0)
    for number in range(PICTURES):
        draw(bench.pictures / f"{number:04d}.png", number)
    for number in (0, 40, SHARD_SIZE - 1, SHARD_SIZE, PICTURES - 1):
        path = bench.pictures / f"{number:04d}.png"
        path.write_bytes(path.read_bytes()[:-30])
    (bench.pictures / "0007.png").unlink()
    (bench.pictures / "0007.png").symlink_to("absent.png")
    return bench


@pytest.fixture(scope="module")
def expected(bench: Bench) -> dict[str, bytes]:
    """What one machine answers, with copies."""
    output = bench.root / "expected"
    bench.run(output=output)
    assert len(read_lines(output)) == PICTURES
    assert len(read_rejects(output)) == 6
    assert "drift.json" in tree(output)
    return tree(output)


def test_one_worker_leaves_no_trace(
    dask: distributed.LocalCluster, bench: Bench, expected: dict[str, bytes], tmp_path: Path
) -> None:
    bench.run(output=tmp_path / "sorted", scheduler=dask.scheduler_address)
    assert tree(tmp_path / "sorted") == expected


def test_relative_paths_are_those_of_the_command(
    dask: distributed.LocalCluster, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bench.pictures)
    bench.run("001?.png")
    alone = tree(bench.answers)
    bench.run("001?.png", scheduler=dask.scheduler_address)
    assert tree(bench.answers) == alone
    assert [line["file"] for line in read_lines(bench.answers)][:2] == ["0010.png", "0011.png"]


# Each process started loads TensorFlow; `test_cluster_records.py` kills some that need none.
@pytest.mark.long
def test_two_workers_and_killed_ones_leave_no_trace(
    dask: distributed.LocalCluster, bench: Bench, expected: dict[str, bytes], tmp_path: Path
) -> None:
    scale(dask, 2)
    output = tmp_path / "sorted"
    started = time.perf_counter()
    bench.run(output=output, scheduler=dask.scheduler_address)
    whole = time.perf_counter() - started
    assert tree(output) == expected
    draw_number = random.Random(0)
    kills = 0
    while kills < KILLS:
        wait_for(dask, 2)
        shutil.rmtree(output)
        delay = whole * draw_number.uniform(0.05, 0.9)
        ending = threading.Timer(delay, kill, (dask, draw_number.randrange(2)))
        ending.start()
        bench.run(output=output, scheduler=dask.scheduler_address)
        kills += not ending.is_alive()  # Otherwise it came too late and does not count.
        ending.cancel()
        ending.join()
        assert tree(output) == expected


def test_another_model_is_loaded_in_the_place_of_the_first(
    dask: distributed.LocalCluster, bench: Bench, tmp_path: Path
) -> None:
    pictures = str(bench.pictures / "001?.png")
    bench.run(pictures, scheduler=dask.scheduler_address)
    another = make_bench(tmp_path, export_tiny(tmp_path / "exports" / "1", TWO, seed=1).parent)
    another.run(pictures, scheduler=dask.scheduler_address)
    by_cluster = tree(another.answers)
    another.run(pictures)
    assert tree(another.answers) == by_cluster
    first, second = (read_lines(each.answers)[0] for each in (bench, another))
    assert first["file"] == second["file"]
    assert first["probabilities"] != second["probabilities"]


def test_strict_ends_at_the_first_that_cannot_be_judged(
    dask: distributed.LocalCluster, bench: Bench
) -> None:
    bench.refuse("--strict", "0000.png", strict=True, scheduler=dask.scheduler_address)
