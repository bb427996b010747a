"""Which pictures travel with a SavedModel, and what is written of them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.decision import DecisionRule
from pipeline.evaluation.predictions import Predictions
from pipeline.evaluation.review import ReviewBand
from pipeline.serving.golden_set import (
    PictureSet,
    choose_golden_set,
    format_sheet,
    measure_margins,
    write_golden_set,
)
from records.schema import encode_example
from records.tfrecord import frame, read_frames
from records.types import Example

NO_REVIEW = ReviewBand()
TWO = DecisionRule(("io", "nio"), ("nio",), "nio", 0.5, 1.0, (0.0, 0.0), NO_REVIEW)
THREE = DecisionRule(("a", "b", "c"), ("a", "b"), "", 0.0, 1.0, (0.0, 0.0, 0.0), NO_REVIEW)


def binary(*scores: float) -> np.ndarray:
    return np.stack([1 - np.array(scores), scores], axis=1).astype(np.float32)


def expect(probabilities: np.ndarray, true: list[int], rule: DecisionRule) -> Predictions:
    """Predictions for pictures `0`, `1` and so on, with the logarithms as logits."""
    decided = rule.decide(np.log(np.maximum(probabilities, 1e-12)))
    return Predictions(
        classes=rule.classes,
        source_ids=tuple(map(str, range(len(true)))),
        digests=tuple(hashlib.sha256(picture(row)).hexdigest() for row in range(len(true))),
        true=np.array(true, np.int64),
        predicted=decided.predicted,
        decisions=decided.decisions,
        scores=None if rule.positive is None else probabilities[:, rule.positive],
        probabilities=probabilities,
        model="f" * 64,
    )


def picture(row: int) -> bytes:
    return b"picture " + str(row).encode()


def write_set(folder: Path, expected: Predictions) -> PictureSet:
    """Two shards with a record for each row."""
    shards = (folder / "a", folder / "b")
    records = []
    for row, (name, digest) in enumerate(zip(expected.source_ids, expected.digests, strict=True)):
        example = Example(name, "png", False, 4, 4, True, 9, digest, "x", (), None)
        records.append(encode_example(example, picture(row), classes=("x",), box_classes=()))
    half = len(records) // 2
    for shard, part in zip(shards, (records[:half], records[half:]), strict=True):
        shard.write_bytes(b"".join(map(frame, part)))
    return PictureSet("validation", shards, expected)


def test_the_margin_of_a_score_is_its_distance_from_the_threshold() -> None:
    np.testing.assert_allclose(
        measure_margins(binary(0.2, 0.5, 0.875), TWO), [0.3, 0, 0.375], atol=1e-7
    )


def test_the_ends_of_the_review_band_are_decisions_too() -> None:
    band = ReviewBand(0.1, low=0.25, high=0.75)
    rule = DecisionRule(("io", "nio"), ("nio",), "nio", 0.5, 1.0, (0.0, 0.0), band)
    np.testing.assert_allclose(
        measure_margins(binary(0.125, 0.375, 0.75, 1.0), rule), [0.125, 0.125, 0, 0.25], atol=1e-7
    )


def test_with_more_classes_the_margin_is_the_lead_or_the_distance_from_review() -> None:
    rows = np.array([[0.6, 0.3, 0.1], [0.2, 0.4, 0.4], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(measure_margins(rows, THREE), [0.3, 0, 1], atol=1e-12)
    band = ReviewBand(0.1, least_probability=0.55)
    rule = DecisionRule(("a", "b", "c"), ("a", "b"), "", 0.0, 1.0, (0.0, 0.0, 0.0), band)
    np.testing.assert_allclose(measure_margins(rows, rule), [0.05, 0, 0.45], atol=1e-12)


def test_of_every_class_the_two_nearest_and_the_farthest(tmp_path: Path) -> None:
    scores = (0.1, 0.45, 0.5, 0.3, 0.2, 0.9, 0.6, 0.55, 0.500001, 0.95)
    expected = expect(binary(*scores), [0] * 5 + [1] * 5, TWO)
    pictures = write_set(tmp_path, expected)
    golden = choose_golden_set(pictures, TWO)
    # 2 and 8 are on the threshold, where rounding decides.
    assert golden.expected.source_ids == ("0", "1", "3", "6", "7", "9")
    assert golden.pictures == [picture(row) for row in (0, 1, 3, 6, 7, 9)]
    assert golden.expected.decisions == ("pass", "pass", "pass", "fail", "fail", "fail")
    every = [record for shard in pictures.shards for record in read_frames(shard)]
    assert list(golden.records) == [every[row] for row in (0, 1, 3, 6, 7, 9)]


def test_a_class_of_pictures_on_the_edge_is_not_left_out(tmp_path: Path) -> None:
    expected = expect(binary(0.5, 0.1), [1, 0], TWO)
    assert choose_golden_set(write_set(tmp_path, expected), TWO).expected.source_ids == ("0", "1")


@settings(deadline=None, max_examples=50)
@given(
    rows=st.lists(st.tuples(st.floats(0, 1, width=32), st.integers(0, 1)), min_size=1, max_size=30)
)
def test_every_class_is_there_and_nothing_nearer_is_left_out(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float, int]]
) -> None:
    scores, true = zip(*rows, strict=True)
    expected = expect(binary(*scores), list(true), TWO)
    golden = choose_golden_set(write_set(tmp_path_factory.mktemp("set"), expected), TWO).expected
    chosen = [int(name) for name in golden.source_ids]
    assert chosen == sorted(chosen)
    assert set(golden.true.tolist()) == set(true)
    margins = measure_margins(expected.probabilities, TWO)
    for index in set(true):
        own = [row for row in range(len(true)) if true[row] == index and margins[row] >= 1e-4]
        taken = [row for row in chosen if true[row] == index]
        assert 1 <= len(taken) <= 3
        if own:
            assert min(margins[taken]) == min(margins[own])
            assert max(margins[taken]) == max(margins[own])


def test_a_sheet_says_what_must_be_answered(tmp_path: Path) -> None:
    expected = expect(binary(0.25, 0.75), [0, 1], TWO)
    sheet = format_sheet(write_set(tmp_path, expected), tolerance=1e-5, closely=["1"])
    assert sheet == {
        "name": "validation",
        "records": [str(tmp_path / "a"), str(tmp_path / "b")],
        "classes": ["io", "nio"],
        "tolerance": 1e-5,
        "closely": ["1"],
        "files": {},
        "pictures": [
            {
                "source_id": str(row),
                "sha256": hashlib.sha256(picture(row)).hexdigest(),
                "label": ("io", "nio")[row],
                "decision": ("pass", "fail")[row],
                "probabilities": [[0.75, 0.25], [0.25, 0.75]][row],
            }
            for row in range(2)
        ],
    }


def test_records_answers_program_and_digests_travel_with_the_saved_model(tmp_path: Path) -> None:
    candidate, checker = tmp_path / "candidate", tmp_path / "clean_session.py"
    (candidate / "variables").mkdir(parents=True)
    (candidate / "variables" / "a").write_bytes(b"weights")
    checker.write_text("# the program\n")
    golden = choose_golden_set(write_set(tmp_path, expect(binary(0.25, 0.75), [0, 1], TWO)), TWO)
    write_golden_set(candidate, golden, tolerance=1e-5, checker=checker)
    folder = candidate / "assets.extra" / "golden"
    assert {path.name for path in folder.iterdir()} == {
        "check.py",
        "golden.json",
        "golden.tfrecord",
    }
    assert tuple(read_frames(folder / "golden.tfrecord")) == golden.records
    assert (folder / "check.py").read_text() == "# the program\n"
    sheet = json.loads((folder / "golden.json").read_text())
    assert sheet["records"] == ["golden.tfrecord"]
    assert sheet["closely"] is None
    assert sheet["model"] == "f" * 64
    assert sheet["files"] == {
        name: hashlib.sha256((candidate / name).read_bytes()).hexdigest()
        for name in (
            "assets.extra/golden/check.py", "assets.extra/golden/golden.tfrecord", "variables/a",
        )
    }  # fmt: skip
