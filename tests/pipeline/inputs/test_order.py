from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.inputs.order import rows_of_step


def order(steps: range, *, batch_size: int, count: int, seed: int) -> list[int]:
    return [
        int(row)
        for step in steps
        for row in rows_of_step(step, batch_size=batch_size, count=count, seed=seed)
    ]


@given(
    batch_size=st.integers(1, 9), count=st.integers(1, 12), seed=st.integers(0, 2**32 - 1)
)  # fmt: skip
def test_every_row_comes_once_in_every_round(batch_size: int, count: int, seed: int) -> None:
    rows = order(range(3 * count), batch_size=batch_size, count=count, seed=seed)
    for start in range(0, len(rows), count):
        assert sorted(rows[start : start + count]) == list(range(count))


@given(first=st.integers(0, 30), seed=st.integers(0, 100))
def test_a_step_does_not_depend_on_those_before_it(first: int, seed: int) -> None:
    whole = order(range(40), batch_size=3, count=7, seed=seed)
    assert order(range(first, 40), batch_size=3, count=7, seed=seed) == whole[3 * first :]


def test_rounds_and_seeds_differ() -> None:
    rounds = {
        tuple(rows_of_step(step, batch_size=50, count=50, seed=seed).tolist())
        for seed in (0, 1, 2**31, 2**32 - 1)
        for step in range(3)
    }
    assert len(rounds) == 12


def test_the_order_is_numpys_permutation_of_seed_and_round() -> None:
    expected = np.random.default_rng([5, 2]).permutation(10)
    np.testing.assert_array_equal(rows_of_step(2, batch_size=10, count=10, seed=5), expected)
