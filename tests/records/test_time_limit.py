from __future__ import annotations

import signal
import threading

import pytest

from records.time_limit import limiting


def wait() -> None:
    while True:
        pass


@pytest.mark.timeout(20)
def test_a_step_that_takes_too_long_is_ended_and_steps_before_do_not_count() -> None:
    steps = 0
    with pytest.raises(TimeoutError), limiting(1.0) as begin_step:
        for _ in range(1000):
            begin_step()
            steps += 1
        wait()
    assert steps == 1000


def test_an_alarm_of_somebody_else_stays() -> None:
    with limiting(100) as begin_step:
        begin_step()
        handler = signal.getsignal(signal.SIGALRM)
        with limiting(1) as inner:
            inner()
        assert signal.getsignal(signal.SIGALRM) is handler
        assert 90 < signal.getitimer(signal.ITIMER_REAL)[0] <= 100


def test_other_threads_work_without_a_limit() -> None:
    done = []

    def work() -> None:
        with limiting(0.001) as begin_step:
            begin_step()
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done
