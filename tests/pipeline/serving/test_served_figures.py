"""Figures of what is served, by the same formulas as those of what was evaluated."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipeline.evaluation.result import read_evaluation
from pipeline.modelfacts import ModelFacts
from pipeline.serving.golden_set import PictureSet
from pipeline.serving.served_figures import compare_figures
from records.manifest import read_manifest
from tests.pipeline.tiny_run import make_run


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> PictureSet:
    """Ten test pictures, those with a number that three divides are `nio`: 0, 3, 6, 9."""
    run_dir = make_run(tmp_path_factory.mktemp("figures"))
    evaluation = read_evaluation(run_dir, ModelFacts.read(run_dir.config))
    shards = tuple(read_manifest(run_dir.records).shard_paths("test"))
    return PictureSet("test", shards, evaluation.predictions)


class Served:
    """Answers pictures in the order they come with rows of a table."""

    def __init__(self, probabilities: np.ndarray) -> None:
        """Takes `[pictures, 2]`."""
        self.rows, self.asked = probabilities.astype(np.float32), 0

    def __call__(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """The next rows."""
        rows = self.rows[self.asked : self.asked + len(image_bytes)]
        self.asked += len(image_bytes)
        return {
            "label_index": tf.constant(rows.argmax(axis=1)),
            "probabilities": tf.constant(rows),
        }


def test_one_sure_answer_amiss_costs_what_the_formulas_say(pictures: PictureSet) -> None:
    true = pictures.expected.true
    of_true = np.full(10, 0.75)
    of_true[np.flatnonzero(true == 1)[0]] = 0.125  # one of four positives, taken for a negative
    rows = np.stack([1 - of_true, of_true], axis=1)
    rows[true == 0] = rows[true == 0, ::-1]
    found = compare_figures(Served(rows), pictures, positive_class="nio")["served"]
    assert found["accuracy"] == 0.9
    assert found["log_loss"] == pytest.approx(-(9 * math.log(0.75) + math.log(0.125)) / 10)
    # Of 24 pairs of a positive and a negative, six have the positive below.
    assert found["auroc"] == pytest.approx(18 / 24)
    # The three above 0.25: right; the last: four right of ten.
    assert found["average_precision"] == pytest.approx(3 / 4 + 0.4 / 4)
    # Three bins: one positive said to be 0.125, six negatives 0.25, three positives 0.75.
    reliability = abs(1 - 0.125) + 6 * 0.25 + 3 * 0.25
    assert found["expected_calibration_error"] == pytest.approx(reliability / 10)


def test_the_same_answers_have_the_same_figures(pictures: PictureSet) -> None:
    predicted = pictures.expected.probabilities.argmax(axis=1)
    by_the_higher = dataclasses.replace(pictures.expected, predicted=predicted)
    figures = compare_figures(
        Served(pictures.expected.probabilities),
        dataclasses.replace(pictures, expected=by_the_higher),
        positive_class="nio",
    )
    assert figures["served"] == figures["evaluated"]
    assert figures["served"]["auroc"] is not None


def test_a_picture_too_few_is_an_error(pictures: PictureSet, tmp_path: Path) -> None:
    fewer = dataclasses.replace(pictures, expected=pictures.expected.take(range(9)))
    with pytest.raises(ValueError, match="9 pictures"):
        compare_figures(Served(np.full([10, 2], 0.5)), fewer, positive_class="nio")
