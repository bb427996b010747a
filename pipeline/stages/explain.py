"""The stage `explain`: pictures of where the model looked, for errors and for some it got right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image
from tqdm import tqdm

from models import files
from models.cam import METHODS, ClassActivationMap, make_cam
from models.picture import crop_to_picture, decode_picture
from pipeline import overlay
from pipeline.config import Settings
from pipeline.evaluation import read_evaluation
from pipeline.filenames import digested_name, safe_name
from pipeline.modelfacts import ModelFacts, input_form
from pipeline.predictions import Predictions
from pipeline.report import write_report
from pipeline.rundir import RunDir
from pipeline.selection import choose_pictures
from records.atomic import write_json
from records.errors import InputError
from records.manifest import Manifest, read_manifest
from records.parsing import parse_record
from records.types import AnnotatedObject, BoundingBox

INDEX_NAME = "maps.json"

_BATCH_SIZE = 8
_TITLES = {
    "gradcam++": "Grad-CAM++",
    "smoothgradcam++": "Smooth Grad-CAM++",
    "xgradcam": "XGrad-CAM",
}


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
        InputError: What an earlier stage left is damaged, or the records have changed since.
    """
    run_dir = RunDir(settings.work_dir, settings.model)
    count = write_maps(run_dir)
    print(f"Explained {count} pictures: {run_dir.explain}")
    print(f"Report: {write_report(run_dir)}")


def write_maps(run_dir: RunDir) -> int:
    """Writes `explain/`: a PNG for each chosen picture, one sheet a class, and `maps.json`.

    What is explained is the class decided for, as in the signature `explain` of the SavedModel.
    Maps of an earlier run are removed.

    Returns:
        The number of pictures explained.

    Raises:
        InputError: As `run`.
    """
    facts = ModelFacts.read(run_dir.config)
    predictions = read_evaluation(run_dir, facts).predictions
    chosen = _choose(predictions, facts)
    records = _read_records(run_dir, facts, {item.source_id for item in chosen})
    model = files.load_model(facts.require_weights(run_dir.weights))
    cams = {_TITLES[method]: make_cam(method, model, facts.cam_layer) for method in METHODS}
    _remove_earlier(run_dir.explain)
    panels: dict[str, list[Image.Image]] = {}
    with tqdm(total=len(chosen), desc="explain", unit="pictures", disable=None) as bar:
        for item, explanation in _explain(chosen, records, cams, facts):
            drawn = overlay.draw_explanation(explanation)
            overlay.write_png(run_dir.explain / picture_file(item.source_id), drawn)
            # Of the originals only the small drawing is kept: they may be large.
            panels.setdefault(item.true, []).append(
                overlay.draw_explanation(explanation, panel_px=overlay.SHEET_PANEL_PX)
            )
            bar.update()
    for name, figures in panels.items():
        sheet = overlay.set_contact_sheet(figures, title=f"True class {name}")
        overlay.write_png(run_dir.explain / sheet_file(name), sheet)
    write_json(run_dir.explain / INDEX_NAME, [_index_entry(item) for item in chosen])
    return len(chosen)


def picture_file(source_id: str) -> str:
    """File name of a picture's maps: readable, safe everywhere, and of no other picture."""
    return f"{digested_name(source_id)}.png"


def sheet_file(class_name: str) -> str:
    """File name of a class's contact sheet: `sheet_<class>.png` wherever that is a safe name."""
    return f"sheet_{safe_name(class_name)}.png"


def format_caption(item: Judged, fail_classes: Sequence[str]) -> str:
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
        f"Maps: what speaks for {item.predicted}\n{item.source_id}"
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


def _read_records(
    run_dir: RunDir, facts: ModelFacts, source_ids: set[str]
) -> dict[str, dict[str, Any]]:
    """The parsed records of some test pictures, by source id."""
    manifest = read_manifest(run_dir.records)
    is_same = facts.records_digest == manifest.digest
    found = dict(_find_records(manifest, source_ids)) if is_same else {}
    if found.keys() != source_ids:
        raise InputError(
            f"{run_dir.records} has changed since {run_dir.weights} and {run_dir.predictions} "
            "were made from it.",
            f"Run the stages train and eval again with --model={run_dir.model} "
            f"--work_dir={run_dir.root}.",
        )
    return found


def _find_records(manifest: Manifest, source_ids: set[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    shards = tf.data.TFRecordDataset([str(path) for path in manifest.shard_paths("test")])
    for record in shards.map(parse_record).as_numpy_iterator():
        source_id = record["source_id"].decode()
        if source_id in source_ids:
            yield source_id, record


def _explain(
    chosen: Sequence[Judged],
    records: Mapping[str, dict[str, Any]],
    cams: Mapping[str, ClassActivationMap],
    facts: ModelFacts,
) -> Iterator[tuple[Judged, overlay.Explanation]]:
    for start in range(0, len(chosen), _BATCH_SIZE):
        batch = chosen[start : start + _BATCH_SIZE]
        encoded = [records[item.source_id]["encoded"] for item in batch]
        images = tf.stack([_decode(picture, facts) for picture in encoded])
        classes = [facts.classes.index(item.predicted) for item in batch]
        maps = {title: cam(images, classes) for title, cam in cams.items()}
        for row, item in enumerate(batch):
            record = records[item.source_id]
            yield (
                item,
                overlay.Explanation(
                    picture=overlay.decode_original(encoded[row]),
                    heatmaps={
                        title: _lay_back(heatmaps[row], record, facts)
                        for title, heatmaps in maps.items()
                    },
                    objects=_read_objects(record),
                    caption=format_caption(item, facts.fail_classes),
                ),
            )


def _decode(encoded: bytes, facts: ModelFacts) -> tf.Tensor:
    return decode_picture(tf.constant(encoded), **input_form(facts))


def _lay_back(
    heatmap: overlay.Heatmap, record: Mapping[str, Any], facts: ModelFacts
) -> overlay.Heatmap:
    """Of a heatmap of the model's input, the part that covers the picture."""
    width, height = int(record["width"]), int(record["height"])
    return crop_to_picture(heatmap, width, height, resize=facts.resize)


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


def _remove_earlier(folder: Path) -> None:
    # The index goes first: what it names is then never missing.
    (folder / INDEX_NAME).unlink(missing_ok=True)
    for path in folder.glob("*.png"):
        path.unlink()
