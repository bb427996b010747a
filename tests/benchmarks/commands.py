"""Commands that are timed from their start, and how much memory they take."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.benchmarks.peers import HERE, find_interpreter
from tests.benchmarks.rounds import REPOSITORY

_LOOK_SECONDS = 0.05


def ours(*flags: object) -> list[str]:
    """`main.py` with flags."""
    return [sys.executable, "main.py", *map(str, flags)]


def of_keras(program: str, *arguments: object) -> list[str]:
    """A program beside this one that needs our libraries."""
    return [sys.executable, str(HERE / program), *map(str, arguments)]


def of_peers(program: str, *arguments: object) -> list[str]:
    """A program beside this one that needs the peers' libraries."""
    return [find_interpreter(), str(HERE / program), *map(str, arguments)]


@contextlib.contextmanager
def started(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """A command in the folder of the repository, ended with the block."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "3",
                   "TF_ENABLE_ONEDNN_OPTS": "1"}  # fmt: skip
    with subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def time_command(command: Sequence[str], *, status: int = 0) -> float:
    """Seconds of a command that must end with `status`."""
    begun = time.perf_counter()
    with started(command) as process:
        process.communicate()
    assert process.returncode == status, command
    return time.perf_counter() - begun


def time_until(command: Sequence[str], target: float, *, limit: float) -> tuple[float, float]:
    """Seconds until a training says that it has reached an accuracy, and the best it said.

    It is given up after `limit` seconds, also between two lines.
    """
    begun, best = time.perf_counter(), 0.0
    with started(command) as process:
        assert process.stdout is not None
        timer = threading.Timer(limit, process.kill)
        timer.start()
        for line in process.stdout:
            print(" ", line.rstrip(), flush=True)
            if found := re.search(r"val accuracy ([0-9.]+)[,;]", line):
                best = max(best, float(found[1]))
            if best >= target:
                break
        seconds = time.perf_counter() - begun
        timer.cancel()
    return seconds, best


def time_last_epoch(command: Sequence[str]) -> float:
    """Seconds between the last two epochs that a training tells of."""
    times = []
    with started(command) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "val accuracy" in line:
                times.append(time.perf_counter())
        process.wait()
    assert process.returncode == 0, command
    return times[-1] - times[-2]


def measure_memory(command: Sequence[str]) -> tuple[float, float]:
    """Seconds of a command, and the most memory, in MB, that it and its children held at once.

    Pages that several of them share are shared out among them (PSS).
    """
    begun, most = time.perf_counter(), 0
    with started(command) as process:
        reader = threading.Thread(target=process.communicate)
        reader.start()
        while reader.is_alive():
            most = max(most, sum(map(read_share, list_family(process.pid))))
            time.sleep(_LOOK_SECONDS)
    assert process.returncode == 0, command
    return time.perf_counter() - begun, most / 1024


def list_family(first: int) -> set[int]:
    """A process and all that descend from it."""
    family = {first}
    for place in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        with contextlib.suppress(OSError):  # It has ended meanwhile.
            parent = (place / "stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) in family:
                family.add(int(place.name))
    return family


def read_share(process: int) -> int:
    """Its share of memory in kB; 0 if it has ended."""
    with contextlib.suppress(OSError):
        text = Path("/proc", str(process), "smaps_rollup").read_text()
        if found := re.search(r"^Pss:\s+([0-9]+)", text, re.MULTILINE):
            return int(found[1])
    return 0
