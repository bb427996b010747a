"""Stage `eval`: the rule from the validation split, then the one look at the test split."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from models import files
from models.autoencoder import reconstruction_error
from models.picture import decode_picture, decode_pixels, fit_pixels
from pipeline.config import Settings
from pipeline.evaluation.answers import Answers, Outputs, collect_answers
from pipeline.evaluation.assessment import assess
from pipeline.evaluation.baseline import measure_baseline
from pipeline.evaluation.challenge import challenge, require_gate
from pipeline.evaluation.comparison import write_comparison
from pipeline.evaluation.curves import format_area
from pipeline.evaluation.decision import DecisionRule, choose_rule, format_rule
from pipeline.evaluation.judged import JudgedPictures, tabulate
from pipeline.evaluation.metrics import Metrics
from pipeline.evaluation.perturbations import Perturbation
from pipeline.evaluation.predictions import write_predictions
from pipeline.evaluation.rates import Rate
from pipeline.evaluation.result import digest_evaluation, read_evaluation
from pipeline.evaluation.robustness import measure_robustness, robustness_json, write_robustness
from pipeline.evaluation.threshold import Threshold
from pipeline.figures.evaluation import write_figures, write_galleries
from pipeline.inputs.batches import Decode, make_evaluation_dataset
from pipeline.modelfacts import ModelFacts, input_form
from pipeline.pages.report import write_report
from pipeline.rundir import RunDir
from records.atomic import rebuilding, write_json
from records.errors import InputError
from records.manifest import Manifest, read_manifest, verify_shards
from records.types import SPLITS

_BATCH_SIZE = 64


@dataclass(frozen=True)
class _Model:
    """A trained model that pictures are shown to."""

    predict: Any
    facts: ModelFacts

    def show(self, pictures: JudgedPictures, **form: Any) -> tf.data.Dataset:
        """The pictures as the model sees them, but for what `form` changes."""
        return self._read(
            pictures, functools.partial(decode_picture, **{**input_form(self.facts), **form})
        )

    def answer(self, pictures: JudgedPictures, perturbation: Perturbation | None = None) -> Answers:
        dataset, description = self.show(pictures), " and ".join(pictures.splits)
        if perturbation:
            decode = functools.partial(self._decode_perturbed, perturbation)
            dataset = self._read(pictures, decode)
            description = f"{perturbation.kind} {perturbation.level:g}"
        return collect_answers(self.predict, dataset, count=pictures.count, description=description)

    def _read(self, pictures: JudgedPictures, decode: Decode) -> tf.data.Dataset:
        dataset = make_evaluation_dataset(
            pictures.shards, decode=decode, batch_size=_BATCH_SIZE, count=pictures.count
        )
        # Records of fewer classes number them otherwise.
        own = tf.constant([self.facts.classes.index(name) for name in pictures.manifest.classes])
        return dataset.map(
            lambda images, labels: (images, tf.gather(tf.cast(own, tf.int64), labels))
        )

    def _decode_perturbed(self, perturbation: Perturbation, encoded: tf.Tensor) -> tf.Tensor:
        form = input_form(self.facts)
        pixels = decode_pixels(encoded, channels=form.pop("channels"))
        # Of the picture itself: the same noise on whichever machine, in whichever order.
        seed = tf.strings.to_hash_bucket_fast(encoded, 2**31 - 1)
        return fit_pixels(perturbation.apply(pixels, tf.stack([seed, 0])), **form)


def run(settings: Settings) -> None:
    """Evaluates the trained model on the test split and writes figures, pictures and report.

    With `settings.eval_records` it is all pictures of those records instead, judged by the rule of
    the evaluation before; what is written then goes into a folder of its own.

    Raises:
        InputError: The records are not those of the training, or the others do not fit the model
            or hold pictures that it was trained on, or `settings.baseline` is no run that judged
            the same pictures.
        GateError: `settings.gate`, and a defect that the baseline caught escapes now. All files
            are written by then.
    """
    own = RunDir(settings.work_dir, settings.model)
    facts, manifest = ModelFacts.read(own.config), read_manifest(own.records)
    _require_same_records(facts, manifest, own)
    verify_shards(manifest)
    model = _Model(_make_predict(facts.open_model(own.weights, files.load_model)), facts)
    if settings.eval_records:
        pictures = _find_others(settings.eval_records, manifest, facts)
        run_dir = own.judging(settings.eval_records, pictures.manifest.digest)
        earlier = read_evaluation(own, facts)
        rule, rule_json = earlier.rule, earlier.described
    else:
        pictures, run_dir = JudgedPictures(manifest, ("test",)), own
        rule, threshold = _choose_rule(settings, model, manifest)
        rule_json = format_rule(rule, threshold)
    test = model.answer(pictures)
    decided = rule.decide(test.logits)
    predictions = tabulate(rule, pictures, test, decided, model=facts.weights_digest)
    comparison = challenge(settings, predictions, facts)
    metrics, values = assess(rule, test, decided, line_defect_rate=settings.line_defect_rate)
    values["baseline"] = _measure_baseline(
        model, rule, JudgedPictures(manifest, ("train",)), pictures
    )
    values["comparison"] = comparison and comparison.to_json()
    values["others"] = str(settings.eval_records) if settings.eval_records else ""
    measured = (
        measure_robustness(rule, test, functools.partial(model.answer, pictures))
        if settings.robustness
        else []
    )
    values["robustness"] = (
        robustness_json(measured, target_recall=settings.target_recall) if measured else None
    )
    with rebuilding(run_dir.eval) as folder:
        draft = dataclasses.replace(run_dir, evaluation=str(folder))
        write_json(draft.threshold, rule_json)
        write_predictions(draft.predictions, predictions)
        write_galleries(
            draft.eval,
            pictures.shards,
            rule=rule,
            decided=decided,
            predictions=predictions,
            comparison=comparison,
        )
        if comparison:
            write_comparison(draft.eval / "comparison.csv", comparison, predictions)
        if measured:
            write_robustness(draft.eval / "robustness.csv", measured)
        write_figures(draft.eval, metrics, values)
        values["digests"] = digest_evaluation(draft, weights_digest=facts.weights_digest)
        write_json(draft.metrics, values)  # last: where it stands, the evaluation is whole
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


def _find_others(folder: Path, manifest: Manifest, facts: ModelFacts) -> JudgedPictures:
    """All pictures of other records, after a look whether the model may be asked about them."""
    others = read_manifest(folder)
    verify_shards(others)
    strange = sorted(set(others.classes) - set(facts.classes))
    if strange:
        raise InputError(
            f"--eval_records={folder} has pictures of the class {strange[0]}, which the model does "
            f"not know; it knows {', '.join(facts.classes)}.",
            "Leave them out of the folder of pictures and make its records again.",
        )
    pictures = JudgedPictures(others, tuple(split for split in SPLITS if others.count(split)))
    known = {sha256 for _, sha256 in JudgedPictures(manifest, ("train", "validation")).names}
    seen = [name for name, sha256 in pictures.names if sha256 in known]
    if seen:
        raise InputError(
            f"--eval_records={folder}: {len(seen)} of its {pictures.count} pictures are among "
            f"those the model was trained on, first {seen[0]}.",
            "Leave them out of the folder of pictures and make its records again.",
        )
    return pictures


def _choose_rule(
    settings: Settings, model: _Model, manifest: Manifest
) -> tuple[DecisionRule, Threshold | None]:
    validation = model.answer(JudgedPictures(manifest, ("validation",)))
    return choose_rule(
        model.facts,
        validation.logits,
        validation.true,
        train_counts=[manifest.counts["train"][name] for name in manifest.classes],
        target_recall=settings.target_recall,
        confidence=settings.confidence,
        review_budget=settings.review_budget,
    )


def _make_predict(model: keras.Model) -> Any:
    @tf.function(reduce_retracing=True, autograph=False)
    def predict(images: tf.Tensor) -> Outputs:
        outputs = model(images, training=False)
        if not isinstance(outputs, dict):
            return {"logits": outputs}
        return {
            "logits": outputs["logits"],
            "reconstruction_error": reconstruction_error(images, outputs["reconstruction"]),
        }

    return predict


def _measure_baseline(
    model: _Model, rule: DecisionRule, train: JudgedPictures, test: JudgedPictures
) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for name, pictures in (("train", train), ("test", test)):
        # As they were taken: standardized pictures have no mean grey value of their own.
        batches = [
            (images.numpy().mean(axis=(1, 2, 3), dtype=np.float64), labels.numpy())
            for images, labels in model.show(pictures, standardize=False)
        ]
        columns[f"{name}_grey"], columns[f"{name}_true"] = map(
            np.concatenate, zip(*batches, strict=True)
        )
    return measure_baseline(positive=rule.positive, **columns)


def _format_summary(metrics: Metrics, rule: str) -> str:
    def rate(value: Rate) -> str:
        if value.value is None or value.low is None or value.high is None:
            return "no such picture"
        return f"{value.count} of {value.of} ({value.value:.2%}, {value.low:.2%}-{value.high:.2%})"

    lines = [f"Pictures judged: {metrics.pictures}. Rates with exact 95 % intervals."]
    lines.append(f"  right        {rate(metrics.accuracy)}")
    if metrics.binary:
        lines.append(f"  escapes      {rate(metrics.binary.escapes)}")
        lines.append(f"  false calls  {rate(metrics.binary.false_calls)}")
        if metrics.binary.roc:
            lines.append(f"  AUROC        {format_area(metrics.binary.roc.area)}")
    else:
        lines += [f"  {one.name}  recall {rate(one.recall)}" for one in metrics.per_class]
    return "\n".join([*lines, f"Decision: {rule}"])
