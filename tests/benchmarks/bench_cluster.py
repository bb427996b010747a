"""Writing records on a Dask cluster of this machine: how much faster by more workers.

The pictures are NEU's several times over, as in `bench_records`. One process does the whole stage,
then two of this machine, then one and two workers of a cluster that is up already. Prints pictures
a second and the ratios to one process, of interleaved rounds; the digests must be the same. Asserts
nothing about time. NIOSCOPE_COPIES says how many times over.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import distributed
import pytest

from pipeline.config import Settings
from pipeline.stages import records
from tests.benchmarks.strips import copy_made_different
from tests.clusters import running, scale

ROUNDS = 3
COPIES = int(os.environ.get("NIOSCOPE_COPIES", "8"))


@pytest.fixture(scope="module")
def dask() -> Iterator[distributed.LocalCluster]:
    with running(1) as local:
        yield local


def digest(folder: Path) -> str:
    """SHA-256 over all files of a folder of records."""
    total = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        total.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def measure(pictures: Path, work_dir: Path, **flags: Any) -> float:
    """Seconds of the whole stage, after what earlier work left to be written is written."""
    os.sync()
    started = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        records.run(Settings(stage="records", data_dir=pictures, work_dir=work_dir, **flags))
    return time.perf_counter() - started


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("near_duplicates", [False, True])
def test_records_by_more_workers(
    real_data: Path, tmp_path: Path, dask: distributed.LocalCluster, near_duplicates: bool
) -> None:
    count = copy_made_different(real_data / "neu-det", tmp_path / "pictures", copies=COPIES)
    address = dask.scheduler_address
    ways: dict[str, dict[str, Any]] = {
        "one process": {"workers": 1},
        "two processes": {"workers": 2},
        "one Dask worker": {"scheduler": address},
        "two Dask workers": {"scheduler": address},
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    digests = set()
    for number in range(ROUNDS):
        for name, flags in ways.items():
            scale(dask, 2 if name.startswith("two") else 1)
            work_dir = tmp_path / f"{name} {number}"
            times[name].append(
                measure(tmp_path / "pictures", work_dir, near_duplicates=near_duplicates, **flags)
            )
            digests.add(digest(work_dir / "records"))
    assert len(digests) == 1
    print(f"\n{count} pictures, near-duplicates {'not ' * (not near_duplicates)}looked for:")
    for name, taken in times.items():
        ratios = [one / own for one, own in zip(times["one process"], taken, strict=True)]
        print(
            f"  {name}: {count / statistics.median(taken):.0f} pictures/s, "
            f"{statistics.median(ratios):.2f} of one process "
            f"({min(ratios):.2f} to {max(ratios):.2f}, {ROUNDS} rounds)"
        )
