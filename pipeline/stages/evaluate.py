"""Stage `eval`: the threshold from the validation split, then the one look at the test split."""

from __future__ import annotations

import functools
import shutil
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from sklearn.metrics import roc_auc_score

from models import files
from models.autoencoder import reconstruction_error
from models.picture import decode_picture
from pipeline import plots
from pipeline.answers import Answers, Outputs, collect_answers, decide, rank_errors
from pipeline.baseline import measure_baseline
from pipeline.config import Settings
from pipeline.evaluation import digest_evaluation
from pipeline.inputs import make_evaluation_dataset
from pipeline.metrics import Metrics, compute_metrics, write_confusion_matrix
from pipeline.modelfacts import ModelFacts, input_form
from pipeline.overlay import decode_original, write_png
from pipeline.predictions import Predictions, write_predictions
from pipeline.report import write_report
from pipeline.rundir import RunDir
from pipeline.threshold import choose_threshold, no_threshold_json
from records.atomic import write_json
from records.errors import InputError
from records.manifest import Manifest, read_manifest, verify_shards
from records.parsing import parse_record
from records.types import Split

ERRORS_SHOWN = 24
_THUMBNAIL_PX = 240
_BATCH_SIZE = 64


def run(settings: Settings) -> None:
    """Evaluates the trained model on the test split and writes figures, pictures and report.

    Raises:
        InputError: The records are not those of the training.
    """
    run_dir = RunDir(settings.work_dir, settings.model)
    facts, manifest = ModelFacts.read(run_dir.config), read_manifest(run_dir.records)
    _require_same_records(facts, manifest, run_dir)
    verify_shards(manifest)
    predict = _make_predict(files.load_model(facts.require_weights(run_dir.weights)))
    validation = _answer(predict, facts, manifest, "validation")
    rule, threshold = _choose_rule(facts, validation)
    test = _answer(predict, facts, manifest, "test")
    predicted = decide(facts, test.probabilities, threshold)
    metrics = compute_metrics(
        true=test.true,
        predicted=predicted,
        probabilities=test.probabilities,
        classes=facts.classes,
        positive_class=facts.positive_class,
    )
    shutil.rmtree(run_dir.eval, ignore_errors=True)
    write_json(run_dir.threshold, rule)
    _write_predictions(run_dir, facts, manifest, test, predicted)
    _write_figures(run_dir, metrics)
    values = metrics.to_json()
    values["baseline"] = _measure_baseline(facts, manifest)
    values["reconstruction_error"] = _describe_reconstruction(facts, test)
    values["digests"] = digest_evaluation(run_dir, weights_digest=facts.weights_digest)
    write_json(run_dir.metrics, values)  # last: where it stands, the evaluation is whole
    print(_format_summary(metrics, str(rule["rule"])))
    print(f"Report: {write_report(run_dir)}")


def _require_same_records(facts: ModelFacts, manifest: Manifest, run_dir: RunDir) -> None:
    if facts.records_digest != manifest.digest:
        raise InputError(
            f"{run_dir.records} has changed since {run_dir.weights} was trained: pictures of the "
            "test split may have been trained on.",
            f"Run: python main.py --stage=train --work_dir={run_dir.root} --model={run_dir.model}",
        )


def _make_predict(model: keras.Model) -> Any:
    @tf.function(reduce_retracing=True)
    def predict(images: tf.Tensor) -> Outputs:
        outputs = model(images, training=False)
        if not isinstance(outputs, dict):
            return {"probabilities": tf.nn.softmax(outputs)}
        return {
            "probabilities": tf.nn.softmax(outputs["logits"]),
            "reconstruction_error": reconstruction_error(images, outputs["reconstruction"]),
        }

    return predict


def _answer(predict: Any, facts: ModelFacts, manifest: Manifest, split: Split) -> Answers:
    dataset = _dataset(facts, manifest, split)
    return collect_answers(predict, dataset, count=manifest.count(split), description=split)


def _dataset(facts: ModelFacts, manifest: Manifest, split: Split, **form: Any) -> tf.data.Dataset:
    """The pictures of a split as the model sees them, but for what `form` changes."""
    return make_evaluation_dataset(
        manifest.shard_paths(split),
        decode=functools.partial(decode_picture, **{**input_form(facts), **form}),
        batch_size=_BATCH_SIZE,
        count=manifest.count(split),
    )


def _choose_rule(facts: ModelFacts, validation: Answers) -> tuple[dict[str, Any], float]:
    """The content of `threshold.json`, and the threshold; with more than two classes 0."""
    if not facts.positive_class:
        return no_threshold_json(), 0.0
    positive = facts.classes.index(facts.positive_class)
    chosen = choose_threshold(validation.probabilities[:, positive], validation.true == positive)
    return chosen.to_json(positive_class=facts.positive_class), chosen.threshold


