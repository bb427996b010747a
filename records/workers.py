"""Work done by several processes at once, with the same result as by one.

Processes, because what is heavy here (lxml's trees, Python's own loops) holds the interpreter's
lock. They are made by a fork server, which never forked a process with threads or TensorFlow in it,
and they end by themselves when the process that made them is killed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from types import TracebackType
from typing import Self, TypeVar

from records.ahead import map_ahead
from records.errors import InputError
from records.places import Place

TASKS_AHEAD = 256
"""Tasks that are under way or whose results wait for their turn, at most: what is held in memory
does not grow with the tasks, and a slow one keeps nobody waiting for long."""

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


class Workers:
    """A context in which functions are mapped over tasks by `count` processes.

    `records.cluster.ClusterWorkers` are those of other machines.

    Args:
        count: How many; 0: one for each core that this process may use. With 1, or a single task,
            the work is done by this process.
    """

    def __init__(self, count: int = 0) -> None:
        self.count = count or len(os.sched_getaffinity(0))
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close(wait=kind is None)

    def _open(self) -> None:
        """The processes are started by the first work that needs them."""

    def _close(self, *, wait: bool) -> None:
        if self._pool:
            self._pool.shutdown(wait=wait, cancel_futures=True)
            self._pool = None

    def map(
        self,
        work: Callable[[_Task], _Result],
        tasks: Sequence[_Task],
        *,
        seen: Sequence[Place] = (),
        together: int = 1,
    ) -> Generator[_Result, None, None]:
        """Yields `work(task)` in the order of the tasks, as soon as each is there.

        Args:
            work: A function of a module, or a `functools.partial` of one.
            tasks: What it is given; like the results they must pass through `pickle`.
            seen: Files that must be there wherever a task is done; on this machine they are.
            together: How many tasks another machine may be sent at once: those that take
                milliseconds would wait for their ways there and back.

        Raises:
            InputError: A process was ended from outside, by a lack of memory for one.
        """
        if self.count == 1 or len(tasks) < 2:
            yield from map(work, tasks)
            return
        try:
            yield from map_ahead(work, tasks, self._start(), most=TASKS_AHEAD)
        except BrokenProcessPool as error:
            raise InputError(
                "A worker process was ended from outside; most often the memory did not suffice.",
                "Give fewer processes, --workers=1 for one, or make memory free.",
            ) from error

    def _start(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(["__main__", "records.opening", "records.shard_writing"])
            self._pool = ProcessPoolExecutor(
                self.count, mp_context=context, initializer=_end_with_parent
            )
        return self._pool


def cut(items: Sequence[_Task], size: int) -> list[Sequence[_Task]]:
    """Consecutive pieces of `size` items, the last one smaller."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def _end_with_parent() -> None:
    """Ends this process when its parent is gone: a killed parent cannot end it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends the rest.
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_wait_and_end, args=(parent.sentinel,), daemon=True).start()


def _wait_and_end(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
