from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import Settings
from pipeline.evaluation.challenge import challenge, require_gate
from pipeline.evaluation.predictions import Predictions, write_predictions
from pipeline.rundir import RunDir
from records.atomic import write_json
from records.errors import GateError, InputError
from tests.pipeline.model_facts import make_facts

FACTS = make_facts()


def _predictions(predicted: list[int]) -> Predictions:
    rows = np.array(predicted)
    probabilities = np.eye(2, dtype=np.float32)[rows]
    return Predictions(
        classes=("io", "nio"),
        source_ids=("a.png", "b.png"),
        digests=("aa", "bb"),
        true=np.array([1, 1]),
        predicted=rows,
        decisions=tuple("fail" if row else "pass" for row in predicted),
        scores=probabilities[:, 1],
        probabilities=probabilities,
    )


@pytest.fixture
def champion(tmp_path: Path) -> RunDir:
    run = RunDir(tmp_path / "champion", "autoencoder")
    write_predictions(run.predictions, _predictions([1, 0]))
    write_json(run.metrics, {})
    return run


def test_without_a_baseline_there_is_nothing_to_compare() -> None:
    assert challenge(Settings(stage="eval"), _predictions([1, 1]), FACTS) is None
    require_gate(Settings(stage="eval"), None)


@pytest.mark.parametrize("name", ["root", "model_dir"])
def test_a_run_or_the_folder_of_its_model_is_a_baseline(champion: RunDir, name: str) -> None:
    settings = Settings(stage="eval", baseline=getattr(champion, name))
    found = challenge(settings, _predictions([1, 1]), FACTS)
    assert found is not None
    assert (found.newly_caught, found.newly_escaped) == ((1,), ())


def test_the_gate_lets_pass_what_loses_nothing(champion: RunDir) -> None:
    settings = Settings(stage="eval", baseline=champion.root, gate=True)
    require_gate(settings, challenge(settings, _predictions([1, 1]), FACTS))
    worse = challenge(settings, _predictions([0, 1]), FACTS)
    with pytest.raises(GateError, match="1 defect that the baseline caught"):
        require_gate(settings, worse)
    require_gate(dataclasses.replace(settings, gate=False), worse)


def test_a_baseline_of_other_pictures_or_without_an_evaluation_is_refused(
    champion: RunDir, tmp_path: Path
) -> None:
    settings = Settings(stage="eval", baseline=champion.root)
    other = dataclasses.replace(_predictions([1, 1]), source_ids=("a.png", "c.png"))
    with pytest.raises(InputError, match="other test pictures"):
        challenge(settings, other, FACTS)
    champion.metrics.unlink()
    with pytest.raises(InputError, match="holds no evaluation"):
        challenge(settings, _predictions([1, 1]), FACTS)
