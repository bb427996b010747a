"""What maps are worth: against the boxes, against the model's answers, against random weights."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tqdm import tqdm

from models.cam_base import cut_at_logits
from models.randomization import randomized
from models.registry import MODELS
from pipeline.explaining.makers import MapMakers, find_boxes
from pipeline.figures import plots
from pipeline.maps.faithfulness import (
    Procedure,
    faithfulness_json,
    measure_faithfulness,
    write_faithfulness,
)
from pipeline.maps.localization import BASELINES, ScoredPicture, score_map, tune_thresholds
from pipeline.maps.localization_table import (
    format_rows,
    localization_json,
    summarize,
)
from pipeline.maps.sanity import measure_sanity, sanity_json, write_sanity
from records.atomic import write_json, write_text
from records.manifest import Manifest
from records.parsing import read_records
from records.sheets import format_csv
from records.types import Split

RECONSTRUCTION = "reconstruction error"

_BATCH_SIZE = 16
_FAITHFUL_PICTURES = 48
_RANDOMIZED_PICTURES = 8

Records = Sequence[Mapping[str, Any]]
Images = npt.NDArray[np.float32]


def write_localization(
    folder: Path, makers: MapMakers, manifest: Manifest, answers: Mapping[str, str]
) -> None:
    """Scores the maps of the true class against the boxes of the test pictures.

    Thresholds are tuned on validation pictures. Only classes that must be found take part, where
    there are others. Writes `localization.csv`, `.json` and `.png`; nothing without boxes.

    Args:
        folder: Where to.
        makers: Of the maps.
        manifest: Of the records.
        answers: The class that each test picture was given, by its name.
    """
    tested = _score_split(makers, manifest, "test", answers)
    if not any(tested.values()):
        return
    validated = _score_split(makers, manifest, "validation", {})
    boxed = {one.class_name for one in next(iter(tested.values()))}
    classes = [name for name in makers.facts.classes if name in boxed]
    rows = [
        row
        for method, pictures in tested.items()
        for row in summarize(method, pictures, tune_thresholds(validated[method]), classes)
    ]
    write_text(folder / "localization.csv", format_csv(format_rows(rows)))
    write_json(folder / "localization.json", localization_json(rows))
    baselines = [name for name in tested if name not in makers.cams.names]
    figure = plots.localization_figure(rows, baselines=baselines)
    plots.write_png(folder / "localization.png", figure)


def write_beliefs(folder: Path, makers: MapMakers, manifest: Manifest) -> None:
    """Measures how far maps can be believed: `faithfulness` and `sanity`, each in three files.

    Of some test pictures, the same number of each class; explained is the true class.
    """
    records = _pick_evenly(read_records(manifest.shard_paths("test")), _FAITHFUL_PICTURES)
    names = [makers.facts.classes[int(record["label"])] for record in records]
    indices = [int(record["label"]) for record in records]
    classifier = cut_at_logits(makers.model)
    predict = tf.function(
        lambda images: tf.nn.softmax(classifier(images, training=False)),
        reduce_retracing=True,
        autograph=False,
    )

    def explained(some: slice) -> tuple[Images, list[int], dict[str, Images]]:
        images = makers.decode(records[some])
        return images.numpy(), indices[some], makers.explain(images, names[some])

    starts = tqdm(
        range(0, len(records), _BATCH_SIZE), desc="faithfulness", unit="batches", disable=None
    )
    procedure = Procedure()
    measured = measure_faithfulness(
        predict, (explained(slice(start, start + _BATCH_SIZE)) for start in starts), procedure
    )
    as_json = faithfulness_json(measured, procedure)
    write_faithfulness(folder / "faithfulness.csv", measured)
    write_json(folder / "faithfulness.json", as_json)
    figure = plots.faithfulness_figure(as_json)
    plots.write_png(folder / "faithfulness.png", figure)

    # The first of an even pick are of different classes.
    some = slice(0, _RANDOMIZED_PICTURES)
    images = makers.decode(records[some])
    with randomized(makers.model, batches=[images]) as stages:
        steps = tqdm(stages, desc="randomization", unit="stages", disable=None)
        sanity = measure_sanity(lambda: makers.explain(images, names[some]), steps)
    write_sanity(folder / "sanity.csv", sanity)
    verdicts = sanity_json(sanity)
    write_json(folder / "sanity.json", verdicts)
    plots.write_png(folder / "sanity.png", plots.sanity_figure(verdicts))


def _score_split(
    makers: MapMakers, manifest: Manifest, split: Split, answers: Mapping[str, str]
) -> dict[str, list[ScoredPicture]]:
    """Scores by method; the baselines after the maps."""
    methods = [*makers.cams.names, *BASELINES]
    methods += [RECONSTRUCTION] if MODELS[makers.facts.model].reconstructs else []
    scored: dict[str, list[ScoredPicture]] = {method: [] for method in methods}
    facts = makers.facts
    wanted = (
        record
        for record in read_records(manifest.shard_paths(split))
        if len(record["boxes"])
        and (not facts.fail_classes or manifest.classes[record["label"]] in facts.fail_classes)
    )
    with tqdm(desc=f"maps of {split}", unit="pictures", disable=None) as bar:
        for batch in _batches(wanted):
            names = [manifest.classes[record["label"]] for record in batch]
            for row, (record, maps) in enumerate(
                zip(batch, _map(makers, batch, names), strict=True)
            ):
                is_right = answers.get(record["source_id"].decode()) == names[row]
                boxes = find_boxes(record, names[row])
                for method in methods:
                    scores = score_map(maps[method], boxes)
                    scored[method].append(ScoredPicture(names[row], is_right, scores))
                bar.update()
    return scored


def _map(makers: MapMakers, batch: Records, names: Sequence[str]) -> Iterator[dict[str, Images]]:
    """Picture by picture the maps of every method, laid back on the picture."""
    images = makers.decode(batch)
    maps = makers.explain(images, names)
    if MODELS[makers.facts.model].reconstructs:
        seen = makers.model(images, training=False)["reconstruction"]
        maps[RECONSTRUCTION] = tf.reduce_mean(tf.abs(images - seen), axis=-1).numpy()
    for row, record in enumerate(batch):
        own = {method: makers.lay_back(of[row], record) for method, of in maps.items()}
        height, width = next(iter(own.values())).shape
        yield own | {name: make(height, width) for name, make in BASELINES.items()}


def _batches(records: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    rest = iter(records)
    while batch := list(itertools.islice(rest, _BATCH_SIZE)):
        yield batch


def _pick_evenly(records: Iterator[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """At most `count`, of each class about the same number, the classes taking turns."""
    by_class: dict[int, list[dict[str, Any]]] = {}
    for record in records:
        group = by_class.setdefault(int(record["label"]), [])
        if len(group) < count:
            group.append(record)
    turns = itertools.zip_longest(*(by_class[label] for label in sorted(by_class)))
    return [record for turn in turns for record in turn if record is not None][:count]
