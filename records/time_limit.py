"""A bound on how long a piece of work may take that cannot be asked to stop, such as a search."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def limiting(seconds: float) -> Iterator[Callable[[], None]]:
    """Ends the block with a `TimeoutError` when one of its steps takes longer than `seconds`.

    By an alarm of the system, for which Python's regular expressions look up from their work. A
    process has but one, which its main thread alone may set: in other threads there is no limit.

    Args:
        seconds: Of the system's clock, that a step may take.

    Yields:
        What is to be called before each step, the first one too.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return

    def stop(*_: object) -> None:
        raise TimeoutError

    handler = signal.signal(signal.SIGALRM, stop)
    timer = signal.getitimer(signal.ITIMER_REAL)

    def begin_step() -> None:
        signal.setitimer(signal.ITIMER_REAL, seconds)

    try:
        yield begin_step
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *timer)  # That of whoever had one set before.
