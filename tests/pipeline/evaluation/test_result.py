from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.evaluation.predictions import Predictions, write_predictions
from pipeline.evaluation.result import digest_evaluation, read_evaluation
from pipeline.rundir import RunDir
from records.atomic import write_json
from records.errors import InputError
from tests.pipeline.model_facts import make_facts

RULE = {
    "threshold": 0.25,
    "temperature": 1.5,
    "log_shares": [-0.5, -1.0],
    "review": {"budget": 0.1, "validation_share": 0.05, "low": 0.125, "high": 0.375},
}
FACTS = make_facts(weights_digest="ab")


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    run_dir = RunDir(tmp_path, "autoencoder")
    scores = np.array([0.75], np.float32)
    write_predictions(
        run_dir.predictions,
        Predictions(
            classes=("io", "nio"),
            source_ids=("a.png",),
            digests=("",),
            true=np.array([1]),
            predicted=np.array([1]),
            decisions=("fail",),
            scores=scores,
            probabilities=np.stack([1 - scores, scores], axis=1),
        ),
    )
    write_json(run_dir.threshold, RULE)
    write_json(run_dir.metrics, {"digests": digest_evaluation(run_dir, weights_digest="ab")})
    return run_dir


def test_what_fits_together_is_read(run_dir: RunDir) -> None:
    evaluation = read_evaluation(run_dir, FACTS)
    rule = evaluation.rule
    assert (rule.threshold, rule.temperature, rule.review.high) == (0.25, 1.5, 0.375)
    assert rule.classes == ("io", "nio")
    assert evaluation.predictions.source_ids == ("a.png",)


def test_no_threshold_is_read_as_0(run_dir: RunDir) -> None:
    write_json(run_dir.threshold, RULE | {"threshold": None})
    write_json(run_dir.metrics, {"digests": digest_evaluation(run_dir, weights_digest="ab")})
    assert read_evaluation(run_dir, FACTS).rule.threshold == 0


def test_another_model_threshold_or_answer_is_refused(run_dir: RunDir) -> None:
    with pytest.raises(InputError, match="another model"):
        read_evaluation(run_dir, dataclasses.replace(FACTS, weights_digest="cd"))
    run_dir.threshold.write_text(json.dumps(RULE | {"threshold": 0.3}))
    with pytest.raises(InputError, match="another threshold"):
        read_evaluation(run_dir, FACTS)


@pytest.mark.parametrize("name", ["metrics", "threshold", "predictions"])
@pytest.mark.parametrize("text", [None, "", "{}", "[]", "null", "xx"])
def test_a_damaged_or_missing_file_is_one_message(
    run_dir: RunDir, name: str, text: str | None
) -> None:
    path: Path = getattr(run_dir, name)
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match="--stage=eval"):
        read_evaluation(run_dir, FACTS)
