"""The model card: what a served model is for, what it was measured on, and where its limits are.

It lies inside the version, below `assets.extra/`: as `model_card.json` for programs and, the same
in words, as `model_card.md` for people. Every number comes from a file of the run or from what the
export checked.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jinja2

from pipeline.evaluation.baseline import rivals_model
from pipeline.evaluation.curves import format_area
from pipeline.evaluation.rates import format_per_cent
from pipeline.evaluation.result import Evaluation
from pipeline.modelfacts import ModelFacts
from pipeline.pages.audit_counts import highest_error_rate
from pipeline.provenance import digest_files, git_commit, versions
from pipeline.rundir import RunDir
from records.atomic import write_json, write_text
from records.errors import InputError
from records.manifest import Manifest, file_digest, read_manifest
from records.types import SPLITS
from records.untrusted import read_json

CARDS = CARD, _CARD_TEXT = "assets.extra/model_card.json", "assets.extra/model_card.md"
"""Where a SavedModel says what it is."""
_TEMPLATE = "model_card.md.j2"
_MODEL_FACTS = (
    *("model", "classes", "positive_class", "fail_classes", "image_size", "channels", "resize"),
    *("standardize", "seed"),
)
_DAMAGES = (OSError, ValueError, LookupError, TypeError, ArithmeticError, AttributeError)
_MARKDOWN = re.compile(r"([\\`*\[\]<>#|~]|(?<![^\W_])_|_(?![^\W_]))")


def write_model_card(
    candidate: Path,
    *,
    run_dir: RunDir,
    facts: ModelFacts,
    evaluation: Evaluation,
    gate: Any,
    precision_figures: Mapping[str, Mapping[str, float | None]] | None = None,
) -> None:
    """Writes `model_card.json` and `model_card.md` into a version that is not yet published.

    To be called when all else is in the folder: the card lists the digest of every other file.

    Args:
        candidate: Folder of the SavedModel.
        run_dir: Of the run that it comes from, with records and evaluation.
        facts: Of the model.
        evaluation: Of the model on the test split.
        gate: What was checked before publishing, a dataclass instance of JSON values.
        precision_figures: Figures `evaluated` and `served`, where these are of different precision.

    Raises:
        InputError: `metrics.json` or the manifest of the records is missing or damaged.
    """
    manifest = read_manifest(run_dir.records)
    files = {name: sha for name, sha in digest_files(candidate).items() if name not in CARDS}
    checked = dataclasses.asdict(gate)
    try:
        card = _collect(run_dir, facts, evaluation, manifest) | {
            "gate": checked,
            "precision_figures": precision_figures,
            "files": files,
        }
        text = _render(card)
    except (*_DAMAGES, jinja2.UndefinedError) as error:
        raise InputError(
            f"{run_dir.metrics} cannot be read for the model card "
            f"({type(error).__name__}: {error}).",
            f"Run: python main.py --stage=eval --work_dir={run_dir.root} --model={run_dir.model}",
        ) from error
    write_json(candidate / CARD, card)
    write_text(candidate / _CARD_TEXT, text)


def _collect(
    run_dir: RunDir, facts: ModelFacts, evaluation: Evaluation, manifest: Manifest
) -> dict[str, Any]:
    """What the files of the run say."""
    metrics = read_json(run_dir.metrics)
    return {
        "model": {name: getattr(facts, name) for name in _MODEL_FACTS},
        "data": {
            "name": manifest.name,
            "layout": manifest.layout,
            "split_seed": manifest.split_seed,
            "counts": {split: manifest.counts[split] for split in SPLITS},
        },
        "evaluation": _describe_evaluation(metrics, evaluation),
        "rule": evaluation.described,
        "digests": {
            "records": facts.records_digest,
            "source": manifest.source_digest,
            "weights": facts.weights_digest,
            **{
                name: file_digest(getattr(run_dir, name))
                for name in ("config", "metrics", "threshold", "predictions")
            },
        },
        "software": {
            "training": {"commit": facts.git_commit, **facts.versions},
            "export": {"commit": git_commit(), **versions()},
        },
    }


def _describe_evaluation(metrics: Mapping[str, Any], evaluation: Evaluation) -> dict[str, Any]:
    """Figures of `metrics.json` without its curves and bins; None for what it has not."""
    binary, baseline = metrics["binary"], metrics.get("baseline")
    return {
        "pictures": metrics["pictures"],
        "accuracy": metrics["accuracy"],
        "decisions": dict(sorted(Counter(evaluation.predictions.decisions).items())),
        "binary": binary and _describe_binary(binary),
        "per_class": [_describe_class(one) for one in metrics["per_class"]],
        "line": metrics.get("line"),
        "review": metrics.get("review"),
        "calibration": _describe_calibration(metrics.get("calibration")),
        "baseline": baseline,
        "baseline_rivals": baseline and rivals_model(baseline, metrics),
        "robustness": _describe_robustness(metrics.get("robustness")),
    }


def _describe_binary(binary: Mapping[str, Any]) -> dict[str, Any]:
    areas = {name: binary[name] and binary[name]["area"] for name in ("roc", "precision_recall")}
    kept = ("positive_class", "negative_class", "escapes", "false_calls")
    return {name: binary[name] for name in kept} | {
        "auroc": areas["roc"],
        "average_precision": areas["precision_recall"],
    }


def _describe_class(one: Mapping[str, Any]) -> dict[str, Any]:
    """With the error rate that so many pictures cannot rule out, even judged without an error."""
    kept = {name: one[name] for name in ("name", "support", "recall", "precision")}
    return kept | {"not_ruled_out": highest_error_rate(one["support"])}


def _describe_calibration(calibration: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if calibration is None:
        return None
    name = "expected_calibration_error"
    return {f"{name}_{when}": calibration[when][name] for when in ("before", "after")}


def _describe_robustness(robustness: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Of each fault the mildest level that costs the recall asked for, and the levels tried."""
    if robustness is None:
        return None
    levels: dict[str, list[float]] = {kind: [] for kind in robustness["first_failures"]}
    for one in robustness["levels"]:
        if one["kind"]:
            levels[one["kind"]].append(one["level"])
    return {
        "target_recall": robustness["target_recall"],
        "first_failures": robustness["first_failures"],
        "units": robustness["units"],
        "levels": levels,
    }


