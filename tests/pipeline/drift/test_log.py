"""Drift said while pictures are judged, and kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.drift.baseline import DRIFT_BASELINE
from pipeline.drift.fit import Measured, fit_baseline
from pipeline.drift.log import DRIFT, DriftLog


@pytest.fixture
def saved_model(tmp_path: Path) -> Path:
    """A folder with the baseline of one statistic, evenly spread over 0 to 1."""
    values = (np.arange(200)[:, np.newaxis] + 0.5) / 200
    measured = Measured(tuple(map(str, range(200))), np.zeros(200, np.int64), values)
    path = tmp_path / "1" / DRIFT_BASELINE
    path.parent.mkdir(parents=True)
    fit_baseline(["mean_grey"], ["io"], train=measured, validation=measured).write(path)
    return tmp_path / "1"


def outputs(values: np.ndarray) -> dict[str, np.ndarray]:
    return {"statistics": values[:, np.newaxis], "label_index": np.zeros(len(values), np.int64)}


def test_what_drifts_is_said_once_and_kept(
    saved_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = DriftLog(saved_model, watches=True)
    assert not log.add({})  # a batch of pictures that all cannot be judged
    assert not log.add(outputs(np.linspace(0, 1, 40)))
    assert not log.add(outputs(np.linspace(0, 1, 60)))
    said = [log.add(outputs(np.full(25, 0.999))) for _ in range(8)]
    assert sum(said) == 1
    assert capsys.readouterr().err.count("Drift: pictures") == 1
    log.write(tmp_path)
    kept = json.loads((tmp_path / DRIFT).read_text())
    assert (kept["pictures"], kept["enough_for_a_look"]) == (300, True)
    (warning,) = kept["warnings"]
    (movement,) = warning["movements"]
    assert movement["name"] == "mean_grey"
    assert movement["share"] > 0.5 + movement["limit"]


def test_few_pictures_are_not_enough(saved_model: Path, tmp_path: Path) -> None:
    log = DriftLog(saved_model, watches=True)
    assert not log.add(outputs(np.full(20, 0.999)))
    log.write(tmp_path)
    expected = {"pictures": 20, "enough_for_a_look": False, "warnings": []}
    assert json.loads((tmp_path / DRIFT).read_text()) == expected


def test_without_a_monitor_nothing_is_looked_at_and_an_old_word_goes(
    saved_model: Path, tmp_path: Path
) -> None:
    (tmp_path / DRIFT).write_text("{}")
    log = DriftLog(saved_model, watches=False)
    assert not log.add({"label_index": np.zeros(300, np.int64)})
    log.write(tmp_path)
    assert not (tmp_path / DRIFT).exists()
