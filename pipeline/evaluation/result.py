"""What the stage `eval` left, read again by the stages that build on it, and only when whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.evaluation.decision import DecisionRule, parse_rule
from pipeline.evaluation.predictions import Predictions, read_predictions
from pipeline.modelfacts import ModelFacts
from pipeline.rundir import RunDir
from records.errors import InputError
from records.manifest import file_digest
from records.untrusted import read_json


@dataclass(frozen=True)
class Evaluation:
    """The answers of the evaluation and the rule they were decided by.

    Attributes:
        rule: From logits to decisions.
        described: The rule and how it was chosen: what `threshold.json` holds.
        predictions: An answer for each test picture.
    """

    rule: DecisionRule
    described: dict[str, Any]
    predictions: Predictions


def digest_evaluation(run_dir: RunDir, *, weights_digest: str) -> dict[str, str]:
    """SHA-256 of what belongs together: model, rule and answers. Goes into `metrics.json`."""
    return {
        "model": weights_digest,
        "threshold": file_digest(run_dir.threshold),
        "predictions": file_digest(run_dir.predictions),
    }


def read_evaluation(run_dir: RunDir, facts: ModelFacts) -> Evaluation:
    """Reads threshold and answers, and proves that they are those `metrics.json` was made of.

    Args:
        run_dir: Where they are.
        facts: Of the model that is to be explained or exported.

    Raises:
        InputError: A file is missing or damaged, was changed, or is about another model.
    """
    try:
        recorded = dict(read_json(run_dir.metrics)["digests"])
        found = digest_evaluation(run_dir, weights_digest=facts.weights_digest)
        described = read_json(run_dir.threshold)
        rule = parse_rule(described, facts)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"The evaluation in {run_dir.eval} is damaged ({type(error).__name__}: {error}).",
            _remedy(run_dir),
        ) from error
    changed = sorted(name for name in found if found[name] != recorded.get(name))
    if changed:
        raise InputError(
            f"The evaluation in {run_dir.eval} does not fit together: another {changed[0]} than "
            "the one its metrics.json was made with.",
            _remedy(run_dir),
        )
    predictions = read_predictions(run_dir.predictions)
    if predictions.classes != facts.classes:
        raise InputError(
            f"{run_dir.predictions} is about other classes than {run_dir.config}.", _remedy(run_dir)
        )
    return Evaluation(rule, described, predictions)


def _remedy(run_dir: RunDir) -> str:
    return f"Run: python main.py --stage=eval --work_dir={run_dir.root} --model={run_dir.model}"