def _render(card: Mapping[str, Any]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= _FILTERS
    return environment.get_template(_TEMPLATE).render(card)


def _escape(text: object) -> str:
    """Text that Markdown shows as it is, on one line."""
    return _MARKDOWN.sub(r"\\\1", " ".join(str(text).split()))


def _format_share(fraction: float | None) -> str:
    return "unknown" if fraction is None else f"{format_per_cent(fraction)} %"


def _format_rate(rate: Mapping[str, Any]) -> str:
    """Three cells of a table: the rate, its interval, and how many of how many."""
    if rate["value"] is None:
        return "unknown | | no such picture"
    low, high = format_per_cent(rate["low"]), format_per_cent(rate["high"])
    return f"{_format_share(rate['value'])} | {low} to {high} % | {rate['count']} of {rate['of']}"


def _list_rows(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Names and values, nested ones with their path as name."""
    for name, value in values.items():
        path = f"{prefix}{name}".replace("_", " ")
        if isinstance(value, Mapping):
            yield from _list_rows(value, f"{path}: ")
        else:
            yield _escape(path), _escape(_format_plain(value))


def _format_plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_format_plain, value)) or "none"
    return str(value)


_FILTERS: dict[str, Callable[..., Any]] = {
    "area": format_area,
    "md": _escape,
    "plain": _format_plain,
    "rate": _format_rate,
    "rows": _list_rows,
    "share": _format_share,
}
