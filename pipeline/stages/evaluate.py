"""Stage `eval`: the rule from the validation split, then the one look at the test split."""

from __future__ import annotations

import functools
import shutil
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from models import files
from models.autoencoder import reconstruction_error
from models.picture import decode_picture, decode_pixels, fit_pixels
from pipeline.answers import Answers, Outputs, collect_answers
from pipeline.assessment import assess
from pipeline.baseline import measure_baseline
from pipeline.challenge import challenge, require_gate
from pipeline.config import Settings
from pipeline.decision import Decided, DecisionRule, choose_rule, format_rule
from pipeline.evaluation import digest_evaluation
from pipeline.evaluation_pictures import write_figures, write_galleries
from pipeline.inputs import Decode, make_evaluation_dataset
from pipeline.metrics import Metrics
from pipeline.modelfacts import ModelFacts, input_form
from pipeline.perturbations import Perturbation
from pipeline.predictions import Predictions, write_predictions
from pipeline.report import write_report
from pipeline.robustness import Robustness, measure_robustness, robustness_json, write_robustness
from pipeline.rundir import RunDir
from records.atomic import write_json
from records.errors import InputError
from records.manifest import Manifest, read_manifest, verify_shards
from records.parsing import parse_record
from records.types import Split

_BATCH_SIZE = 64


@dataclass(frozen=True)
class _Model:
    """A trained model and the records it is asked about."""

    predict: Any
    facts: ModelFacts
    manifest: Manifest

    def dataset(self, split: Split, **form: Any) -> tf.data.Dataset:
        """The pictures of a split as the model sees them, but for what `form` changes."""
        decode = functools.partial(decode_picture, **{**input_form(self.facts), **form})
        return self.read(split, decode)

    def read(self, split: Split, decode: Decode) -> tf.data.Dataset:
        return make_evaluation_dataset(
            self.manifest.shard_paths(split),
            decode=decode,
            batch_size=_BATCH_SIZE,
            count=self.manifest.count(split),
        )

    def answer(self, split: Split, perturbation: Perturbation | None = None) -> Answers:
        dataset = self.dataset(split)
        if perturbation:
            dataset = self.read(split, functools.partial(self._decode_perturbed, perturbation))
        return collect_answers(
            self.predict,
            dataset,
            count=self.manifest.count(split),
            description=f"{perturbation.kind} {perturbation.level:g}" if perturbation else split,
        )

    def _decode_perturbed(self, perturbation: Perturbation, encoded: tf.Tensor) -> tf.Tensor:
        form = input_form(self.facts)
        pixels = decode_pixels(encoded, channels=form.pop("channels"))
        # Of the picture itself: the same noise on whichever machine, in whichever order.
        seed = tf.strings.to_hash_bucket_fast(encoded, 2**31 - 1)
        return fit_pixels(perturbation.apply(pixels, tf.stack([seed, 0])), **form)


def run(settings: Settings) -> None:
    """Evaluates the trained model on the test split and writes figures, pictures and report.

    Raises:
        InputError: The records are not those of the training, or `settings.baseline` is no run
            that judged the same pictures.
        GateError: `settings.gate`, and a defect that the baseline caught escapes now. All files
            are written by then.
    """
    run_dir = RunDir(settings.work_dir, settings.model)
    facts, manifest = ModelFacts.read(run_dir.config), read_manifest(run_dir.records)
    _require_same_records(facts, manifest, run_dir)
    verify_shards(manifest)
    model = _Model(
        _make_predict(files.load_model(facts.require_weights(run_dir.weights))), facts, manifest
    )
    validation = model.answer("validation")
    rule, threshold = choose_rule(
        facts,
        validation.logits,
        validation.true,
        target_recall=settings.target_recall,
        confidence=settings.confidence,
        review_budget=settings.review_budget,
    )
    test = model.answer("test")
    decided = rule.decide(test.logits)
    predictions = _tabulate(model, test, decided)
    comparison = challenge(settings, predictions, facts)
    metrics, values = assess(rule, test, decided, line_defect_rate=settings.line_defect_rate)
    values["baseline"] = _measure_baseline(model)
    values["comparison"] = comparison and comparison.to_json()
    measured = _measure_robustness(settings, model, rule, test)
    values["robustness"] = (
        robustness_json(measured, target_recall=settings.target_recall) if measured else None
    )
    shutil.rmtree(run_dir.eval, ignore_errors=True)
    rule_json = format_rule(rule, threshold)
    write_json(run_dir.threshold, rule_json)
    write_predictions(run_dir.predictions, predictions)
    write_galleries(
        run_dir.eval,
        manifest.shard_paths("test"),
        rule=rule,
        decided=decided,
        predictions=predictions,
        comparison=comparison,
    )
    if measured:
        write_robustness(run_dir.eval / "robustness.csv", measured)
    write_figures(run_dir.eval, metrics, values)
    values["digests"] = digest_evaluation(run_dir, weights_digest=facts.weights_digest)
    write_json(run_dir.metrics, values)  # last: where it stands, the evaluation is whole
    print(_format_summary(metrics, str(rule_json["rule"])))
    print(f"Report: {write_report(run_dir)}")
    require_gate(settings, comparison)


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
            return {"logits": outputs}
        return {
            "logits": outputs["logits"],
            "reconstruction_error": reconstruction_error(images, outputs["reconstruction"]),
        }

    return predict


def _measure_robustness(
    settings: Settings, model: _Model, rule: DecisionRule, test: Answers
) -> list[Robustness]:
    if not settings.robustness:
        return []
    return measure_robustness(rule, test, functools.partial(model.answer, "test"))


def _tabulate(model: _Model, test: Answers, decided: Decided) -> Predictions:
    shards = [str(path) for path in model.manifest.shard_paths("test")]
    records = tf.data.TFRecordDataset(shards).map(parse_record)
    names = [
        (record["source_id"].decode(), record["sha256"].decode())
        for record in records.as_numpy_iterator()
    ]
    facts = model.facts
    positive = facts.classes.index(facts.positive_class) if facts.positive_class else None
    return Predictions(
        classes=facts.classes,
        source_ids=tuple(source_id for source_id, _ in names),
        digests=tuple(sha256 for _, sha256 in names),
        true=test.true,
        predicted=decided.predicted,
        decisions=decided.decisions,
        scores=None if positive is None else decided.probabilities[:, positive],
        probabilities=decided.probabilities,
        reconstruction_error=test.reconstruction_error,
        model=facts.weights_digest,
    )


def _measure_baseline(model: _Model) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for split in ("train", "test"):
        # As they were taken: standardized pictures have no mean grey value of their own.
        batches = [
            (images.numpy().mean(axis=(1, 2, 3), dtype=np.float64), labels.numpy())
            for images, labels in model.dataset(split, standardize=False)
        ]
        columns[f"{split}_grey"], columns[f"{split}_true"] = map(
            np.concatenate, zip(*batches, strict=True)
        )
    facts = model.facts
    return measure_baseline(
        positive=facts.classes.index(facts.positive_class) if facts.positive_class else None,
        **columns,
    )


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
