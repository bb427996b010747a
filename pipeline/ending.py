"""How a run ends that is told to: by Ctrl-C (SIGINT), or by SIGTERM as a service manager sends it.

The signal becomes an exception in the main thread, so that every `with` on the way out is left as
it is after an error: drafts are removed, locks let go of, processes ended. An exception can be lost
(in a destructor, or while C++ is at work), so a thread looks after the end: after `GRACE_SECONDS`,
or when told a second time, the process ends where it stands, as by SIGKILL, which every stage must
stand anyway.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

GRACE_SECONDS = 20.0
"""Time to end in: C++ is not interrupted, and a step of a large model takes seconds."""
_ONE_TELLING_SECONDS = 1.0  # `timeout` tells the process, and then its group: that is one telling.
_NUMBERS = (signal.SIGINT, signal.SIGTERM)
MESSAGE = "nioscope: interrupted; the same command goes on."


class Interrupted(KeyboardInterrupt):
    """The process was told to end.

    Args:
        number: By which signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number


@contextlib.contextmanager
def ending_when_told() -> Iterator[None]:
    """Ends the block by `Interrupted` when SIGINT or SIGTERM comes; for the main thread.

    What else the block raises after that is a consequence (a worker that was told as well, say) and
    is replaced by it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    told: list[int] = []

    def tell(number: int, _: FrameType | None) -> None:
        told.append(number)
        if len(told) == 1:
            raise Interrupted(number)

    before = {number: signal.signal(number, tell) for number in _NUMBERS}
    try:
        with _looking_after_the_end():
            yield
    except BaseException as error:
        if told and not isinstance(error, Interrupted):
            raise Interrupted(told[0]) from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _looking_after_the_end() -> Iterator[None]:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    earlier = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    thread = threading.Thread(target=_look_after_the_end, args=(reading,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(earlier)
        os.close(writing)
        thread.join()
        os.close(reading)


def _look_after_the_end(reading: int) -> None:
    """Reads the numbers of signals as they come, until nobody can send any more."""
    first, number = 0.0, 0
    while True:
        left = max(first + GRACE_SECONDS - time.monotonic(), 0.0) if number else None
        is_there = bool(select.select([reading], [], [], left)[0])
        sent = os.read(reading, 1) if is_there else b""
        if is_there and not sent:
            return
        if is_there and sent[0] not in _NUMBERS:
            continue
        if not number:
            first, number = time.monotonic(), sent[0]
        elif not is_there or time.monotonic() - first > _ONE_TELLING_SECONDS:
            print(f"\n{MESSAGE}", file=sys.stderr, flush=True)
            os._exit(128 + number)
