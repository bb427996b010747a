from __future__ import annotations

import dataclasses
from math import comb
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.comparison import compare, mcnemar_exact, write_comparison
from pipeline.evaluation.predictions import Predictions


def _answers(true: str, predicted: str, classes: str = "gb", review: str = "") -> Predictions:
    """A picture a letter; `g` is good and passes, whatever else there is fails."""
    true_rows, rows = (np.array([classes.index(one) for one in text]) for text in (true, predicted))
    asked = review or "-" * len(true)
    return Predictions(
        classes=tuple(classes),
        source_ids=tuple(f"{number}.png" for number in range(len(true))),
        digests=tuple(f"{number:064x}" for number in range(len(true))),
        true=true_rows,
        predicted=rows,
        decisions=tuple(
            "review" if person == "r" else "pass" if one == "g" else "fail"
            for one, person in zip(predicted, asked, strict=True)
        ),
        scores=None,
        probabilities=np.eye(len(classes), dtype=np.float32)[rows],
    )


def test_every_change_is_listed_where_it_belongs() -> None:
    champion = _answers("bbbbgggg", "bbggggbb")
    challenger = _answers("bbbbgggg", "bgbggbgb")
    found = compare(champion, challenger, fail_classes=("b",))
    assert found.newly_escaped == (1,)
    assert found.newly_caught == (2,)
    assert found.newly_stopped == (5,)
    assert found.newly_passed == (6,)
    assert (found.only_champion_right, found.only_challenger_right) == (2, 2)
    assert (found.champion_recall.count, found.challenger_recall.count) == (2, 2)
    assert not found.passes_gate
    assert found.to_json()["passes_gate"] is False


def test_every_change_is_a_line_of_the_table(tmp_path: Path) -> None:
    champion = _answers("bbbbgggg", "bbggggbb")
    challenger = _answers("bbbbgggg", "bgbggbgb")
    found = compare(champion, challenger, fail_classes=("b",))
    write_comparison(tmp_path / "comparison.csv", found, challenger)
    lines = (tmp_path / "comparison.csv").read_text().splitlines()
    assert lines[0] == "change,source_id,sha256,true"
    assert lines[1] == f"newly_escaped,1.png,{1:064x},b"
    assert [line.split(",")[0::3] for line in lines[2:]] == [
        ["newly_caught", "b"],
        ["newly_stopped", "g"],
        ["newly_passed", "g"],
    ]


def test_the_order_of_the_champions_answers_does_not_matter() -> None:
    champion = _answers("bbbbgggg", "bbggggbb")
    challenger = _answers("bbbbgggg", "bgbggbgb")
    shuffled = champion.take([5, 0, 7, 2, 1, 3, 6, 4])
    assert shuffled.source_ids[:2] == ("5.png", "0.png")
    assert shuffled.probabilities[1].tolist() == champion.probabilities[0].tolist()
    expected = compare(champion, challenger, fail_classes=("b",))
    assert compare(shuffled, challenger, fail_classes=("b",)) == expected


def test_equal_accuracies_hide_an_escape_that_the_gate_sees() -> None:
    champion, challenger = _answers("bbgg", "bggg"), _answers("bbgg", "gbgg")
    found = compare(champion, challenger, fail_classes=("b",))
    assert found.mcnemar_p == 1.0
    assert not found.passes_gate


def test_what_a_person_looks_at_is_no_escape() -> None:
    champion = _answers("b", "b")
    assert compare(champion, _answers("b", "g", review="r"), fail_classes=("b",)).passes_gate
    assert not compare(
        _answers("b", "g", review="r"), _answers("b", "g"), fail_classes=("b",)
    ).passes_gate


def test_where_no_class_passes_the_right_class_is_what_counts() -> None:
    champion, challenger = _answers("bcd", "bcc", "bcd"), _answers("bcd", "bdd", "bcd")
    found = compare(champion, challenger, fail_classes=("b", "c", "d"))
    assert (found.newly_escaped, found.newly_caught) == ((1,), (2,))


def test_a_defect_taken_for_another_is_caught_where_some_class_passes() -> None:
    champion, challenger = _answers("b", "b", "gbc"), _answers("b", "c", "gbc")
    found = compare(champion, challenger, fail_classes=("b", "c"))
    assert found.passes_gate
    assert found.only_champion_right == 1


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_the_two_sided_binomial_test(one: int, other: int) -> None:
    pairs, least = one + other, min(one, other)
    tail = sum(comb(pairs, count) for count in range(least + 1)) / 2**pairs
    assert mcnemar_exact(one, other) == pytest.approx(min(2 * tail, 1.0), rel=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source_ids": ("x.png",)}, "other test pictures"),
        ({"digests": ("ff",)}, "other test pictures"),
        ({"true": np.array([0])}, "other true classes"),
        ({"classes": ("g", "c")}, "its classes are"),
    ],
)
def test_what_cannot_be_compared_is_refused(change: dict, message: str) -> None:
    ours = _answers("b", "b")
    with pytest.raises(ValueError, match=message):
        compare(dataclasses.replace(ours, **change), ours, fail_classes=("b",))
