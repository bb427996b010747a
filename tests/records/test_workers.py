from __future__ import annotations

import math
import os
import signal
from pathlib import Path

import pytest

from records.errors import InputError
from records.layouts import find_samples
from records.workers import Workers, cut


@pytest.mark.parametrize("count", [1, 2, 3])
def test_results_come_in_the_order_of_the_tasks(count: int) -> None:
    with Workers(count) as workers:
        assert list(workers.map(math.factorial, range(50))) == [
            math.factorial(n) for n in range(50)
        ]


@pytest.mark.parametrize(("count", "tasks"), [(1, 3), (4, 1), (2, 3)])
def test_several_processes_work_on_several_tasks(count: int, tasks: int) -> None:
    with Workers(count) as workers:
        processes = {path.name for path in workers.map(Path.resolve, [Path("/proc/self")] * tasks)}
    assert (str(os.getpid()) in processes) == (count == 1 or tasks == 1)


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_comes_back_whole(count: int) -> None:
    absent = Path("absent")
    with Workers(count) as workers, pytest.raises(InputError) as caught:
        list(workers.map(find_samples, [absent, absent]))
    assert caught.value.problem == "The data folder absent does not exist."
    assert caught.value.remedy == "Give --data_dir=FOLDER."


def test_a_process_ended_from_outside_is_an_error_with_a_remedy() -> None:
    with Workers(2) as workers, pytest.raises(InputError, match="ended from outside") as caught:
        list(workers.map(signal.raise_signal, [signal.SIGKILL] * 3))
    assert "--workers=1" in caught.value.remedy


def test_no_more_processes_than_cores_that_may_be_used() -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert Workers().count == 1
    finally:
        os.sched_setaffinity(0, allowed)


def test_pieces_hold_everything_once() -> None:
    assert cut(list(range(7)), 3) == [[0, 1, 2], [3, 4, 5], [6]]
    assert cut([], 3) == []
