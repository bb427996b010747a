"""The mean-grey-value baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pipeline.evaluation.baseline import measure_baseline, rivals_model
from pipeline.evaluation.metrics import compute_metrics


def _measure(
    train: tuple[Sequence[float], list[int]],
    test: tuple[Sequence[float], list[int]],
    positive: int | None = 1,
) -> dict[str, Any]:
    return measure_baseline(
        train_grey=np.array(train[0]),
        train_true=np.array(train[1]),
        test_grey=np.array(test[0]),
        test_true=np.array(test[1]),
        positive=positive,
    )


def test_dark_defects_are_found_with_the_orientation_of_the_training_split() -> None:
    found = _measure(([10, 20, 80, 90], [1, 1, 0, 0]), ([15, 25, 70, 5], [1, 0, 0, 0]))
    assert found["positive_is"] == "darker"
    # The best training threshold lets 20 be the brightest positive.
    assert found["threshold"] == 20
    # Below or at 20: 15 (right) and 5 (wrong); of three sound pictures one is stopped.
    assert found["balanced_accuracy"] == pytest.approx((1 + 2 / 3) / 2)
    # The positive is darker than two of the three others.
    assert found["auroc"] == pytest.approx(2 / 3)


def test_orientation_is_not_taken_from_the_test_split() -> None:
    found = _measure(([10, 90], [0, 1]), ([90, 10], [0, 1]))
    assert (found["positive_is"], found["auroc"], found["balanced_accuracy"]) == ("brighter", 0, 0)


def test_noise_stays_near_chance() -> None:
    random = np.random.default_rng(3)
    grey, true = random.normal(size=4000), random.integers(0, 2, 4000)
    found = measure_baseline(
        train_grey=grey[:2000],
        train_true=true[:2000],
        test_grey=grey[2000:],
        test_true=true[2000:],
        positive=1,
    )
    sign = 1 if found["positive_is"] == "brighter" else -1
    assert found["auroc"] == pytest.approx(roc_auc_score(true[2000:], sign * grey[2000:]))
    assert abs(found["auroc"] - 0.5) < 0.05


@pytest.mark.parametrize("lone", [0, 1])
def test_one_class_only_is_undefined(lone: int) -> None:
    assert _measure(([1, 2], [lone, lone]), ([1, 2], [0, 1]))["auroc"] is None
    found = _measure(([1, 2], [0, 1]), ([1, 2], [lone, lone]))
    assert (found["auroc"], found["balanced_accuracy"]) == (None, None)
    assert found["positive_is"] == "brighter"


def test_more_classes_by_naive_bayes() -> None:
    train = ([0, 1, 50, 51, 100, 101], [0, 0, 1, 1, 2, 2])
    found = _measure(train, ([2, 49, 99, 98], [0, 1, 2, 0]), positive=None)
    assert found["kind"] == "gaussian_naive_bayes"
    assert (found["accuracy"]["count"], found["accuracy"]["of"]) == (3, 4)


def test_equal_grey_values_give_the_commonest_class() -> None:
    found = _measure(([7, 7, 7], [0, 2, 2]), ([7, 7], [2, 1]), positive=None)
    assert found["accuracy"]["count"] == 1


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        _measure(([1, np.nan], [0, 1]), ([1], [0]))
    with pytest.raises(ValueError, match="test: grey values"):
        _measure(([1, 2], [0, 1]), ([], []))


def _model(scores: list[float], true: list[int]) -> dict[str, Any]:
    column = np.array(scores)
    return compute_metrics(
        true=np.array(true),
        predicted=(column >= 0.5).astype(int),
        probabilities=np.stack([1 - column, column], axis=1),
        classes=("io", "nio"),
        positive_class="nio",
    ).to_json()


def test_rival_is_a_baseline_as_good_as_the_model() -> None:
    good_model, poor_model = _model([0.1, 0.9], [0, 1]), _model([0.9, 0.1], [0, 1])
    trivial = _measure(([10, 90], [0, 1]), ([10, 90], [0, 1]))
    blind = _measure(([10, 90], [0, 1]), ([90, 10], [0, 1]))
    assert rivals_model(trivial, good_model) is True
    assert rivals_model(blind, good_model) is False
    assert rivals_model(blind, poor_model) is True
    assert rivals_model(trivial, _model([0.1, 0.9], [0, 0])) is None


def test_rival_with_more_classes_reaches_the_interval() -> None:
    baseline = {"kind": "gaussian_naive_bayes", "accuracy": {"value": 0.9}}
    assert rivals_model(baseline, {"accuracy": {"low": 0.89}}) is True
    assert rivals_model(baseline, {"accuracy": {"low": 0.91}}) is False
