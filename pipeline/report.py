"""`report.html`: one self-contained page about a run, from what its directory holds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from pipeline.baseline import rivals_model
from pipeline.curves import format_area
from pipeline.modelfacts import ModelFacts
from pipeline.page import data_uri, write_page
from pipeline.plots import DPI, history_figure, png_bytes, read_history
from pipeline.rates import format_per_cent
from pipeline.rundir import RunDir
from records.errors import InputError
from records.faults import SET_ASIDE_CODES
from records.manifest import file_digest
from records.types import SPLITS

_CSS_PIXELS_PER_INCH = 96
_MAPS_BYTES = 8_000_000  # so that the page can be sent by mail
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PLOTS = (
    *("confusion_matrix", "confusion_matrix_normalized", "curves", "operating_point"),
    *("calibration", "robustness"),
)
_GALLERIES = ("errors", "unsure", "newly_escaped", "newly_caught")
_MODEL_FACTS = (
    *("model", "image_size", "channels", "positive_class", "fail_classes", "cam_layer"),
    *("seed", "git_commit", "weights_digest", "records_digest"),
)
_RECORD_FACTS = ("name", "layout", "split_seed", "source_digest", "schema_version")


@dataclass(frozen=True)
class Picture:
    """A PNG inside the page.

    Attributes:
        uri: The bytes as a `data:` URI.
        width: In CSS pixels.
        height: In CSS pixels.
        facts: What is known of it: `source_id`, `true`, `predicted`, `probability`.
    """

    uri: str
    width: int
    height: int
    facts: Mapping[str, Any]


def write_report(run: RunDir) -> Path:
    """Writes the report from whatever exists in the run directory, whole or not at all.

    Returns:
        Where it is.

    Raises:
        InputError: A file that is there is damaged.
    """
    try:
        write_page(run.report, "report.html.j2", _collect(run), filters=_FILTERS)
    except (KeyError, TypeError, AttributeError, jinja2.UndefinedError) as error:
        raise InputError(
            f"A file in {run.model_dir} or {run.records} is not as its stage wrote it: {error}.",
            "Run the stages records, train and eval again.",
        ) from error
    return run.report


def _collect(run: RunDir) -> dict[str, Any]:
    """The variables of the template; `None` or empty stands for what is not there yet."""
    metrics = _read_json(run.metrics)
    baseline = metrics and metrics.get("baseline")
    maps = _read_json(run.explain / "maps.json") or []
    shown = list(_embed_maps(maps, run.explain))
    manifest = _read_json(run.records / "manifest.json")
    facts = ModelFacts.read(run.config) if run.config.exists() else None
    return {
        "model": run.model,
        "facts": facts,
        "metrics": metrics,
        "threshold": _read_json(run.threshold),
        "plots": {name: _embed_plot(run.eval / f"{name}.png") for name in _PLOTS},
        "galleries": {name: _embed_gallery(run.eval / name) for name in _GALLERIES},
        "comparison": metrics and metrics.get("comparison"),
        "mapped": {picture.facts["source_id"]: place for place, picture in enumerate(shown)},
        "baseline": baseline,
        "baseline_rivals": baseline and rivals_model(baseline, metrics),
        "maps": shown,
        "maps_left_out": len(maps) - len(shown),
        "history": _embed_history(run.history),
        "manifest": manifest,
        "splits": SPLITS,
        "findings": _count_findings(_read_json(run.records / "audit.json")),
        "provenance": _list_provenance(run, facts, manifest),
    }


def _read_json(path: Path) -> Any:
    """The content, or `None` when there is no such file.

    Raises:
        InputError: The file is no JSON.
    """
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read: {error}.", "Run the stage that wrote it again."
        ) from error


def _embed(png: bytes, *, dpi: int, facts: Mapping[str, Any]) -> Picture:
    width, height = (int.from_bytes(png[start : start + 4], "big") for start in (16, 20))
    return Picture(
        uri=data_uri(png, image_format="png"),
        width=round(width * _CSS_PIXELS_PER_INCH / dpi),
        height=round(height * _CSS_PIXELS_PER_INCH / dpi),
        facts=facts,
    )


def _read_png(path: Path) -> bytes | None:
    """The bytes of a PNG, or `None` when there is none."""
    if not path.is_file():
        return None
    content = path.read_bytes()
    if not content.startswith(_PNG_SIGNATURE):
        raise InputError(f"{path} is no PNG.", "Run the stage that wrote it again.")
    return content


def _embed_plot(path: Path) -> Picture | None:
    png = _read_png(path)
    return None if png is None else _embed(png, dpi=DPI, facts={})


def _embed_history(history_csv: Path) -> Picture | None:
    plot = _embed_plot(history_csv.with_suffix(".png"))
    if plot is not None or not history_csv.exists():
        return plot
    return _embed(png_bytes(history_figure(read_history(history_csv))), dpi=DPI, facts={})


def _embed_all(entries: Iterable[Mapping[str, Any]], folder: Path) -> list[Picture]:
    # The name alone counts: no entry leads out of the folder.
    found = ((entry, _read_png(folder / Path(entry["file"]).name)) for entry in entries)
    return [_embed(png, dpi=_CSS_PIXELS_PER_INCH, facts=entry) for entry, png in found if png]


def _embed_gallery(folder: Path) -> list[Picture]:
    return _embed_all(_read_json(folder.with_suffix(".json")) or [], folder)


def _embed_maps(entries: Iterable[Mapping[str, Any]], folder: Path) -> Iterable[Picture]:
    """Embeds maps in their order, the errors first, until the page is large enough."""
    room = _MAPS_BYTES
    for picture in _embed_all(entries, folder):
        room -= len(picture.uri)
        if room < 0:
            return
        yield picture


def _count_findings(audit: Mapping[str, Any] | None) -> list[dict[str, Any]] | None:
    """How often each kind of fault was found, those that set a picture aside first."""
    if audit is None:
        return None
    counts = Counter(
        (
            not (item["is_error"] or item["code"] in SET_ASIDE_CODES),
            item["code"],
            item["remedy"],
        )
        for item in audit["findings"]
    )
    return [
        {"code": code, "count": count, "is_set_aside": not is_used, "remedy": remedy}
        for (is_used, code, remedy), count in sorted(counts.items())
    ]


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
