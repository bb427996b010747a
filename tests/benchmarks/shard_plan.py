"""How long the shards of a plan take many workers: a simulation. Prints a table in Markdown.

A task is one shard, cut as `records.shard_plan` cuts it; tasks go in order to whichever worker is
free first. One process hands them out, one after another. A task's time is its bytes times a rate
times a log-normal factor of mean 1. A share of the workers is slow throughout. Workers fail at a
constant rate; what was done of the task is lost, and it begins anew once a worker is back in the
place of the one that failed. What a worker reads from and writes to is not modelled: storage that
gives less than all workers ask for makes everything longer.

    PYTHONPATH=. python tests/benchmarks/shard_plan.py --shard_megabytes 32 256 --workers 3200
"""

from __future__ import annotations

import argparse
import dataclasses
import heapq
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from records.shard_plan import cut_into_shards

_HEADER = (
    "| shard, MB | shards | workers | hours | busy | failures | lost a failure, s |\n"
    "| --- | --- | --- | --- | --- | --- | --- |"
)


@dataclass(frozen=True)
class Plan:
    """What is simulated.

    Attributes:
        pictures: How many.
        picture_bytes: Mean size of one.
        bytes_spread: Standard deviation of that size, as a share of the mean.
        shard_bytes: What a shard holds, roughly.
        workers: Processes of one core each.
        picture_seconds: What one core needs for a picture of mean size.
        task_seconds: What a task takes besides its pictures.
        dispatch_seconds: What the process that hands out tasks needs for one.
        time_spread: Sigma of the log-normal factor of a task's time.
        slow_share: Share of the workers that are slow, rounded to whole workers.
        slowness: By what factor these take longer.
        failures_an_hour: Of each worker.
        restart_seconds: Until a worker that failed is replaced.
        seed: Of all that is drawn.
    """

    pictures: int = 1_000_000_000
    picture_bytes: float = 14_884.0
    bytes_spread: float = 0.3
    shard_bytes: int = 32_000_000
    workers: int = 3200
    picture_seconds: float = 0.001
    task_seconds: float = 0.05
    dispatch_seconds: float = 0.001
    time_spread: float = 0.2
    slow_share: float = 0.02
    slowness: float = 3.0
    failures_an_hour: float = 0.05
    restart_seconds: float = 120.0
    seed: int = 0


@dataclass(frozen=True)
class Course:
    """How it went: shards, seconds until the last is written, how often workers failed.

    `useful_seconds` went into tasks that were finished, `lost_seconds` into those that were not.
    """

    shards: int
    seconds: float
    useful_seconds: float
    lost_seconds: float
    failures: int


def simulate(plan: Plan) -> Course:
    """Goes through all tasks, in the order of the shards."""
    rng = np.random.default_rng(plan.seed)
    durations = _draw_durations(plan, rng)
    slow = round(plan.slow_share * plan.workers)
    factors = [plan.slowness if number < slow else 1.0 for number in range(plan.workers)]
    rng.shuffle(factors)
    rate = plan.failures_an_hour / 3600.0
    free = [(0.0, worker) for worker in range(plan.workers)]
    handed_out = last = useful = lost = 0.0
    failures = 0
    for duration in durations.tolist():
        start, worker = free[0]
        start = handed_out = max(start, handed_out) + plan.dispatch_seconds
        needed = duration * factors[worker]
        # The time to the next failure has no memory, so it is drawn for each attempt.
        while rate and (until := rng.exponential(1.0 / rate)) < needed:
            failures += 1
            lost += until
            start += until + plan.restart_seconds
        useful += needed
        last = max(last, start + needed)
        heapq.heapreplace(free, (start + needed, worker))
    return Course(len(durations), last, useful, lost, failures)


def _draw_durations(plan: Plan, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Seconds of each task on a worker that is not slow."""
    size = round(plan.pictures * plan.picture_bytes)
    bounds = cut_into_shards(plan.pictures, size, target_bytes=plan.shard_bytes)
    counts = np.diff(np.array(bounds)).ravel()
    # Sums of many sizes are normal, whatever one size is like.
    sizes = counts + plan.bytes_spread * np.sqrt(counts) * rng.standard_normal(len(counts))
    mean_log = -(plan.time_spread**2) / 2
    factors = rng.lognormal(mean_log, plan.time_spread, len(counts))
    return plan.task_seconds + plan.picture_seconds * np.maximum(sizes, 0.0) * factors


def format_row(plan: Plan, course: Course) -> str:
    """A row of the table."""
    busy = course.useful_seconds / (course.seconds * plan.workers) if course.seconds else math.nan
    each = course.lost_seconds / course.failures if course.failures else 0.0
    return (
        f"| {plan.shard_bytes / 1e6:g} | {course.shards:,} | {plan.workers:,} "
        f"| {course.seconds / 3600:.2f} | {100 * busy:.1f} % | {course.failures:,} | {each:.1f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Simulates the writing of shards.")
    parser.add_argument("--shard_megabytes", type=float, nargs="+", default=[8, 32, 128, 512])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 32, 320, 3200])
    for field in dataclasses.fields(Plan):
        if field.name not in ("shard_bytes", "workers"):
            kind = int if isinstance(field.default, int) else float
            parser.add_argument(f"--{field.name}", type=kind, default=field.default)
    values = vars(parser.parse_args())
    sizes, workers = values.pop("shard_megabytes"), values.pop("workers")
    print(_HEADER)
    for size in sizes:
        for count in workers:
            plan = Plan(**values, shard_bytes=round(size * 1e6), workers=count)
            print(format_row(plan, simulate(plan)), flush=True)


if __name__ == "__main__":
    main()
