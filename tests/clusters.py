"""Dask clusters on this machine, for the tests of what runs on one."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import distributed

REPOSITORY = Path(__file__).resolve().parents[1]


@contextlib.contextmanager
def running(workers: int) -> Iterator[distributed.LocalCluster]:
    """A scheduler in this process, and workers that are processes of one thread each.

    A worker that is killed is started again, as `dask worker` does.
    """
    with distributed.LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        dashboard_address="127.0.0.1:0",
        memory_limit=0,
        silence_logs=logging.CRITICAL,
    ) as cluster:
        yield cluster


def scale(cluster: distributed.LocalCluster, workers: int) -> None:
    """Waits until just so many workers are there."""
    cluster.scale(workers)
    wait_for(cluster, workers)


def wait_for(cluster: distributed.LocalCluster, workers: int) -> None:
    """Waits until so many workers are there, those that were killed among them.

    One that is killed while it starts does not come back by itself: then all are started anew.
    """
    while not _come_within(20, cluster, workers):
        cluster.scale(0)
        assert _come_within(60, cluster, 0)
        cluster.scale(workers)


def _come_within(seconds: float, cluster: distributed.LocalCluster, workers: int) -> bool:
    deadline = time.monotonic() + seconds
    while len(cluster.scheduler.workers) != workers or len(find_pids(cluster)) != workers:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def find_pids(cluster: distributed.LocalCluster) -> list[int]:
    """Process ids of the workers."""
    pids = [nanny.pid for nanny in cluster.workers.values()]
    return sorted(pid for pid in pids if pid)


def kill(cluster: distributed.LocalCluster, number: int) -> None:
    """Ends a worker as a lack of memory does."""
    pids = find_pids(cluster)
    os.kill(pids[number % len(pids)], signal.SIGKILL)


@contextlib.contextmanager
def started(*command: str, code: Path | None, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Yields a `dask scheduler` or `dask worker`, a process of its own.

    Args:
        command: Which of them, and its flags.
        code: The checkout that it knows, if any.
        folder: Where it runs.
    """
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    with subprocess.Popen(
        [Path(sys.executable).with_name("dask"), *command, "--no-dashboard"],
        cwd=folder,
        env=environment | ({"PYTHONPATH": str(code)} if code else {}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def scheduling(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Yields the address of a scheduler without workers that does not know our code; its process.

    Args:
        folder: Where it runs.
    """
    announced = folder / "scheduler.json"
    flags = ("--host=127.0.0.1", "--port=0", f"--scheduler-file={announced}")
    with started("scheduler", *flags, code=None, folder=folder) as process:
        yield _read_address(announced), process


def _read_address(announced: Path) -> str:
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError, ValueError):  # It may be there before its content.
            return str(json.loads(announced.read_text())["address"])
        assert time.monotonic() < deadline
        time.sleep(0.05)
