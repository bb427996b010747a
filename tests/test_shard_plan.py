"""The simulation of `tests/benchmarks/shard_plan.py` against what can be worked out by hand."""

from __future__ import annotations

import dataclasses
import math

import pytest

from tests.benchmarks.shard_plan import Plan, format_row, simulate

# Ten pictures a shard, 100 shards, 20 s each; nothing is left to chance.
EVEN = Plan(
    pictures=1000,
    picture_bytes=10.0,
    bytes_spread=0.0,
    shard_bytes=100,
    workers=1,
    picture_seconds=2.0,
    task_seconds=0.0,
    dispatch_seconds=0.0,
    time_spread=0.0,
    slow_share=0.0,
    failures_an_hour=0.0,
)
CHANCE = dataclasses.replace(EVEN, bytes_spread=0.5, time_spread=0.5)


@pytest.mark.parametrize("workers", [1, 7, 99, 100, 1000])
def test_even_tasks_take_as_many_rounds_as_workers_ask(workers: int) -> None:
    course = simulate(dataclasses.replace(EVEN, workers=workers))
    assert course.seconds == pytest.approx(math.ceil(100 / workers) * 20.0)
    assert (course.shards, course.failures, course.lost_seconds) == (100, 0, 0.0)
    assert course.useful_seconds == pytest.approx(2000.0)


def test_one_worker_takes_the_sum_whatever_is_drawn() -> None:
    plan = dataclasses.replace(CHANCE, task_seconds=3.0, dispatch_seconds=0.5)
    course = simulate(plan)
    assert course.seconds == pytest.approx(course.useful_seconds + 100 * 0.5)
    longer = simulate(dataclasses.replace(plan, task_seconds=4.0))
    assert longer.useful_seconds == pytest.approx(course.useful_seconds + 100.0)


def test_the_factor_of_a_task_has_a_mean_of_one() -> None:
    many = dataclasses.replace(CHANCE, pictures=1_000_000, shard_bytes=100)
    # 100,000 tasks of 20 s; the standard error is 0.2 %.
    assert simulate(many).useful_seconds == pytest.approx(2e6, rel=0.01)


@pytest.mark.parametrize("seed", range(5))
def test_handing_out_to_who_is_free_keeps_graham_s_bounds(seed: int) -> None:
    one = simulate(dataclasses.replace(CHANCE, seed=seed))
    several = simulate(dataclasses.replace(CHANCE, seed=seed, workers=8))
    longest = simulate(dataclasses.replace(CHANCE, seed=seed, workers=100)).seconds
    assert several.useful_seconds == pytest.approx(one.useful_seconds)
    lower = max(one.seconds / 8, longest)
    assert lower <= several.seconds <= one.seconds / 8 + (1 - 1 / 8) * longest


def test_who_hands_out_bounds_how_fast_all_can_be() -> None:
    course = simulate(dataclasses.replace(EVEN, workers=1000, dispatch_seconds=1.0))
    assert course.seconds == pytest.approx(100 * 1.0 + 20.0)


def test_one_slow_worker_of_two_gets_fewer_tasks() -> None:
    # In 60 s the one does three, the other one: 25 such rounds for 100 tasks.
    course = simulate(dataclasses.replace(EVEN, workers=2, slow_share=0.5, slowness=3.0))
    assert course.seconds == pytest.approx(25 * 60.0)
    assert course.useful_seconds == pytest.approx(75 * 20.0 + 25 * 60.0)


def test_failures_cost_what_the_exponential_law_says() -> None:
    # Until a task of d seconds is done at rate r, (e^(r d) - 1) / r seconds of work pass in the
    # mean, after e^(r d) - 1 failures.
    plan = dataclasses.replace(EVEN, pictures=100_000, failures_an_hour=90.0, restart_seconds=60.0)
    course = simulate(plan)
    expected = math.expm1(90.0 / 3600.0 * 20.0)
    assert course.failures / course.shards == pytest.approx(expected, rel=0.05)
    worked = course.useful_seconds + course.lost_seconds
    assert worked / course.shards == pytest.approx(expected * 40.0, rel=0.05)
    assert course.seconds == pytest.approx(worked + 60.0 * course.failures)


def test_the_same_seed_gives_the_same_course() -> None:
    plan = dataclasses.replace(CHANCE, workers=8, failures_an_hour=10.0, slow_share=0.25)
    assert simulate(plan) == simulate(plan)
    assert simulate(plan) != simulate(dataclasses.replace(plan, seed=1))


def test_a_row_of_the_table() -> None:
    plan = dataclasses.replace(EVEN, workers=7)
    row = "| 0.0001 | 100 | 7 | 0.08 | 95.2 % | 0 | 0.0 |"  # 15 rounds of 20 s; 2000 of 2100 s.
    assert format_row(plan, simulate(plan)) == row
