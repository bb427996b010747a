"""What of an evaluation is looked at: matrices, curves and thumbnails, in `<model>/eval`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.evaluation.comparison import Comparison
from pipeline.evaluation.decision import Decided, DecisionRule
from pipeline.evaluation.metrics import Metrics, write_confusion_matrix
from pipeline.evaluation.predictions import Predictions
from pipeline.figures import plots
from pipeline.figures.gallery import rank_errors, rank_unsure, read_pictures, write_gallery

CHANGES_SHOWN = 24


def write_figures(folder: Path, metrics: Metrics, values: Mapping[str, Any]) -> None:
    """Writes the confusion matrix as a table, and all figures.

    Args:
        folder: Of the evaluation.
        metrics: What was measured.
        values: The content of `metrics.json`, of which `calibration` and `robustness` are drawn.
    """
    write_confusion_matrix(
        folder / "confusion_matrix.csv", matrix=metrics.confusion_matrix, classes=metrics.classes
    )
    figures = {
        "confusion_matrix": plots.confusion_figure(metrics, normalized=False),
        "confusion_matrix_normalized": plots.confusion_figure(metrics, normalized=True),
        "curves": plots.curves_figure(metrics),
        "calibration": plots.calibration_figure(values["calibration"]),
    }
    if metrics.binary and metrics.binary.roc:
        figures["operating_point"] = plots.operating_figure(metrics.binary)
    if values["robustness"]:
        figures["robustness"] = plots.robustness_figure(values["robustness"])
    for name, figure in figures.items():
        plots.write_png(folder / f"{name}.png", figure)


def write_galleries(
    folder: Path,
    shards: Sequence[Path],
    *,
    rule: DecisionRule,
    decided: Decided,
    predictions: Predictions,
    comparison: Comparison | None,
) -> None:
    """Writes thumbnails of the worst errors, the least certain and what changes for defects.

    Args:
        folder: Of the evaluation.
        shards: The records that were judged.
        rule: By which.
        decided: What came of it.
        predictions: The same as a table, with names and true classes.
        comparison: With the model in service, if there is one.
    """
    galleries = {
        "errors": rank_errors(rule, predictions.true, decided),
        "unsure": rank_unsure(rule, predictions.true, decided),
        "newly_escaped": list(comparison.newly_escaped[:CHANGES_SHOWN]) if comparison else [],
        "newly_caught": list(comparison.newly_caught[:CHANGES_SHOWN]) if comparison else [],
    }
    pictures = read_pictures(shards, {row for chosen in galleries.values() for row in chosen})
    for name, chosen in galleries.items():
        facts = [
            {
                "source_id": predictions.source_ids[row],
                "true": rule.classes[predictions.true[row]],
                "predicted": rule.classes[decided.predicted[row]],
                "probability": float(decided.probabilities[row, decided.predicted[row]]),
            }
            for row in chosen
        ]
        write_gallery(folder / name, [pictures[row] for row in chosen], facts=facts)
