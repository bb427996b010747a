"""How the answers hold when pictures get worse: the same test pictures, perturbed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.evaluation.answers import Answers
from pipeline.evaluation.decision import DecisionRule
from pipeline.evaluation.perturbations import KINDS, Perturbation, list_perturbations
from pipeline.evaluation.rates import Rate, measure_share
from records.atomic import write_text
from records.sheets import format_csv


@dataclass(frozen=True)
class Robustness:
    """The answers to pictures that are perturbed in one way.

    Attributes:
        kind: What was done to them; empty: nothing.
        level: How much.
        unit: Unit of `level`.
        accuracy: Pictures given their class.
        recall: Defects that are caught: with two classes by the threshold. With more, where a class
            passes, those given any class that fails; where none does, those given their own.
        escapes: The others.
        false_calls: Pictures of a class that passes given one that fails; of 0 where none passes.
    """

    kind: str
    level: float
    unit: str
    accuracy: Rate
    recall: Rate
    escapes: Rate
    false_calls: Rate


def measure_robustness(
    rule: DecisionRule, clean: Answers, answer: Callable[[Perturbation], Answers]
) -> list[Robustness]:
    """Perturbs the pictures in all ways and degrees; the first entry is of the clean ones.

    Args:
        rule: What decides; chosen on clean validation pictures and not changed.
        clean: Answers to the pictures as they are.
        answer: Answers to them perturbed.
    """
    measured = [_measure(rule, clean, "", 0.0, "")]
    for one in list_perturbations():
        measured.append(_measure(rule, answer(one), one.kind, one.level, one.unit))
    return measured


def find_first_failures(
    measured: Sequence[Robustness], *, target_recall: float
) -> dict[str, float | None]:
    """Of each kind the mildest level at which recall is below the target; None if at none.

    What already falls short on clean pictures falls short at the mildest level of all.
    """
    failures: dict[str, float | None] = dict.fromkeys(KINDS)
    clean_fails = _is_below(measured[0], target_recall)
    for one in measured[1:]:
        if failures[one.kind] is None and (clean_fails or _is_below(one, target_recall)):
            failures[one.kind] = one.level
    return failures


def robustness_json(measured: Sequence[Robustness], *, target_recall: float) -> dict[str, Any]:
    """What goes into `metrics.json`."""
    return {
        "target_recall": target_recall,
        "first_failures": find_first_failures(measured, target_recall=target_recall),
        "units": {name: kind.unit for name, kind in KINDS.items()},
        "levels": [dataclasses.asdict(one) for one in measured],
    }


def write_robustness(path: Path, measured: Sequence[Robustness]) -> None:
    """Writes a line for each kind and level."""
    rates = ("accuracy", "recall", "escapes", "false_calls")
    parts = ("count", "of", "value", "low", "high")
    rows = [["kind", "level", "unit", *(f"{rate}_{part}" for rate in rates for part in parts)]]
    for one in measured:
        values = [getattr(getattr(one, rate), part) for rate in rates for part in parts]
        cells = ["" if value is None else f"{value:.6g}" for value in values]
        rows.append([one.kind or "clean", f"{one.level:g}", one.unit, *cells])
    write_text(path, format_csv(rows))


def _measure(
    rule: DecisionRule, answers: Answers, kind: str, level: float, unit: str
) -> Robustness:
    decided = rule.decide(answers.logits)
    right = decided.predicted == answers.true
    fails = np.isin(np.array(rule.classes), rule.fail_classes)
    is_defect, called_defect = fails[answers.true], fails[decided.predicted]
    caught = right if fails.all() else called_defect
    return Robustness(
        kind=kind,
        level=level,
        unit=unit,
        accuracy=measure_share(right, np.ones_like(right)),
        recall=measure_share(caught, is_defect),
        escapes=measure_share(~caught, is_defect),
        false_calls=measure_share(called_defect, ~is_defect),
    )


def _is_below(one: Robustness, target: float) -> bool:
    return one.recall.value is not None and one.recall.value < target
