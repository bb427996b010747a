from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from pipeline.evaluation.answers import Answers
from pipeline.evaluation.decision import DecisionRule
from pipeline.evaluation.perturbations import KINDS, Perturbation
from pipeline.evaluation.review import ReviewBand
from pipeline.evaluation.robustness import (
    find_first_failures,
    measure_robustness,
    robustness_json,
    write_robustness,
)
from pipeline.figures.robustness import robustness_figure

BINARY = DecisionRule(("io", "nio"), ("nio",), "nio", 0.5, 1.0, (0.0, 0.0), ReviewBand())
TRUE = np.array([1] * 20 + [0] * 10)


def _answers(caught: int, stopped: int) -> Answers:
    predicted = np.array([1] * caught + [0] * (20 - caught) + [1] * stopped + [0] * (10 - stopped))
    return Answers(TRUE, 9.0 * np.eye(2, dtype=np.float32)[predicted], None)


def _answer(one: Perturbation) -> Answers:
    """Noise costs a defect a level, brighter light a false call; nothing else does any harm."""
    place = list(KINDS[one.kind].levels).index(one.level) + 1
    return _answers(20 - place * (one.kind == "noise"), place * (one.kind == "brighter"))


def test_rates_are_counted_and_the_first_failure_found() -> None:
    measured = measure_robustness(BINARY, _answers(20, 0), _answer)
    assert len(measured) == 1 + 29
    by_name = {(one.kind, one.level): one for one in measured}
    noisy = by_name["noise", 30]
    assert (noisy.escapes.count, noisy.escapes.of, noisy.recall.count) == (3, 20, 17)
    assert (noisy.false_calls.count, noisy.false_calls.of, noisy.accuracy.count) == (0, 10, 27)
    assert by_name["brighter", 20].false_calls.count == 2
    assert by_name["", 0.0].accuracy.value == 1
    # 19 of 20 are 95 %: not below it. 18 of 20, at the second level, are.
    failures = find_first_failures(measured, target_recall=0.95)
    assert failures == dict.fromkeys(KINDS) | {"noise": 40}


def test_a_model_that_fails_on_clean_pictures_fails_at_the_mildest_level() -> None:
    measured = measure_robustness(BINARY, _answers(10, 0), lambda one: _answers(20, 0))
    failures = find_first_failures(measured, target_recall=0.95)
    assert failures == {name: kind.levels[0] for name, kind in KINDS.items()}


def test_where_no_class_passes_a_defect_is_caught_by_its_own_class() -> None:
    rule = DecisionRule(("a", "b", "c"), ("a", "b", "c"), "", 0.0, 1.0, (0.0,) * 3, ReviewBand())
    true, predicted = np.array([0, 1, 2]), np.array([0, 2, 2])
    answers = Answers(true, np.eye(3, dtype=np.float32)[predicted], None)
    clean = measure_robustness(rule, answers, lambda one: answers)[0]
    assert (clean.recall.count, clean.escapes.count, clean.false_calls.of) == (2, 1, 0)
    assert clean.false_calls.value is None


def test_table_and_figure_hold_every_level(tmp_path: Path) -> None:
    measured = measure_robustness(BINARY, _answers(20, 0), _answer)
    write_robustness(tmp_path / "robustness.csv", measured)
    rows = list(csv.DictReader((tmp_path / "robustness.csv").open()))
    assert (rows[0]["kind"], rows[0]["accuracy_value"]) == ("clean", "1")
    assert (rows[4]["kind"], rows[4]["level"], rows[4]["escapes_count"]) == ("noise", "20", "4")
    values = json.loads(json.dumps(robustness_json(measured, target_recall=0.95), allow_nan=False))
    figure = robustness_figure(values)
    titled = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title().split(",")[0] for axes in titled] == list(KINDS)
    lines = {line.get_label(): line for line in titled[0].lines}
    caught = np.asarray(lines["defects caught"].get_ydata(), np.float64)
    np.testing.assert_allclose(caught, [100, 95, 90, 85, 80])
    labels = [text.get_text() for text in titled[0].get_xticklabels()]
    assert labels == ["clean", "50", "40", "30", "20"]
