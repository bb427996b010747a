"""`report.html`: one self-contained page about a run, from what its directory holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2

from pipeline.evaluation.baseline import rivals_model
from pipeline.evaluation.curves import format_area
from pipeline.evaluation.rates import format_per_cent
from pipeline.modelfacts import ModelFacts
from pipeline.pages.audit_findings import group_findings
from pipeline.pages.page import write_page
from pipeline.pages.report_pictures import (
    embed_gallery,
    embed_history,
    embed_maps,
    embed_plot,
    read_json,
)
from pipeline.rundir import RunDir
from records.errors import InputError
from records.manifest import file_digest
from records.types import SPLITS, Finding

_PLOTS = (
    *("confusion_matrix", "confusion_matrix_normalized", "curves", "operating_point"),
    *("calibration", "robustness"),
)
_MAP_PLOTS = ("localization", "faithfulness", "sanity")
_OVERVIEWS_AT_MOST = 2  # some hundred kilobytes each
_DAMAGES = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError)
_GALLERIES = ("errors", "unsure", "newly_escaped", "newly_caught")
_MODEL_FACTS = (
    *("model", "image_size", "channels", "positive_class", "fail_classes", "cam_layer"),
    *("seed", "git_commit", "weights_digest", "records_digest"),
)
_RECORD_FACTS = ("name", "layout", "split_seed", "source_digest", "schema_version")


def write_report(run: RunDir) -> Path:
    """Writes the report from whatever exists in the run directory, whole or not at all.

    Returns:
        Where it is.

    Raises:
        InputError: A file that is there is damaged.
    """
    try:
        write_page(run.report, "report.html.j2", _collect(run), filters=_FILTERS)
    except (*_DAMAGES, jinja2.UndefinedError) as error:
        raise InputError(
            f"A file in {run.model_dir} or {run.records} is not as its stage wrote it: {error}.",
            "Run the stages records, train and eval again.",
        ) from error
    return run.report


def _collect(run: RunDir) -> dict[str, Any]:
    """The variables of the template; `None` or empty stands for what is not there yet."""
    metrics = read_json(run.metrics)
    baseline = metrics and metrics.get("baseline")
    maps = read_json(run.explain / "maps.json") or []
    shown = list(embed_maps(maps, run.explain))
    manifest = read_json(run.records / "manifest.json")
    audit = read_json(run.records / "audit.json")
    facts = ModelFacts.read(run.config) if run.config.exists() else None
    return {
        "model": run.model,
        "facts": facts,
        "metrics": metrics,
        "threshold": read_json(run.threshold),
        "plots": {name: embed_plot(run.eval / f"{name}.png") for name in _PLOTS},
        "galleries": {name: embed_gallery(run.eval / name) for name in _GALLERIES},
        "comparison": metrics and metrics.get("comparison"),
        "mapped": {picture.facts["source_id"]: place for place, picture in enumerate(shown)},
        "baseline": baseline,
        "baseline_rivals": baseline and rivals_model(baseline, metrics),
        "maps": shown,
        "maps_left_out": len(maps) - len(shown),
        "map_scores": _collect_map_scores(run.explain),
        "history": embed_history(run.history),
        "manifest": manifest,
        "splits": SPLITS,
        "findings": None
        if audit is None
        else group_findings(Finding(**item) for item in audit["findings"]),
        "provenance": _list_provenance(run, facts, manifest),
    }


def _collect_map_scores(explain: Path) -> dict[str, Any]:
    """What `explain` measured of its maps; plots are `None` and tables empty where it did not."""
    scores = read_json(explain / "localization.json") or {"rows": []}
    return {
        "localization": [row for row in scores["rows"] if not row["class_name"]],
        "sanity": read_json(explain / "sanity.json") or [],
        "plots": {name: embed_plot(explain / f"{name}.png") for name in _MAP_PLOTS},
        "overviews": {
            path.parent.name: embed_plot(path)
            for path in sorted(explain.glob("feature_maps/*/overview.png"))[:_OVERVIEWS_AT_MOST]
        },
    }


def _list_provenance(
    run: RunDir, facts: ModelFacts | None, manifest: Mapping[str, Any] | None
) -> list[tuple[str, str]]:
    """Names and values of everything that made the result, for a table of two columns."""
    rows: list[tuple[str, str]] = []
    if facts is not None:
        rows += [(name, _format_plain(getattr(facts, name))) for name in _MODEL_FACTS]
        rows.append(("config digest", file_digest(run.config)))
        settings = {name: value for name, value in facts.training.items() if name != "phases"}
        rows += [(name, _format_plain(value)) for name, value in settings.items()]
        rows += [(f"version of {name}", value) for name, value in facts.versions.items()]
    if manifest is not None:
        rows += [(f"records: {name}", _format_plain(manifest[name])) for name in _RECORD_FACTS]
    return rows


def _format_plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(_format_plain(item) for item in value)
    return str(value)


def _format_value(fraction: float | None) -> str:
    # The no-break space keeps the sign with its number.
    return "undefined" if fraction is None else f"{format_per_cent(fraction)}\u00a0%"


def _format_rate(rate: Mapping[str, Any]) -> str:
    """For instance `5.1 %, 95 % interval 1.1 to 14.1 %`."""
    if rate["value"] is None:
        return "undefined: no such picture"
    low, high = format_per_cent(rate["low"]), format_per_cent(rate["high"])
    return f"{_format_value(rate['value'])}, 95\u00a0% interval {low} to {high}\u00a0%"


def _format_parts(parts: Mapping[str, Any]) -> str:
    """For instance `508 (106 to 1,414)`."""
    if parts["value"] is None:
        return "an unknown number of"
    return f"{parts['value']:,.0f} ({parts['low']:,.0f} to {parts['high']:,.0f})"


_FILTERS: dict[str, Callable[..., Any]] = {
    "area": format_area,
    "parts": _format_parts,
    "per_cent": _format_value,
    "plain": _format_plain,
    "rate": _format_rate,
}
