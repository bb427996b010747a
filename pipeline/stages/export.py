"""Stage `export`: the SavedModel, published only after it has given the evaluation's answers."""

from __future__ import annotations

import functools
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from models import files
from models.monitoring import FeatureSpace, find_features, fit_feature_space, list_statistics
from models.picture import decode_picture
from models.serving import ServingFacts, write_saved_model
from pipeline.config import Settings
from pipeline.drift.baseline import DRIFT_BASELINE
from pipeline.drift.fit import fit_baseline
from pipeline.evaluation.answers import Outputs, collect_answers
from pipeline.evaluation.decision import DecisionRule
from pipeline.evaluation.judged import JudgedPictures, tabulate
from pipeline.evaluation.result import Evaluation, read_evaluation
from pipeline.inputs.batches import make_evaluation_dataset
from pipeline.modelfacts import ModelFacts, input_form
from pipeline.rundir import RunDir
from pipeline.serving.drift_reference import MOST_PICTURES, measure_records
from pipeline.serving.gate import TOLERANCES, format_result, require_same_answers
from pipeline.serving.golden_set import GoldenSet, PictureSet, choose_golden_set, write_golden_set
from pipeline.serving.model_card import write_model_card
from pipeline.serving.publishing import building_version, publish, remove_old_versions
from pipeline.serving.served_figures import compare_figures
from pipeline.serving.server_files import write_server_files, write_version_extras
from records.errors import InputError
from records.manifest import Manifest, read_manifest, verify_shards
from records.types import Split

# Run, not imported: as a program it makes Keras impossible to import.
_CHECKER = Path(files.__file__).resolve().with_name("clean_session.py")
_BATCH_SIZE = 64  # as in the stage eval
_WARMUP_PICTURES = 8


def run(settings: Settings) -> None:
    """Builds the SavedModel beside its place, holds it to the evaluation, and renames it there.

    Raises:
        InputError: A forerunner is missing, or the SavedModel answers differently.
    """
    run_dir = RunDir(settings.work_dir, settings.model)
    facts = ModelFacts.read(run_dir.config)
    evaluation = read_evaluation(run_dir, facts)
    manifest = read_manifest(run_dir.records)
    verify_shards(manifest, splits=("train", "validation", "test"))
    test = _find_test(run_dir, facts, manifest, evaluation)
    model = facts.open_model(run_dir.weights, files.load_model)
    validation = _judge_validation(model, facts, manifest, evaluation.rule)
    precision = settings.export_precision
    space = _fit_space(model, facts, manifest)
    with building_version(run_dir.export) as candidate:
        served = _serving_facts(facts, evaluation.rule)
        write_saved_model(candidate, model, served, precision, space=space)
        # As long as it is used: a signature alone does not keep its variables.
        loaded = tf.saved_model.load(str(candidate))
        _write_baseline(candidate, loaded.signatures["monitor"], facts, manifest)
        golden = choose_golden_set(validation, evaluation.rule)
        _write_extras(candidate, golden, facts, precision=precision)
        gate = require_same_answers(candidate, (validation, test), precision=precision)
        write_model_card(
            candidate,
            run_dir=run_dir,
            facts=facts,
            evaluation=evaluation,
            gate=gate,
            precision_figures=None
            if precision == "float32"
            else compare_figures(
                loaded.signatures["serving_default"], test, positive_class=facts.positive_class
            ),
        )
        version = publish(candidate, run_dir.export)
    print(f"{format_result(gate)}\nPublished: {version}")
    write_server_files(run_dir.export, model_name=facts.model)
    for removed in remove_old_versions(version, keep=settings.keep_versions):
        print(f"Removed: {removed} (--keep_versions={settings.keep_versions})")


def _find_test(
    run_dir: RunDir, facts: ModelFacts, manifest: Manifest, evaluation: Evaluation
) -> PictureSet:
    """The test pictures with the evaluation's own answers.

    Raises:
        InputError: The evaluation, or the model, is of other records.
    """
    pictures, expected = JudgedPictures(manifest, ("test",)), evaluation.predictions
    judged = list(zip(expected.source_ids, expected.digests, strict=True))
    if facts.records_digest != manifest.digest or pictures.names != judged:
        raise InputError(
            f"{run_dir.records} has changed since {run_dir.weights} and {run_dir.predictions} were "
            "made from it.",
            f"Run the stages train and eval again with --model={run_dir.model} "
            f"--work_dir={run_dir.root}.",
        )
    return PictureSet("test", tuple(pictures.shards), expected)


