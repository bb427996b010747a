"""Stage `export`: the SavedModel, published only after it has given the evaluation's answers."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from models import files
from models.serving import ServingFacts, write_saved_model
from pipeline.config import Settings
from pipeline.evaluation import read_evaluation
from pipeline.modelfacts import ModelFacts
from pipeline.predictions import Predictions
from pipeline.rundir import RunDir
from records.errors import InputError
from records.manifest import read_manifest, verify_shards

_CANDIDATE = ".candidate-"
# Run, not imported: as a program it makes Keras impossible to import.
_CLEAN_SESSION = Path(files.__file__).resolve().with_name("clean_session.py")
TOLERANCE = 1e-5
"""Largest difference of a probability between the evaluation and the SavedModel."""


def run(settings: Settings) -> None:
    """Builds the SavedModel beside its place, checks it on the test split, and renames it there.

    Raises:
        InputError: A forerunner is missing, or the SavedModel answers differently.
    """
    run_dir = RunDir(settings.work_dir, settings.model)
    facts = ModelFacts.read(run_dir.config)
    evaluation = read_evaluation(run_dir, facts)
    model = files.load_model(facts.require_weights(run_dir.weights))
    run_dir.export.mkdir(exist_ok=True)
    for left_over in run_dir.export.glob(f"{_CANDIDATE}*"):  # of a run that was killed
        shutil.rmtree(left_over, ignore_errors=True)
    with _candidate(run_dir.export) as candidate:
        write_saved_model(
            candidate,
            model,
            ServingFacts(
                classes=facts.classes,
                fail_classes=facts.fail_classes,
                positive_class=facts.positive_class,
                threshold=evaluation.rule.threshold,
                temperature=evaluation.rule.temperature,
                log_shares=evaluation.rule.log_shares,
                review_low=evaluation.rule.review.low,
                review_high=evaluation.rule.review.high,
                review_below=evaluation.rule.review.least_probability,
                cam_layer=facts.cam_layer,
                resize=facts.resize,
                standardize=facts.standardize,
            ),
        )
        manifest = read_manifest(run_dir.records)
        verify_shards(manifest, splits=("test",))
        shards = manifest.shard_paths("test")
        difference = _require_same_answers(candidate, shards, evaluation.predictions)
        version = _publish(candidate, run_dir.export)
    print(
        f"The SavedModel gives the evaluation's answers on all test pictures (largest difference "
        f"of a probability {difference:.1e}): {version}"
    )


@contextlib.contextmanager
def _candidate(export: Path) -> Iterator[Path]:
    """A folder to build in. Its name is no number, so Serving, which polls `export`, ignores it."""
    folder = Path(tempfile.mkdtemp(prefix=_CANDIDATE, dir=export))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _require_same_answers(candidate: Path, shards: list[Path], expected: Predictions) -> float:
    """Returns the largest difference of a probability.

    Raises:
        InputError: It is above `TOLERANCE`, or a label or decision differs.
    """
    answers = _judge_in_clean_process(candidate, shards)
    if tuple(answers["source_id"]) != expected.source_ids:
        raise InputError(
            "The evaluation is not of these test records.", "Run the stage eval again."
        )
    gaps = np.abs(np.array(answers["probabilities"]) - expected.probabilities).max(axis=1)
    labels = tuple(expected.classes[index] for index in expected.predicted)
    rows = zip(
        expected.source_ids, gaps, answers["label"], labels, answers["decision"],
        expected.decisions, strict=True,
    )  # fmt: skip
    wrong = [
        name
        for name, gap, label, true_label, decision, true_decision in rows
        if not gap <= TOLERANCE or label != true_label or decision != true_decision
    ]
    if wrong:
        raise InputError(
            f"Nothing was published: the SavedModel answers {len(wrong)} of {len(gaps)} test "
            f"pictures differently from the evaluation (probabilities by up to {gaps.max():.1e}), "
            f"first {', '.join(wrong[:5])}.",
            "Run the stage eval again; if that does not help, the model was changed after it: "
            "run train and eval again.",
        )
    return float(gaps.max())


def _judge_in_clean_process(candidate: Path, shards: list[Path]) -> dict[str, list]:
    with tempfile.TemporaryDirectory() as folder:
        answers = Path(folder) / "answers.json"
        done = subprocess.run(
            [sys.executable, "-I", *map(str, (_CLEAN_SESSION, candidate, answers, *shards))],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        if done.returncode:
            raise RuntimeError(f"the SavedModel could not be judged:\n{done.stderr[-4000:]}")
        values: dict[str, list] = json.loads(answers.read_text(encoding="utf-8"))
        return values


def _publish(candidate: Path, export: Path) -> Path:
    """Gives the candidate the next version number, whole or not at all."""
    candidate.chmod(0o755)
    for path in sorted(candidate.rglob("*")):
        _sync(path)
    _sync(candidate)
    versions = [int(path.name) for path in export.iterdir() if path.name.isdecimal()]
    published = export / str(max(versions, default=0) + 1)
    candidate.rename(published)
    _sync(export)
    return published


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
