"""How the benchmarks measure: interleaved rounds, and rows that say what came out.

Rows go to the file that the environment variable NIOSCOPE_ROWS names, besides being printed; `run`
makes a table of them. NIOSCOPE_ROUNDS says how many rounds.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.benchmarks.run import DRAFT_VARIABLE, REPOSITORY, Row, format_row

CORES = len(os.sched_getaffinity(0))
# Threads of the work before go on spinning for a while; the work after it should not pay for that.
REST_SECONDS = 0.5

Way = Callable[[], float | None]
"""Does the work; returns the seconds that count, or None if all of them do."""


def rounds_or(default: int) -> int:
    return int(os.environ.get("NIOSCOPE_ROUNDS", default))


def take_rounds(
    ways: Mapping[str, Way], *, rounds: int, warm_up: bool = True
) -> dict[str, list[float]]:
    """Seconds of each way in each round; every second round goes through them backwards."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(-warm_up, rounds):
        for name in sorted(ways, key=list(ways).index, reverse=bool(number % 2)):
            seconds = measure(ways[name])
            if number >= 0:
                taken[name].append(seconds)
    return taken


def measure(way: Way) -> float:
    """Seconds, after what earlier work left to be written is written."""
    os.sync()
    time.sleep(REST_SECONDS)
    started = time.perf_counter()
    counted = way()
    return time.perf_counter() - started if counted is None else counted


def state(
    part: str,
    what: str,
    against: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    pictures: int = 0,
    unit: str = "s",
    growth: bool = False,
    at_least: bool = False,
) -> None:
    """Says how two costs compare; `pictures` turns seconds into pictures a second.

    Of `growth`, `ours` is the larger work and `theirs` the smaller one, both ours.
    """
    row = Row(
        part=part,
        what=what,
        against=against,
        ours=_figure(ours, pictures),
        theirs=_figure(theirs, pictures),
        unit="pictures/s" if pictures else unit,
        ratios=tuple(
            own / other if growth else other / own for own, other in zip(ours, theirs, strict=True)
        ),
        growth=growth,
        at_least=at_least,
    )
    print(f"\n{format_row(row)}", flush=True)
    if path := os.environ.get(DRAFT_VARIABLE):
        with Path(path).open("a") as file:
            file.write(row.to_json() + "\n")


def _figure(costs: Sequence[float], pictures: int) -> float:
    median = statistics.median(costs)
    return pictures / median if pictures else median


__all__ = ["CORES", "REPOSITORY", "measure", "rounds_or", "state", "take_rounds"]
