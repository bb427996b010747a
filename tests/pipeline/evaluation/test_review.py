from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.special import expit

from pipeline.evaluation.review import ReviewBand, choose_review_band


def _two(scores: np.ndarray) -> np.ndarray:
    return np.stack([1 - scores, scores], axis=1)


def test_the_band_is_symmetric_about_the_threshold_in_log_odds() -> None:
    # Log-odds -4, -3, ..., 4 from the threshold's, which is 1: the nearest three of nine are
    # -1, 0 and 1 away; the band ends half-way to the next.
    scores = expit(np.arange(-4, 5) + 1.0)
    threshold = float(expit(1.0))
    band = choose_review_band(_two(scores), budget=0.34, positive=1, threshold=threshold)
    assert (band.low, band.high) == pytest.approx((expit(-0.5), expit(2.5)), rel=1e-6)
    assert band.validation_share == pytest.approx(3 / 9)
    inside = band.contains(_two(scores), positive=1)
    assert np.flatnonzero(inside).tolist() == [3, 4, 5]


def test_with_more_classes_the_least_probable_go() -> None:
    probabilities = np.array([[0.5, 0.3, 0.2], [0.9, 0.05, 0.05], [0.1, 0.1, 0.8], [1, 0, 0]])
    band = choose_review_band(probabilities, budget=0.25, positive=None)
    assert 0.5 < band.least_probability < 0.8
    assert band.contains(probabilities, positive=None).tolist() == [True, False, False, False]


@pytest.mark.parametrize("positive", [None, 1])
def test_without_a_budget_nobody_is_asked(positive: int | None) -> None:
    probabilities = _two(np.linspace(0, 1, 50))
    band = choose_review_band(probabilities, budget=0.0, positive=positive, threshold=0.25)
    assert not band.contains(probabilities, positive=positive).any()
    assert not ReviewBand().contains(probabilities, positive=positive).any()


def test_pictures_that_are_all_the_same_are_not_split() -> None:
    probabilities = _two(np.full(10, 0.5))
    band = choose_review_band(probabilities, budget=0.5, positive=1, threshold=0.25)
    assert not band.contains(probabilities, positive=1).any()


@settings(deadline=None)
@given(
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=60),
    st.floats(0, 0.99),
    st.floats(0, 0.5, width=32),
    st.booleans(),
)
@example([0.0, 0.5, 2**-24], 0.75, 0.0, True)  # the band must not reach those as good as 0
@example([0.5, 2**-24], 0.5, 0.0, True)
@example([0.5, float(np.float32(1e-6))], 0.5, 0.0, True)
def test_the_budget_holds_and_the_band_holds_the_nearest(
    scores: list[float], budget: float, threshold: float, two: bool
) -> None:
    probabilities = _two(np.array(scores))
    positive = 1 if two else None
    band = choose_review_band(probabilities, budget=budget, positive=positive, threshold=threshold)
    inside = band.contains(probabilities, positive=positive)
    assert inside.sum() <= budget * len(scores) + 1e-6
    assert inside.mean() == pytest.approx(band.validation_share)
    if two and threshold >= 1e-6:
        assert band.low <= np.float32(threshold) <= band.high
    # A third more of the budget never sends fewer.
    wider = choose_review_band(
        probabilities, budget=min(budget * 1.3, 0.99), positive=positive, threshold=threshold
    )
    assert (inside <= wider.contains(probabilities, positive=positive)).all()


def test_a_band_comes_back_from_json() -> None:
    band = choose_review_band(
        _two(np.linspace(0.01, 0.99, 50)), budget=0.2, positive=1, threshold=0.3
    )
    assert ReviewBand(**band.to_json(positive=1)) == band


@pytest.mark.parametrize("budget", [-0.1, 1.0, float("nan")])
def test_a_budget_that_is_no_share_is_refused(budget: float) -> None:
    with pytest.raises(ValueError, match="budget must be"):
        choose_review_band(_two(np.array([0.5])), budget=budget, positive=1)
