"""Champion and challenger: is the new model safe to swap in for the old one?

Both are compared picture by picture on the same test records, because two accuracies that differ by
nothing can hide a defect that used to be caught and now escapes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from pipeline.evaluation.decision import PASS
from pipeline.evaluation.predictions import Predictions
from pipeline.evaluation.rates import Rate, measure_share
from records.atomic import write_text
from records.sheets import format_csv

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Comparison:
    """How the challenger differs from the champion. Rows are numbers of test pictures.

    Attributes:
        pictures: How many both have judged.
        newly_escaped: Rows of defects that the champion caught and the challenger does not.
        newly_caught: The other way round.
        newly_stopped: Rows of pictures in order that the champion passed and the challenger stops.
        newly_passed: The other way round.
        only_champion_right: Pictures that the champion alone gives their class.
        only_challenger_right: Pictures that the challenger alone does.
        mcnemar_p: Two-sided exact p-value of the two counts before: how often chance alone makes
            them at least this unequal (Q. McNemar, Psychometrika 12 (1947) 153; exact as the
            binomial test of the smaller count).
        champion_recall: Of the defects, those that the champion catches.
        challenger_recall: Likewise.
    """

    pictures: int
    newly_escaped: tuple[int, ...]
    newly_caught: tuple[int, ...]
    newly_stopped: tuple[int, ...]
    newly_passed: tuple[int, ...]
    only_champion_right: int
    only_challenger_right: int
    mcnemar_p: float
    champion_recall: Rate
    challenger_recall: Rate

    @property
    def passes_gate(self) -> bool:
        """Whether nothing that was caught escapes now. Recall cannot have dropped then."""
        return not self.newly_escaped

    def to_json(self) -> dict[str, Any]:
        """The same as nested dicts and lists."""
        return dataclasses.asdict(self) | {"passes_gate": self.passes_gate}


def compare(
    champion: Predictions, challenger: Predictions, *, fail_classes: Collection[str]
) -> Comparison:
    """Compares two answers to the same pictures.

    A defect is caught when it does not pass. Where no class passes, it is caught when it is given
    its own class. What goes to a person is not passed.

    Args:
        champion: Of the model in service; in any order.
        challenger: Of the model that may replace it; its rows are those of the result.
        fail_classes: Names of the classes whose pictures must not pass.

    Raises:
        ValueError: The pictures, their true classes or the class names are not the same, or a true
            class is unknown.
    """
    champion = _align(champion, challenger)
    is_defect = np.isin(challenger.true, [challenger.classes.index(name) for name in fail_classes])
    all_fail = len(set(fail_classes)) == len(challenger.classes)
    was_caught, is_caught = (_is_caught(one, all_fail) for one in (champion, challenger))
    was_right, is_right = (one.predicted == one.true for one in (champion, challenger))
    lost, won = int((was_right & ~is_right).sum()), int((is_right & ~was_right).sum())
    return Comparison(
        pictures=len(is_defect),
        newly_escaped=_rows(is_defect & was_caught & ~is_caught),
        newly_caught=_rows(is_defect & is_caught & ~was_caught),
        newly_stopped=_rows(~is_defect & is_caught & ~was_caught),
        newly_passed=_rows(~is_defect & was_caught & ~is_caught),
        only_champion_right=lost,
        only_challenger_right=won,
        mcnemar_p=mcnemar_exact(lost, won),
        champion_recall=measure_share(was_caught, is_defect),
        challenger_recall=measure_share(is_caught, is_defect),
    )


def write_comparison(path: Path, comparison: Comparison, challenger: Predictions) -> None:
    """Writes a line for each picture whose fate changes: `change, source_id, sha256, true`."""
    rows = [["change", "source_id", "sha256", "true"]]
    for change in ("newly_escaped", "newly_caught", "newly_stopped", "newly_passed"):
        rows += [
            [
                change,
                challenger.source_ids[row],
                challenger.digests[row],
                challenger.classes[challenger.true[row]],
            ]
            for row in getattr(comparison, change)
        ]
    write_text(path, format_csv(rows))


def mcnemar_exact(one: int, other: int) -> float:
    """Two-sided p-value of `one` against `other`, both equally likely; 1 when both are 0."""
    pairs = one + other
    return float(binomtest(one, pairs, 0.5).pvalue) if pairs else 1.0


def _align(champion: Predictions, challenger: Predictions) -> Predictions:
    """The champion's answers in the challenger's order: runs with other seeds shuffle otherwise.

    Raises:
        ValueError: The two are not about the same pictures, classes and truth.
    """
    if champion.classes != challenger.classes:
        raise ValueError(
            f"its classes are {', '.join(champion.classes)}, not {', '.join(challenger.classes)}"
        )
    rows = {picture: row for row, picture in enumerate(_pictures(champion))}
    wanted = _pictures(challenger)
    if rows.keys() != set(wanted) or len(rows) != len(wanted):
        raise ValueError("it was evaluated on other test pictures")
    aligned = champion.take([rows[picture] for picture in wanted])
    if not np.array_equal(aligned.true, challenger.true) or (challenger.true < 0).any():
        raise ValueError("its test pictures have other true classes, or none")
    return aligned


def _pictures(answers: Predictions) -> list[tuple[str, str]]:
    return list(zip(answers.source_ids, answers.digests, strict=True))


def _is_caught(answers: Predictions, all_fail: bool) -> npt.NDArray[np.bool_]:
    if all_fail:
        return answers.predicted == answers.true
    return np.array([decision != PASS for decision in answers.decisions], bool)


def _rows(is_meant: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(row) for row in np.flatnonzero(is_meant))
