from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax

from pipeline.evaluation.calibration import (
    BINS,
    fit_temperature,
    measure_reliability,
    to_probabilities,
)


def _draw(temperature: float, *, pictures: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax is right when they are divided by `temperature`."""
    random = np.random.default_rng(0)
    calibrated = random.normal(0, 2, [pictures, classes])
    chances = softmax(calibrated, axis=1).cumsum(axis=1)
    true = (random.uniform(size=[pictures, 1]) > chances).sum(axis=1)
    return temperature * calibrated, true


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_spoiled_the_logits_is_found(temperature: float) -> None:
    logits, true = _draw(temperature, pictures=20_000)
    assert fit_temperature(logits, true) == pytest.approx(temperature, rel=0.03)


def test_the_temperature_is_the_root_of_the_derivative() -> None:
    # n pictures right by a logit d, m wrong by it. With u the logarithm of the temperature and
    # x = d / e^u the cost is n ln(1 + e^-x) + m ln(1 + e^x) + u^2 / 2.
    logits = np.array([[4.0, 0.0]] * 10)
    true = np.array([0] * 8 + [1] * 2)
    u = math.log(fit_temperature(logits, true))
    x = 4.0 / math.exp(u)
    assert 8 * x * expit(-x) - 2 * x * expit(x) + u == pytest.approx(0, abs=1e-4)
    # Without the prior it would be 4 / ln 4, where 8 of 10 are as likely as was said.
    assert 1 < math.exp(u) < 4 / math.log(4)


def test_a_split_without_an_error_does_not_ask_for_certainty() -> None:
    true = np.arange(200) % 2
    logits = np.where(np.arange(2) == true[:, None], 3.0, -3.0)
    assert 0.5 < fit_temperature(logits, true) < 1
    # Nor do two pictures.
    assert 0.9 < fit_temperature(logits[:2], true[:2]) < 1


@settings(deadline=None)
@given(st.integers(0, 1000))
def test_answers_of_more_classes_stay_as_they_are(seed: int) -> None:
    random = np.random.default_rng(seed)
    logits, true = random.normal(0, 3, [40, 4]), random.integers(0, 4, 40)
    calibrated = to_probabilities(logits, fit_temperature(logits, true))
    np.testing.assert_array_equal(calibrated.argmax(axis=1), logits.argmax(axis=1))


def test_no_pictures_leave_the_temperature_at_1() -> None:
    assert fit_temperature(np.zeros([0, 2]), np.zeros([0], int)) == 1.0


def test_what_is_no_set_of_logits_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        fit_temperature(np.array([[np.nan, 0.0]]), np.array([0]))
    with pytest.raises(ValueError, match="do not fit"):
        fit_temperature(np.zeros([2, 2]), np.zeros([3], int))


def test_probabilities_are_a_float32_softmax() -> None:
    logits = np.array([[2.0, 0.0], [-90.0, 90.0]], np.float32)
    probabilities = to_probabilities(logits, 2.0)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities[:, 1], [expit(-1.0), 1.0], rtol=1e-6)


def test_reliability_is_counted_by_hand() -> None:
    # Bins of 1/15: 0.5 is in the 8th, 0.9 in the 14th, 1 in the last, 1/15 itself in the first.
    scores = np.array([0.5, 0.5, 0.9, 1.0, 1 / 15])
    true = np.array([1, 0, 1, 1, 0])
    found = measure_reliability(np.stack([1 - scores, scores], axis=1), true, positive=1)
    counts = [one.observed.of for one in found.bins]
    assert {place: count for place, count in enumerate(counts) if count} == {
        0: 1,
        7: 2,
        13: 1,
        14: 1,
    }
    assert (found.bins[7].mean, found.bins[7].observed.value) == (0.5, 0.5)
    assert found.bins[5].mean is None
    # |0.9 - 1| and |1/15 - 0| once each, the others are as they say.
    assert found.expected_calibration_error == pytest.approx((0.1 + 1 / 15) / 5)
    assert found.of == "positive_class"


def test_with_more_classes_the_predicted_one_is_looked_at() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    found = measure_reliability(probabilities, np.array([0, 1]), positive=None)
    assert found.of == "predicted"
    assert found.expected_calibration_error == pytest.approx((0.3 + 0.6) / 2)
    assert len(found.bins) == BINS


def test_calibrated_probabilities_have_a_small_error_and_spoiled_ones_a_large_one() -> None:
    logits, true = _draw(3.0, pictures=20_000)
    spoiled = measure_reliability(to_probabilities(logits, 1.0), true, positive=None)
    mended = measure_reliability(
        to_probabilities(logits, fit_temperature(logits, true)), true, positive=None
    )
    assert spoiled.expected_calibration_error > 0.1
    assert mended.expected_calibration_error < 0.015
