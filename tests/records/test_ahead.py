from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from records.ahead import map_ahead


@settings(deadline=None, max_examples=50)
@given(
    weights=st.lists(st.integers(0, 9), max_size=30),
    most=st.integers(1, 6),
    heaviest=st.integers(0, 20),
)
def test_results_come_in_order_and_what_is_ahead_is_bounded(
    weights: list[int], most: int, heaviest: int
) -> None:
    taken = 0

    def items() -> Iterator[tuple[int, int]]:
        nonlocal taken
        for item in enumerate(weights):
            taken += 1
            yield item

    with ThreadPoolExecutor(3) as pool:
        results = map_ahead(
            lambda item: item[0], items(), pool, most=most,
            weigh=lambda item: item[1], heaviest=heaviest,
        )  # fmt: skip
        for position, result in enumerate(results):
            assert result == position
            # The latest that was taken waits to go ahead itself.
            ahead = weights[position : taken - 1] if taken < len(weights) else []
            assert taken - position <= most + 1
            assert len(ahead) <= 1 or sum(ahead) <= heaviest
        assert taken == len(weights)


def test_what_fails_is_raised_in_its_turn_and_the_rest_is_cancelled() -> None:
    done: list[int] = []
    go_on = threading.Event()

    def work(number: int) -> int:
        if number == 1:
            raise ValueError("one")
        if number == 2:
            go_on.wait()
        done.append(number)
        return number

    with ThreadPoolExecutor(1) as pool:
        results = map_ahead(work, range(100), pool, most=10)
        assert next(results) == 0
        with pytest.raises(ValueError, match="one"):
            next(results)
        go_on.set()
    assert done in ([0], [0, 2])


def test_a_generator_that_is_closed_begins_nothing_more() -> None:
    go_on = threading.Event()
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        if number:
            go_on.wait()
        return number

    with ThreadPoolExecutor(1) as pool:
        results = map_ahead(work, range(10), pool, most=5)
        assert next(results) == 0
        results.close()
        go_on.set()
    assert len(begun) <= 2
