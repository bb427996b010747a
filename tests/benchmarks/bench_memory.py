"""How much memory `records` takes for few and for very many pictures. Asserts nothing about it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.benchmarks.strips import copy_made_different

REPOSITORY = Path(__file__).resolve().parents[2]
MANY = int(os.environ.get("NIOSCOPE_MANY", "100000"))


def read_status(process: Path) -> dict[str, str]:
    lines = (process / "status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def measure_peaks(first: int, peaks: dict[int, int]) -> None:
    """Notes the peak resident memory in kB of a process and of all that descend from it."""
    family = {first}
    for process in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        try:
            status = read_status(process)
        except OSError:  # It has ended meanwhile.
            continue
        if int(process.name) in family or int(status["PPid"]) in family:
            family.add(int(process.name))
            peaks[int(process.name)] = int(status.get("VmHWM", "0 kB").split()[0])


@pytest.mark.parametrize(
    ("count", "flags"),
    [(1_800, []), (1_800, ["--nonear_duplicates"]), (MANY, ["--nonear_duplicates"])],
)
def test_peak_memory(real_data: Path, tmp_path: Path, count: int, flags: list[str]) -> None:
    made = copy_made_different(
        real_data / "neu-det", tmp_path / "p", copies=-(-count // 1800), most=count
    )
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "main.py", "--stage=records", f"--data_dir={tmp_path / 'p'}",
         f"--work_dir={tmp_path / 'run'}", *flags],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    peaks: dict[int, int] = {}
    while process.poll() is None:
        measure_peaks(process.pid, peaks)
        time.sleep(0.05)
    seconds = time.perf_counter() - started
    assert process.returncode == 0
    first = peaks.pop(process.pid)
    print(
        f"\n{made} pictures {' '.join(flags)}: {seconds:.1f} s, peak {first / 1024:.0f} MB in the "
        f"first process, at most {max(peaks.values()) / 1024:.0f} MB in each of the others"
    )
