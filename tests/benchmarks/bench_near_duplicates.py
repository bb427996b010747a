"""The search for near-duplicates: what it finds among NEU's pictures, and how long it takes.

Prints the time of a fingerprint, of the search among 1,800 pictures and 125 planted copies, what it
found of each kind, and time and memory of the neighbour search among very many fingerprints, which
are random. Asserts nothing about time or memory.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from records.fingerprints import fingerprint
from records.near_duplicates import find_near_duplicates
from tests.real.test_near_duplicates import CHANGES, COPIES, read_greys

REPOSITORY = Path(__file__).resolve().parents[2]
MANY = int(os.environ.get("NIOSCOPE_MANY", "100000"))
SEEDS = 3

# A process of its own, so that its peak memory is that of the search.
_SEARCH_MANY = """
import resource, sys, time
import numpy as np
from records.fingerprints import FINGERPRINT_DTYPE, FREQUENCIES
from records.neighbours import nearest
from records.near_duplicates import NEIGHBOURS

count = int(sys.argv[1])
falling = 20 / (1 + np.hypot(*np.mgrid[:FREQUENCIES, :FREQUENCIES])).ravel()
noise = np.random.default_rng(0).normal(size=(count, FREQUENCIES**2))
fingerprints = (noise * falling).astype(FINGERPRINT_DTYPE)
start = time.perf_counter()
hits = nearest(fingerprints, NEIGHBOURS)
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(f"{count} fingerprints: {seconds:.0f} s, {len(hits)} candidates, "
      f"peak {peak:.0f} MB")
"""


def seconds_of(work: Callable[[], object], rounds: int) -> float:
    """The least of several times."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def test_planted_copies(real_data: Path) -> None:
    pictures = read_greys(sorted((real_data / "neu-det").glob("*/images/*/*.jpg")))
    each = seconds_of(lambda: [fingerprint(grey) for grey in pictures], 5) / len(pictures)
    print(f"\nfingerprint of a 200 x 200 picture: {each * 1e6:.0f} microseconds")
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        planted, all_pictures = {}, list(pictures)
        for kind, change in CHANGES.items():
            for original in rng.choice(len(pictures), COPIES, replace=False).tolist():
                planted[original, len(all_pictures)] = kind
                all_pictures.append(np.ascontiguousarray(change(pictures[original], rng)))
        start = time.perf_counter()
        described = np.array([fingerprint(grey) for grey in all_pictures])
        middle = time.perf_counter()
        pairs = find_near_duplicates(described, range(len(described)), all_pictures.__getitem__)
        end = time.perf_counter()
        found = {(pair.first, pair.second) for pair in pairs}
        counts = Counter(kind for pair, kind in planted.items() if pair in found)
        others = sum(second < len(pictures) for _, second in found)
        print(
            f"seed {seed}: search {end - middle:.1f} s, with fingerprints {end - start:.1f} s; "
            f"found {counts.total()} of {len(planted)}: {dict(counts)}; "
            f"{others} pairs among the pictures as published"
        )


def test_very_many_fingerprints() -> None:
    command = [sys.executable, "-c", _SEARCH_MANY, str(MANY)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    answer = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    print("\n" + answer.stdout.strip())
