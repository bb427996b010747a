"""Everything an evaluation measures: the content of `metrics.json`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from pipeline.evaluation.answers import Answers
from pipeline.evaluation.calibration import measure_reliability, to_probabilities
from pipeline.evaluation.decision import REVIEW, Decided, DecisionRule
from pipeline.evaluation.line import measure_line
from pipeline.evaluation.metrics import Metrics, compute_metrics
from pipeline.evaluation.rates import measure_share


def assess(
    rule: DecisionRule, answers: Answers, decided: Decided, *, line_defect_rate: float
) -> tuple[Metrics, dict[str, Any]]:
    """Measures what was decided against the truth.

    Args:
        rule: What it was decided by.
        answers: Of the model, for pictures that had no part in choosing the rule.
        decided: By the rule, about `answers`.
        line_defect_rate: Share of defects on the production line, in [0, 1].

    Returns:
        The metrics, and as JSON values all there is: the metrics, and under names of their own
        `calibration`, `review`, `line` (two classes only, else None) and `reconstruction_error`
        (None without a decoder).
    """
    metrics = compute_metrics(
        true=answers.true,
        predicted=decided.predicted,
        probabilities=decided.probabilities,
        classes=rule.classes,
        positive_class=rule.positive_class,
    )
    line = None
    if metrics.binary:
        line = measure_line(
            escapes=metrics.binary.escapes,
            false_calls=metrics.binary.false_calls,
            defect_rate=line_defect_rate,
        ).to_json()
    return metrics, metrics.to_json() | {
        "calibration": _describe_calibration(rule, answers, decided),
        "review": _describe_review(rule, answers, decided),
        "line": line,
        "reconstruction_error": _describe_reconstruction(rule, answers),
    }


def _describe_calibration(rule: DecisionRule, answers: Answers, decided: Decided) -> dict[str, Any]:
    before = to_probabilities(answers.logits, 1.0)
    return {"temperature": rule.temperature, "log_shares": list(rule.log_shares)} | {
        name: measure_reliability(probabilities, answers.true, positive=rule.positive).to_json()
        for name, probabilities in (("before", before), ("after", decided.probabilities))
    }


def _describe_review(rule: DecisionRule, answers: Answers, decided: Decided) -> dict[str, Any]:
    """What a person is sent, and what is wrong among the rest."""
    is_sent = np.array([decision == REVIEW for decision in decided.decisions], bool)
    described: dict[str, Any] = rule.review.to_json(positive=rule.positive) | {
        "sent": asdict(measure_share(is_sent, np.ones_like(is_sent))),
        "errors": asdict(measure_share(decided.predicted != answers.true, ~is_sent)),
    }
    if rule.positive is None:
        return described
    is_positive, stopped = (x == rule.positive for x in (answers.true, decided.predicted))
    return described | {
        "escapes": asdict(measure_share(~stopped, is_positive & ~is_sent)),
        "false_calls": asdict(measure_share(stopped, ~is_positive & ~is_sent)),
    }


def _describe_reconstruction(rule: DecisionRule, answers: Answers) -> dict[str, Any] | None:
    """Median error of each class, in grey values, and the area under its ROC with two classes."""
    errors, true = answers.reconstruction_error, answers.true
    if errors is None:
        return None
    medians = {
        name: float(np.median(errors[true == index])) if (true == index).any() else None
        for index, name in enumerate(rule.classes)
    }
    is_positive = true == rule.positive
    mixed = rule.positive is not None and is_positive.any() and not is_positive.all()
    auroc = float(roc_auc_score(is_positive, errors)) if mixed else None
    return {"median": medians, "auroc": auroc}
