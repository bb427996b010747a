"""Stage `eval`: the threshold from the validation split, then the one look at the test split."""

from __future__ import annotations

import functools
import shutil
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tqdm import tqdm

from models import registry
from models.autoencoder import reconstruction_error
from models.picture import decode_picture
from pipeline import baseline, inputs, plots
from pipeline.config import Settings
from pipeline.metrics import Metrics, compute_metrics, write_confusion_matrix
from pipeline.modelfacts import ModelFacts
from pipeline.overlay import decode_original
from pipeline.predictions import Predictions, write_predictions
from pipeline.report import write_report
from pipeline.rundir import RunDir
from pipeline.threshold import ARGMAX_RULE, choose_threshold, is_stopped, no_threshold_json
from records.atomic import replacing, write_json
from records.errors import InputError
from records.manifest import Manifest, read_manifest
from records.schema import parse_record
from records.types import Split

ERRORS_SHOWN = 24
_THUMBNAIL_PX = 240
_BATCH_SIZE = 64


@dataclass(frozen=True)
class _Answers:
    """What the model says of every picture of a split, in the order of the records.

    Attributes:
        true: int64 `[pictures]`.
        probabilities: float32 `[pictures, classes]`.
        mean_grey: float64 `[pictures]`, 0 to 255.
        reconstruction_error: float32 `[pictures]` in grey values, or None.
    """

    true: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float32]
    mean_grey: npt.NDArray[np.float64]
    reconstruction_error: npt.NDArray[np.float32] | None


def run(settings: Settings) -> None:
    """Evaluates the trained model on the test split and writes figures, pictures and report.

    Raises:
        InputError: A forerunner is missing, or the records are not those of the training.
    """
    run_dir = RunDir(settings.work_dir, settings.model)
    facts, manifest = ModelFacts.read(run_dir.config), read_manifest(run_dir.records)
    if facts.records_digest != manifest.digest:
        raise InputError(
            f"{run_dir.records} has changed since {run_dir.weights} was trained on it: pictures "
            "of the test split may have been trained on.",
            f"Run: python main.py --stage=train --model={settings.model} "
            f"--work_dir={settings.work_dir}",
        )
    model = registry.load_model(run_dir.weights)
    validation = _answer(model, facts, manifest, "validation")
    rule, threshold = _choose_rule(facts, validation)
    test = _answer(model, facts, manifest, "test")
    predicted = _decide(facts, test.probabilities, threshold)
    metrics = compute_metrics(
        true=test.true,
        predicted=predicted,
        probabilities=test.probabilities,
        classes=facts.classes,
        positive_class=facts.positive_class,
    )
    shutil.rmtree(run_dir.eval, ignore_errors=True)
    write_json(run_dir.threshold, rule)
    source_ids = _write_errors(run_dir, facts, manifest, test, predicted)
    write_predictions(
        run_dir.predictions, _table(facts, source_ids, test.true, predicted, test.probabilities)
    )
    _write_figures(run_dir, facts, metrics, threshold)
    values = metrics.to_json()
    values["baseline"] = _measure_baseline(facts, manifest, test)
    values["reconstruction_error"] = _describe_reconstruction(facts, test)
    write_json(run_dir.metrics, values)
    print(_summary(metrics, rule["rule"]))
    print(f"Report: {write_report(run_dir)}")


def _answer(
    model: keras.Model, facts: ModelFacts, manifest: Manifest, split: Split
) -> _Answers:
    @tf.function(reduce_retracing=True)
    def predict(images: tf.Tensor) -> tuple[tf.Tensor, ...]:
        outputs = model(images, training=False)
        grey = tf.reduce_mean(images, axis=[1, 2, 3])
        if not isinstance(outputs, dict):
            return tf.nn.softmax(outputs), grey
        error = reconstruction_error(images, outputs["reconstruction"])
        return tf.nn.softmax(outputs["logits"]), grey, error

    labels, answers = [], []
    with tqdm(total=manifest.count(split), desc=split, unit="pictures", disable=None) as bar:
        for images, batch_labels in _dataset(facts, manifest, split):
            labels.append(batch_labels.numpy())
            answers.append([output.numpy() for output in predict(images)])
            bar.update(len(batch_labels))
    columns = [np.concatenate(column) for column in zip(*answers, strict=True)]
    return _Answers(
        true=np.concatenate(labels),
        probabilities=columns[0],
        mean_grey=columns[1].astype(np.float64),
        reconstruction_error=columns[2] if len(columns) > 2 else None,
    )


def _dataset(facts: ModelFacts, manifest: Manifest, split: Split) -> tf.data.Dataset:
    return inputs.make_evaluation_dataset(
        manifest.shard_paths(split),
        decode=functools.partial(
            decode_picture, image_size=facts.image_size, channels=facts.channels
        ),
        batch_size=_BATCH_SIZE,
    )