def _write_predictions(
    run_dir: RunDir,
    facts: ModelFacts,
    manifest: Manifest,
    test: Answers,
    predicted: npt.NDArray[np.int64],
) -> None:
    """Writes `predictions.csv`, and thumbnails of the worst errors for the report."""
    rank = {
        index: place
        for place, index in enumerate(rank_errors(facts, test, predicted, most=ERRORS_SHOWN))
    }
    entries: list[dict[str, Any]] = [{}] * len(rank)
    source_ids = []
    records = tf.data.TFRecordDataset([str(path) for path in manifest.shard_paths("test")])
    for index, record in enumerate(records.map(parse_record).as_numpy_iterator()):
        source_ids.append(record["source_id"].decode())
        if index in rank:
            entry = {
                "file": f"{rank[index]:02d}.png",
                "source_id": source_ids[-1],
                "true": facts.classes[test.true[index]],
                "predicted": facts.classes[predicted[index]],
                "probability": float(test.probabilities[index, predicted[index]]),
            }
            entries[rank[index]] = entry
            picture = decode_original(record["encoded"])
            picture.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
            write_png(run_dir.eval / "errors" / entry["file"], picture)
    write_json(run_dir.eval / "errors.json", entries)
    write_predictions(run_dir.predictions, _table(facts, tuple(source_ids), test, predicted))


def _table(
    facts: ModelFacts,
    source_ids: tuple[str, ...],
    answers: Answers,
    predicted: npt.NDArray[np.int64],
) -> Predictions:
    positive = facts.classes.index(facts.positive_class) if facts.positive_class else None
    fails = [name in facts.fail_classes for name in facts.classes]
    return Predictions(
        classes=facts.classes,
        source_ids=source_ids,
        true=answers.true,
        predicted=predicted,
        decisions=tuple("fail" if fails[index] else "pass" for index in predicted),
        scores=None if positive is None else answers.probabilities[:, positive],
        probabilities=answers.probabilities,
    )


def _write_figures(run_dir: RunDir, metrics: Metrics) -> None:
    folder = run_dir.eval
    write_confusion_matrix(
        folder / "confusion_matrix.csv", matrix=metrics.confusion_matrix, classes=metrics.classes
    )
    for name, figure in {
        "confusion_matrix": plots.confusion_figure(metrics, normalized=False),
        "confusion_matrix_normalized": plots.confusion_figure(metrics, normalized=True),
        "curves": plots.curves_figure(metrics),
    }.items():
        plots.write_png(folder / f"{name}.png", figure)


def _measure_baseline(facts: ModelFacts, manifest: Manifest) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for split in ("train", "test"):
        # As they were taken: standardized pictures have no mean grey value of their own.
        batches = [
            (images.numpy().mean(axis=(1, 2, 3), dtype=np.float64), labels.numpy())
            for images, labels in _dataset(facts, manifest, split, standardize=False)
        ]
        columns[f"{split}_grey"], columns[f"{split}_true"] = map(
            np.concatenate, zip(*batches, strict=True)
        )
    return measure_baseline(
        positive=facts.classes.index(facts.positive_class) if facts.positive_class else None,
        **columns,
    )


def _describe_reconstruction(facts: ModelFacts, test: Answers) -> dict[str, Any] | None:
    """Median error of each class, in grey values, and the area under its ROC with two classes."""
    if test.reconstruction_error is None:
        return None
    medians = {
        name: float(np.median(test.reconstruction_error[test.true == index]))
        for index, name in enumerate(facts.classes)
    }
    if not facts.positive_class:
        return {"median": medians, "auroc": None}
    is_positive = test.true == facts.classes.index(facts.positive_class)
    return {
        "median": medians,
        "auroc": float(roc_auc_score(is_positive, test.reconstruction_error)),
    }


def _format_summary(metrics: Metrics, rule: str) -> str:
    def rate(value: Any) -> str:
        return f"{value.count} of {value.of} ({value.value:.2%}, {value.low:.2%}-{value.high:.2%})"

    lines = [f"Test pictures: {metrics.pictures}. Rates with exact 95 % intervals."]
    lines.append(f"  right        {rate(metrics.accuracy)}")
    if metrics.binary:
        lines.append(f"  escapes      {rate(metrics.binary.escapes)}")
        lines.append(f"  false calls  {rate(metrics.binary.false_calls)}")
        if metrics.binary.roc:
            lines.append(f"  AUROC        {metrics.binary.roc.area:.4f}")
    else:
        lines += [f"  {one.name}  recall {rate(one.recall)}" for one in metrics.per_class]
    return "\n".join([*lines, f"Decision: {rule}"])
