"""The stage `explain`: where the model looked, in pictures and in figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from models.feature_maps import FeatureMaps
from pipeline.config import Settings
from pipeline.evaluation.predictions import Predictions
from pipeline.evaluation.result import read_evaluation
from pipeline.evaluation.selection import choose_pictures
from pipeline.explaining.makers import MapMakers, open_map_makers
from pipeline.explaining.scores import write_beliefs, write_localization
from pipeline.figures import overlay
from pipeline.figures.feature_maps import LayerMaps, draw_layer, draw_overview, draw_row
from pipeline.filenames import digested_name, safe_name
from pipeline.modelfacts import ModelFacts
from pipeline.pages.report import write_report
from pipeline.rundir import RunDir
from records.atomic import rebuilding, write_json
from records.errors import InputError
from records.manifest import Manifest, read_manifest
from records.parsing import read_records
from records.types import AnnotatedObject, BoundingBox

INDEX_NAME = "maps.json"

_BATCH_SIZE = 8


@dataclass(frozen=True)
class Judged:
    """A test picture and the model's answer.

    Attributes:
        source_id: Name of the picture.
        true: Its class.
        predicted: The class the model decided for.
        probability: The model's probability of `predicted`; with a threshold it may be small.
    """

    source_id: str
    true: str
    predicted: str
    probability: float


def run(settings: Settings) -> None:
    """Explains errors and some right answers of the test split, and writes the report anew.

    Raises:
        InputError: A flag does not fit the model, what an earlier stage left is damaged, or the
            records have changed since.
    """
    run_dir = RunDir(settings.work_dir, settings.model)
    count = write_maps(run_dir, settings)
    print(f"Explained {count} pictures: {run_dir.explain}")
    print(f"Report: {write_report(run_dir)}")


def write_maps(run_dir: RunDir, settings: Settings) -> int:
    """Writes `explain/`: a PNG for each chosen picture, one sheet a class, scores, and `maps.json`.

    What is explained is the class decided for, as in the signature `explain` of the SavedModel, if
    the settings name no other. What an earlier run wrote is removed.

    Returns:
        The number of pictures explained.

    Raises:
        InputError: As `run`.
    """
    makers = open_map_makers(run_dir, settings)
    predictions = read_evaluation(run_dir, makers.facts).predictions
    chosen = _choose(predictions, makers.facts)
    manifest = read_manifest(run_dir.records)
    records = _find_records(run_dir, makers.facts, manifest, [item.source_id for item in chosen])
    with rebuilding(run_dir.explain) as folder:
        panels: dict[str, list[Image.Image]] = {}
        with tqdm(total=len(chosen), desc="explain", unit="pictures", disable=None) as bar:
            for item, explanation in _explain(chosen, records, makers):
                drawn = overlay.draw_explanation(explanation)
                overlay.write_png(folder / picture_file(item.source_id), drawn)
                # Of the originals only the small drawing is kept: they may be large.
                panels.setdefault(item.true, []).append(
                    overlay.draw_explanation(explanation, panel_px=overlay.SHEET_PANEL_PX)
                )
                bar.update()
        for name, figures in panels.items():
            sheet = overlay.set_contact_sheet(figures, title=f"True class {name}")
            overlay.write_png(folder / sheet_file(name), sheet)
        for item in chosen[: settings.feature_maps]:
            write_feature_maps(
                folder / "feature_maps" / digested_name(item.source_id),
                makers,
                records[item.source_id],
            )
        answers = {
            source_id: predictions.classes[index]
            for source_id, index in zip(predictions.source_ids, predictions.predicted, strict=True)
        }
        write_localization(folder, makers, manifest, answers)
        if settings.faithfulness:
            write_beliefs(folder, makers, manifest)
        write_json(folder / INDEX_NAME, [_index_entry(item) for item in chosen])
    return len(chosen)


def write_feature_maps(folder: Path, makers: MapMakers, record: Mapping[str, Any]) -> None:
    """Writes what every convolution gives for a picture: a sheet each, and `overview.png`."""
    feature_maps = FeatureMaps(makers.model)
    rows = []
    (image,) = makers.decode([record]).numpy()
    found = zip(feature_maps.convolutions, feature_maps(image), strict=True)
    for number, (convolution, (name, maps)) in enumerate(found, start=1):
        layer = LayerMaps(name, makers.lay_back(maps, record), convolution.shown)
        overlay.write_png(folder / f"{number:02d}_{safe_name(name)}.png", draw_layer(layer))
        rows.append(draw_row(layer))
    picture = overlay.decode_original(record["encoded"])
    overview = draw_overview(picture, rows, title=record["source_id"].decode())
    overlay.write_png(folder / "overview.png", overview)


def picture_file(source_id: str) -> str:
    """File name of a picture's maps: readable, safe everywhere, and of no other picture."""
    return f"{digested_name(source_id)}.png"