def _choose_rule(facts: ModelFacts, validation: _Answers) -> tuple[dict[str, object], float]:
    """The content of `threshold.json`, and the threshold; with more than two classes 0."""
    if not facts.positive_class:
        return no_threshold_json(), 0.0
    positive = facts.classes.index(facts.positive_class)
    chosen = choose_threshold(validation.probabilities[:, positive], validation.true == positive)
    return chosen.to_json(positive_class=facts.positive_class), chosen.threshold


def _decide(
    facts: ModelFacts, probabilities: npt.NDArray[np.float32], threshold: float
) -> npt.NDArray[np.int64]:
    if not facts.positive_class:
        return probabilities.argmax(axis=1)
    positive = facts.classes.index(facts.positive_class)
    stopped = is_stopped(probabilities[:, positive], threshold)
    return np.where(stopped, positive, 1 - positive).astype(np.int64)


def _table(
    facts: ModelFacts,
    source_ids: tuple[str, ...],
    true: npt.NDArray[np.int64],
    predicted: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float32],
) -> Predictions:
    positive = facts.classes.index(facts.positive_class) if facts.positive_class else None
    names = [facts.classes[index] for index in predicted]
    return Predictions(
        classes=facts.classes,
        source_ids=source_ids,
        true=true,
        predicted=predicted,
        decisions=tuple("fail" if name in facts.fail_classes else "pass" for name in names),
        scores=None if positive is None else probabilities[:, positive],
        probabilities=probabilities,
    )


def _write_errors(
    run_dir: RunDir,
    facts: ModelFacts,
    manifest: Manifest,
    test: _Answers,
    predicted: npt.NDArray[np.int64],
) -> tuple[str, ...]:
    """Writes thumbnails of the worst errors; returns every picture's name, in order."""
    confidence = test.probabilities[np.arange(len(predicted)), predicted]
    wrong = np.flatnonzero(predicted != test.true)
    escaped = np.isin(predicted, [facts.classes.index(c) for c in _pass_classes(facts)])
    # Escapes before false calls, the surest before the unsure.
    ranked = sorted(wrong, key=lambda i: (not escaped[i], -confidence[i], i))[:ERRORS_SHOWN]
    rank = {int(index): position for position, index in enumerate(ranked)}
    source_ids, entries = [], []
    records = tf.data.TFRecordDataset([str(path) for path in manifest.shard_paths("test")])
    for index, record in enumerate(records.map(parse_record).as_numpy_iterator()):
        source_ids.append(record["source_id"].decode())
        if index not in rank:
            continue
        name = f"{rank[index]:02d}.png"
        _write_thumbnail(run_dir.eval / "errors" / name, record["encoded"])
        entries.append(
            {
                "file": name,
                "source_id": source_ids[-1],
                "true": facts.classes[test.true[index]],
                "predicted": facts.classes[predicted[index]],
                "probability": float(confidence[index]),
            }
        )
    entries.sort(key=lambda entry: str(entry["file"]))
    write_json(run_dir.eval / "errors.json", entries)
    return tuple(source_ids)


def _pass_classes(facts: ModelFacts) -> list[str]:
    return [name for name in facts.classes if name not in facts.fail_classes]


def _write_thumbnail(path: Path, encoded: bytes) -> None:
    picture = decode_original(encoded)
    picture.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
    with replacing(path) as draft:
        picture.save(draft, format="png")


def _write_figures(
    run_dir: RunDir, facts: ModelFacts, metrics: Metrics, threshold: float
) -> None:
    write_confusion_matrix(
        run_dir.eval / "confusion_matrix.csv",
        matrix=metrics.confusion_matrix,
        classes=facts.classes,
    )
    for name, normalized in (("confusion_matrix", False), ("confusion_matrix_normalized", True)):
        figure = plots.confusion_figure(metrics, normalized=normalized)
        plots.write_png(run_dir.eval / f"{name}.png", figure)


def _measure_baseline(facts: ModelFacts, manifest: Manifest, test: _Answers) -> dict[str, object]:
    grey, true = [], []
    for images, labels in _dataset(facts, manifest, "train"):
        grey.append(tf.reduce_mean(images, axis=[1, 2, 3]).numpy())
        true.append(labels.numpy())
    return baseline.measure_baseline(
        train_grey=np.concatenate(grey).astype(np.float64),
        train_true=np.concatenate(true),
        test_grey=test.mean_grey,
        test_true=test.true,
        positive=facts.classes.index(facts.positive_class) if facts.positive_class else None,
    )
