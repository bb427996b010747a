"""Work that is done ahead of whoever takes its results: in order, and within bounds."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def map_ahead(
    work: Callable[[_Item], _Result],
    items: Iterable[_Item],
    pool: Executor,
    *,
    most: int,
    weigh: Callable[[_Item], int] | None = None,
    heaviest: int = 0,
) -> Generator[_Result, None, None]:
    """Yields `work(item)` in the order of the items; what is ahead stays bounded.

    Items are taken one by one by whoever takes the results, so that the bounds need no lock and
    are kept the same way at every run. When the generator is closed, what has not begun is
    cancelled.

    Args:
        work: What is done with an item.
        items: What it is done with; taken no further than the bounds allow.
        pool: Who does it.
        most: Results that are under way or wait to be taken, at most.
        weigh: What an item will weigh while it is under way or waits; without it, nothing.
        heaviest: What these weigh together at most. An item that is heavier goes alone.
    """
    waiting: deque[tuple[Future[_Result], int]] = deque()
    held = 0
    try:
        for item in items:
            weight = weigh(item) if weigh else 0
            while waiting and (len(waiting) >= most or held + weight > heaviest):
                held -= waiting[0][1]
                yield waiting.popleft()[0].result()
            waiting.append((pool.submit(work, item), weight))
            held += weight
        while waiting:
            yield waiting.popleft()[0].result()
    finally:
        for future, _ in waiting:
            future.cancel()


def map_by_threads(
    work: Callable[[_Item], _Result], items: Iterable[_Item], *, threads: int, most: int, name: str
) -> Generator[_Result, None, None]:
    """As `map_ahead`, by threads of its own, which have ended when the generator has.

    Args:
        work: What is done with an item.
        items: What it is done with.
        threads: How many.
        most: Results that are under way or wait to be taken, at most.
        name: What the threads are called.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    try:
        with contextlib.closing(map_ahead(work, items, pool, most=most)) as results:
            yield from results
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
