"""The model in service against the one that may replace it: finds the former's evaluation."""

from __future__ import annotations

from pipeline.config import Settings
from pipeline.evaluated_run import find_evaluated
from pipeline.evaluation.comparison import Comparison, compare
from pipeline.evaluation.predictions import Predictions, read_predictions
from pipeline.modelfacts import ModelFacts
from records.errors import GateError, InputError


def challenge(settings: Settings, predictions: Predictions, facts: ModelFacts) -> Comparison | None:
    """Compares answers with those of the run that `--baseline` names; None without that flag.

    Args:
        settings: `baseline` is a run directory, or the folder of one model in it.
        predictions: Of the challenger, for the test pictures.
        facts: Of the challenger.

    Raises:
        InputError: There is no evaluation, or it is of other pictures.
    """
    if settings.baseline is None:
        return None
    path = find_evaluated(settings.baseline, settings.model).predictions
    try:
        return compare(read_predictions(path), predictions, fail_classes=facts.fail_classes)
    except ValueError as error:
        raise InputError(
            f"--baseline={settings.baseline} cannot be compared with: {error}.",
            "Evaluate both models on the same records: copy the folder records of one run to the "
            "other, or train both in one --work_dir.",
        ) from error


def require_gate(settings: Settings, comparison: Comparison | None) -> None:
    """Raises GateError if there is a gate and the challenger must not pass it."""
    if not settings.gate or comparison is None or comparison.passes_gate:
        return
    count = len(comparison.newly_escaped)
    raise GateError(
        f"{count} defect{'s' if count > 1 else ''} that the baseline caught would escape now; the "
        "report shows them."
    )
