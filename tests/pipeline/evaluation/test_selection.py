from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.selection import (
    ERRORS_AT_MOST,
    OTHERS_FRACTION,
    PICTURES_AT_MOST,
    choose_pictures,
)

Rows = list[tuple[int, int, float]]


def choose(rows: Rows, *, classes: int, positive: int | None = None) -> list[int]:
    """Chooses among rows of `(true, predicted, probability of predicted)`."""
    probabilities = np.zeros([len(rows), classes], np.float32)
    for number, (_, predicted, probability) in enumerate(rows):
        probabilities[number, predicted] = probability
    return choose_pictures(
        true=np.array([row[0] for row in rows], np.int64),
        predicted=np.array([row[1] for row in rows], np.int64),
        probabilities=probabilities,
        positive=positive,
    )


def test_few_pictures_are_all_chosen_errors_first_and_the_surest_of_them() -> None:
    rows: Rows = [(0, 0, 0.9), (1, 0, 0.6), (1, 1, 0.7), (1, 0, 0.8), (0, 1, 0.99)]
    assert choose(rows, classes=2, positive=1) == [3, 1, 4, 2, 0]


def test_right_pictures_are_spread_over_classes_and_certainty() -> None:
    rows: Rows = [(name, name, 0.5 + 0.001 * i) for name in range(6) for i in range(60)]
    chosen = choose(rows, classes=6)
    assert Counter(rows[row][0] for row in chosen) == dict.fromkeys(range(6), 4)
    # Of rows 0 (least sure) to 59 of class 0: the first, the last, and two between, surest first.
    assert chosen[:4] == [59, 39, 20, 0]


def test_a_class_with_few_pictures_leaves_its_places_to_the_others() -> None:
    rows: Rows = [(0, 0, 0.9)] * 2 + [(1, 1, 0.9)] * 50 + [(2, 2, 0.9)] * 50
    chosen = choose(rows, classes=3)
    assert Counter(rows[row][0] for row in chosen) == {0: 2, 1: 11, 2: 11}


def test_many_errors_leave_room_for_right_pictures() -> None:
    rows: Rows = [(0, 1, 0.9)] * 100 + [(0, 0, 0.9), (1, 1, 0.9)] * 50
    chosen = choose(rows, classes=2, positive=1)
    assert sum(rows[row][0] != rows[row][1] for row in chosen) == ERRORS_AT_MOST
    assert len(chosen) == PICTURES_AT_MOST


def test_errors_fill_what_too_few_right_pictures_leave() -> None:
    rows: Rows = [(0, 1, 0.9)] * 100 + [(1, 1, 0.9)] * 3
    chosen = choose(rows, classes=2, positive=1)
    assert sum(rows[row][0] != rows[row][1] for row in chosen) == PICTURES_AT_MOST - 3


def test_of_two_classes_the_positive_one_takes_most_places() -> None:
    rows: Rows = [(0, 0, 0.9), (1, 1, 0.9)] * 100
    chosen = choose(rows, classes=2, positive=1)
    others = int(OTHERS_FRACTION * PICTURES_AT_MOST)
    assert Counter(rows[row][0] for row in chosen) == {0: others, 1: PICTURES_AT_MOST - others}
    assert rows[chosen[0]][0] == 1


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 2), st.floats(0, 1, width=32)), max_size=60
    ),
    positive=st.one_of(st.none(), st.integers(0, 2)),
)
def test_choices_are_distinct_errors_first_and_as_many_as_may_be(
    rows: Rows, positive: int | None
) -> None:
    chosen = choose(rows, classes=3, positive=positive)
    assert len(chosen) == len(set(chosen)) == min(len(rows), PICTURES_AT_MOST)
    wrong = [rows[row][0] != rows[row][1] for row in chosen]
    assert wrong == sorted(wrong, reverse=True)
    errors = sum(true != predicted for true, predicted, _ in rows)
    assert sum(wrong) >= min(errors, ERRORS_AT_MOST)
    assert chosen == choose(rows, classes=3, positive=positive)
