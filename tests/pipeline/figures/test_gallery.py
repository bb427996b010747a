from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.evaluation.decision import Decided, DecisionRule
from pipeline.evaluation.review import ReviewBand
from pipeline.figures.gallery import rank_errors, rank_unsure, read_pictures, write_gallery
from tests.pipeline.picture_tables import write_two_shards

BINARY = DecisionRule(("io", "nio"), ("nio",), "nio", 0.25, 1.0, (), ReviewBand())
FOUR = DecisionRule(("io", "a", "b", "c"), ("a", "b", "c"), "", 0.0, 1.0, (), ReviewBand())


def _two(scores: list[float]) -> Decided:
    values = np.array(scores, np.float32)
    return Decided(np.stack([1 - values, values], axis=1), (values >= 0.25).astype(np.int64), ())


def test_escapes_come_first_and_the_surest_before_the_unsure() -> None:
    #         escape  false    right  escape  false
    decided = _two([0.2, 0.9, 0.8, 0.01, 0.3])
    assert rank_errors(BINARY, np.array([1, 0, 1, 1, 0]), decided) == [3, 0, 1, 4]


def test_the_least_certain_are_right_and_nearest_to_the_threshold() -> None:
    # Log-odds from the threshold's: 0.2 is 0.29 away, 0.32 is 0.34, 0.05 is 1.8; 0.26 is wrong.
    decided = _two([0.05, 0.32, 0.2, 0.26])
    assert rank_unsure(BINARY, np.array([0, 1, 0, 0]), decided) == [2, 1, 0]


def test_with_more_classes_the_highest_probability_counts() -> None:
    probabilities = np.array([[0.7, 0.1, 0.1, 0.1], [0.2, 0.5, 0.2, 0.1], [0.1, 0.1, 0.2, 0.6]])
    decided = Decided(probabilities.astype(np.float32), probabilities.argmax(axis=1), ())
    assert rank_unsure(FOUR, np.array([0, 1, 3]), decided) == [1, 2, 0]
    # Taking a defect for one in order is worse than for another defect, however unsure.
    decided = Decided(decided.probabilities, np.array([0, 1, 3]), ())
    assert rank_errors(FOUR, np.array([2, 2, 2]), decided) == [0, 2, 1]


def test_thumbnails_are_the_chosen_pictures_in_their_order(tmp_path: Path) -> None:
    shards = write_two_shards(tmp_path, count=8)  # picture n is grey 10 n
    facts = [{"source_id": str(row)} for row in (6, 1, 3)]
    pictures = read_pictures(shards, {6, 1, 3})
    write_gallery(tmp_path / "errors", [pictures[row] for row in (6, 1, 3)], facts=facts)
    entries = json.loads((tmp_path / "errors.json").read_text())
    assert [entry["source_id"] for entry in entries] == ["6", "1", "3"]
    for entry, grey in zip(entries, (60, 10, 30), strict=True):
        with Image.open(tmp_path / "errors" / entry["file"]) as picture:
            assert np.unique(np.asarray(picture)).tolist() == [grey]


def test_an_empty_gallery_is_an_empty_list(tmp_path: Path) -> None:
    assert read_pictures([], set()) == {}
    write_gallery(tmp_path / "errors", [], facts=[])
    assert json.loads((tmp_path / "errors.json").read_text()) == []
    assert not (tmp_path / "errors").exists()