def sheet_file(class_name: str) -> str:
    """File name of a class's contact sheet: `sheet_<class>.png` wherever that is a safe name."""
    return f"sheet_{safe_name(class_name)}.png"


def format_caption(item: Judged, fail_classes: Sequence[str], *, explained: str) -> str:
    """Says what was right or wrong, what the maps show, and which picture it is."""
    stopped, to_stop = item.predicted in fail_classes, item.true in fail_classes
    if item.predicted == item.true:
        verdict = "Right"
    elif stopped == to_stop:
        verdict = "WRONG CLASS"
    else:
        verdict = "FALSE CALL" if stopped else "ESCAPE"
    return (
        f"{verdict}: true {item.true}, predicted {item.predicted}, "
        f"probability of {item.predicted} {item.probability:.1%}\n"
        f"Maps: what speaks for {explained}\n{item.source_id}"
    )


def _choose(predictions: Predictions, facts: ModelFacts) -> list[Judged]:
    rows = choose_pictures(
        true=predictions.true,
        predicted=predictions.predicted,
        probabilities=predictions.probabilities,
        positive=facts.classes.index(facts.positive_class) if facts.positive_class else None,
    )
    names = predictions.classes
    return [
        Judged(
            source_id=predictions.source_ids[row],
            true=names[predictions.true[row]],
            predicted=names[predictions.predicted[row]],
            probability=float(predictions.probabilities[row, predictions.predicted[row]]),
        )
        for row in rows
    ]


def _find_records(
    run_dir: RunDir, facts: ModelFacts, manifest: Manifest, source_ids: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """The test pictures with these names.

    Raises:
        InputError: The records have changed since the model and its evaluation were made of them.
    """
    wanted, found = set(source_ids), {}
    if facts.records_digest == manifest.digest:
        named = (
            (record["source_id"].decode(), record)
            for record in read_records(manifest.shard_paths("test"))
        )
        found = {name: record for name, record in named if name in wanted}
    if found.keys() != wanted:
        raise InputError(
            f"{run_dir.records} has changed since {run_dir.weights} and {run_dir.predictions} "
            "were made from it.",
            f"Run the stages train and eval again with --model={run_dir.model} "
            f"--work_dir={run_dir.root}.",
        )
    return found


def _explain(
    chosen: Sequence[Judged], records: Mapping[str, dict[str, Any]], makers: MapMakers
) -> Iterator[tuple[Judged, overlay.Explanation]]:
    for start in range(0, len(chosen), _BATCH_SIZE):
        batch = chosen[start : start + _BATCH_SIZE]
        found = [records[item.source_id] for item in batch]
        names = [makers.choose_class(true=item.true, predicted=item.predicted) for item in batch]
        maps = makers.explain(makers.decode(found), names)
        for row, (item, record, name) in enumerate(zip(batch, found, names, strict=True)):
            yield (
                item,
                overlay.Explanation(
                    picture=overlay.decode_original(record["encoded"]),
                    heatmaps={
                        title: makers.lay_back(heatmaps[row], record)
                        for title, heatmaps in maps.items()
                    },
                    objects=_read_objects(record),
                    caption=format_caption(item, makers.facts.fail_classes, explained=name),
                ),
            )


def _read_objects(record: Mapping[str, Any]) -> tuple[AnnotatedObject, ...]:
    width, height = int(record["width"]), int(record["height"])
    sides = (record["boxes"] * np.array([width, height, width, height])).tolist()
    return tuple(
        AnnotatedObject(name=name.decode(), box=BoundingBox(*corners))
        for name, corners in zip(record["box_names"], sides, strict=True)
    )


def _index_entry(item: Judged) -> dict[str, str | float]:
    return {
        "source_id": item.source_id,
        "true": item.true,
        "predicted": item.predicted,
        "probability": item.probability,
        "file": picture_file(item.source_id),
    }