def _judge_validation(
    model: keras.Model, facts: ModelFacts, manifest: Manifest, rule: DecisionRule
) -> PictureSet:
    """The validation pictures with the trained model's answers, as the stage eval has them."""
    pictures = JudgedPictures(manifest, ("validation",))

    @tf.function(reduce_retracing=True, autograph=False)
    def predict(images: tf.Tensor) -> Outputs:
        outputs = model(images, training=False)
        return {"logits": outputs["logits"] if isinstance(outputs, dict) else outputs}

    dataset = _make_dataset(facts, manifest, "validation")
    answers = collect_answers(predict, dataset, count=pictures.count, description="validation")
    decided = rule.decide(answers.logits)
    expected = tabulate(rule, pictures, answers, decided, model=facts.weights_digest)
    return PictureSet("validation", tuple(pictures.shards), expected)


def _make_dataset(facts: ModelFacts, manifest: Manifest, split: Split) -> tf.data.Dataset:
    return make_evaluation_dataset(
        manifest.shard_paths(split),
        decode=functools.partial(decode_picture, **input_form(facts)),
        batch_size=_BATCH_SIZE,
        count=manifest.count(split),
    )


def _fit_space(model: keras.Model, facts: ModelFacts, manifest: Manifest) -> FeatureSpace:
    """Where the classes lie among the features of training pictures."""
    count = manifest.count("train")
    dataset = _make_dataset(facts, manifest, "train")
    extract = keras.Model(model.input, find_features(model))
    run = tf.function(
        lambda images: extract(images, training=False), reduce_retracing=True, autograph=False
    )
    features, labels = [], []
    with tqdm(
        total=min(count, MOST_PICTURES), desc="features", unit="pictures", disable=None
    ) as bar:
        for images, batch_labels in dataset.take(-(-MOST_PICTURES // _BATCH_SIZE)):
            features.append(run(images).numpy())
            labels.append(batch_labels.numpy())
            bar.update(len(batch_labels))
    return fit_feature_space(
        np.concatenate(features), np.concatenate(labels), classes=len(facts.classes)
    )


def _write_baseline(
    candidate: Path,
    monitor: tf.types.experimental.ConcreteFunction,
    facts: ModelFacts,
    manifest: Manifest,
) -> None:
    """Writes what reference pictures look like, as the candidate itself measures them."""
    train, validation = (
        measure_records(monitor, manifest.shard_paths(split)) for split in ("train", "validation")
    )
    reconstructs = "reconstruction_error" in monitor.structured_outputs
    names = list_statistics(reconstructs=reconstructs)
    baseline = fit_baseline(names, facts.classes, train=train, validation=validation)
    path = candidate / DRIFT_BASELINE
    path.parent.mkdir(exist_ok=True)
    baseline.write(path)


def _serving_facts(facts: ModelFacts, rule: DecisionRule) -> ServingFacts:
    return ServingFacts(
        classes=facts.classes,
        fail_classes=facts.fail_classes,
        positive_class=facts.positive_class,
        threshold=rule.threshold,
        temperature=rule.temperature,
        log_shares=rule.log_shares,
        review_low=rule.review.low,
        review_high=rule.review.high,
        review_below=rule.review.least_probability,
        cam_layer=facts.cam_layer,
        resize=facts.resize,
        standardize=facts.standardize,
    )


def _write_extras(candidate: Path, golden: GoldenSet, facts: ModelFacts, *, precision: str) -> None:
    """Writes what belongs to a version besides the graph; last the golden set, with digests."""
    write_version_extras(
        candidate,
        golden.pictures[:_WARMUP_PICTURES],
        classes=facts.classes,
        image_size=facts.image_size,
        channels=facts.channels,
    )
    write_golden_set(candidate, golden, tolerance=TOLERANCES[precision], checker=_CHECKER)
