"""The gate: a SavedModel that answers as evaluated passes, any other does not."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from models import clean_session, files
from models.serving import ServingFacts, write_saved_model
from pipeline.evaluation.predictions import Predictions
from pipeline.evaluation.result import read_evaluation
from pipeline.modelfacts import ModelFacts
from pipeline.serving.gate import (
    GateResult,
    choose_closely,
    format_result,
    require_same_answers,
)
from pipeline.serving.golden_set import PictureSet, choose_golden_set, write_golden_set
from records.errors import InputError
from records.manifest import read_manifest
from tests.pipeline.tiny_run import make_run

BATCH_SIZES = (1, 2, 7, 32)
SIGNATURES = ("serving_default", "explain", "predict_tensor")


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PictureSet]:
    """A SavedModel with a golden set, and the test pictures with the evaluation's answers."""
    run_dir = make_run(tmp_path_factory.mktemp("gate"))
    facts = ModelFacts.read(run_dir.config)
    evaluation = read_evaluation(run_dir, facts)
    rule = evaluation.rule
    candidate = run_dir.root / "candidate"
    write_saved_model(
        candidate,
        files.load_model(run_dir.weights),
        ServingFacts(
            facts.classes, facts.fail_classes, facts.positive_class, rule.threshold,
            facts.cam_layer, facts.resize, temperature=rule.temperature, log_shares=rule.log_shares,
        ),
    )  # fmt: skip
    shards = tuple(read_manifest(run_dir.records).shard_paths("test"))
    pictures = PictureSet("test", shards, evaluation.predictions)
    golden = choose_golden_set(pictures, rule)
    write_golden_set(
        candidate, golden, tolerance=1e-5, checker=Path(clean_session.__file__).resolve()
    )
    return candidate, pictures


def change(expected: Predictions, row: int) -> Predictions:
    """As if the evaluation had decided otherwise about one picture."""
    predicted = expected.predicted.copy()
    predicted[row] = 1 - predicted[row]
    return dataclasses.replace(expected, predicted=predicted)


def test_the_evaluated_model_passes_and_what_was_looked_at_is_told(
    evaluated: tuple[Path, PictureSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate, pictures = evaluated
    # Named as from where the user is.
    monkeypatch.chdir(candidate.parent)
    shards = tuple(shard.relative_to(candidate.parent) for shard in pictures.shards)
    result = require_same_answers(
        Path("candidate"), [dataclasses.replace(pictures, shards=shards)], precision="float32"
    )
    golden = result.pictures["golden"]
    assert 2 <= golden <= 6
    assert result == GateResult(
        precision="float32",
        tolerance=1e-5,
        largest_difference=result.largest_difference,
        pictures={"test": 10, "golden": golden},
        pictures_every_way={"test": 10, "golden": golden},
        # The pictures 0, 1, 4, 5, 8 and 9 have the model's size.
        pictures_own_pixels={"test": 6, "golden": result.pictures_own_pixels["golden"]},
        signatures=SIGNATURES,
        forms=("bytes", "pixels", "base64"),
        batch_sizes=BATCH_SIZES,
    )
    assert 0 <= result.largest_difference < 1e-6


def move(pictures: PictureSet) -> PictureSet:
    """As if all probabilities had been a little different when they were evaluated."""
    moved = pictures.expected.probabilities + np.array([[2**-10, -(2**-10)]], np.float32)
    expected = dataclasses.replace(pictures.expected, probabilities=moved)
    return dataclasses.replace(pictures, expected=expected)


def test_another_probability_stops_it(evaluated: tuple[Path, PictureSet]) -> None:
    candidate, pictures = evaluated
    with pytest.raises(InputError) as caught:
        require_same_answers(candidate, [move(pictures)], precision="float32")
    message = caught.value.problem
    assert message.startswith("Nothing was published")
    assert "a probability differs by 9.8e-04" in message
    first, *others = message.splitlines()[1:]
    assert first.startswith(
        "  test: 10 of 10 pictures by the signature serving_default, as bytes in batches of 32: "
        f"{pictures.expected.source_ids[0]} (a probability differs by "
    )
    assert first.count("differs by") == 5  # so many are named
    assert others[-1].startswith("  and in ")
    assert "train and eval" in caught.value.remedy


def test_in_bfloat16_another_label_stops_it_but_no_probability(
    evaluated: tuple[Path, PictureSet],
) -> None:
    candidate, pictures = evaluated
    moved = move(pictures)
    changed = dataclasses.replace(moved, expected=change(moved.expected, 4))
    with pytest.raises(InputError) as caught:
        require_same_answers(candidate, [changed], precision="bfloat16")
    name = pictures.expected.source_ids[4]
    assert (
        f"test: 1 of 10 pictures by the signature serving_default, as bytes in batches of 32: "
        f"{name} (label " in caught.value.problem
    )
    assert "differs by" not in caught.value.problem
    assert "--export_precision" in caught.value.remedy


def test_a_saved_model_that_cannot_be_loaded_is_a_defect_of_ours(
    evaluated: tuple[Path, PictureSet], tmp_path: Path
) -> None:
    candidate, pictures = evaluated
    broken = shutil.copytree(candidate, tmp_path / "broken")
    (broken / "saved_model.pb").write_bytes(b"no graph")
    with pytest.raises(RuntimeError, match="could not be examined"):
        require_same_answers(broken, [pictures], precision="float32")


def test_the_first_of_every_class_in_turn_are_shown_closely() -> None:
    true = np.array([0] * 100 + [1] * 3 + [2] * 50)
    expected = Predictions(
        classes=("a", "b", "c"),
        source_ids=tuple(map(str, range(len(true)))),
        digests=("",) * len(true),
        true=true,
        predicted=true,
        decisions=("fail",) * len(true),
        scores=None,
        probabilities=np.full((len(true), 3), 1 / 3, np.float32),
    )
    chosen = [int(name) for name in choose_closely(expected)]
    assert chosen[:11] == [0, 100, 103, 1, 101, 104, 2, 102, 105, 3, 106]
    assert len(chosen) == len(set(chosen)) == 40
    assert np.bincount(true[chosen]).tolist() == [19, 3, 18]


def test_the_result_is_told_in_a_sentence() -> None:
    result = GateResult(
        precision="float32",
        tolerance=1e-5,
        largest_difference=3e-7,
        pictures={"validation": 216, "test": 360, "golden": 18},
        pictures_every_way={"validation": 64, "test": 64, "golden": 18},
        pictures_own_pixels={"validation": 0, "test": 0, "golden": 0},
        signatures=SIGNATURES,
        forms=("bytes", "pixels", "base64"),
        batch_sizes=BATCH_SIZES,
    )
    assert format_result(result) == (
        "Checked in a clean process: labels and decisions of 216 validation, 360 test and 18 "
        "golden pictures are the evaluation's, probabilities to 3.0e-07; 146 of them by "
        "serving_default, explain, predict_tensor, in batches of 1, 2, 7, 32, as bytes, pixels, "
        "base64."
    )
