"""The decision threshold against brute force, closed forms and a simulation."""

from __future__ import annotations

import json
from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import beta, binom

from pipeline.evaluation.rates import measure_rate
from pipeline.evaluation.threshold import (
    Threshold,
    allowed_misses,
    bound_recall,
    choose_threshold,
    count_positives_needed,
    is_stopped,
)


def _choose(positives: list[float], negatives: list[float], **options: float) -> Threshold:
    scores = np.array(positives + negatives, np.float32)
    return choose_threshold(scores, np.arange(len(scores)) < len(positives), **options)


def _just_below(score: float | np.float32) -> float:
    """A thousandth below, as float32: room for another processor's rounding."""
    return float(np.float32(float(np.float32(score)) * 0.999))


def _spread(count: int) -> list[float]:
    """Scores 0.2 + i / 1000: all below the cap of 0.5 for fewer than 300."""
    return [0.2 + number / 1000 for number in range(count)]


@pytest.mark.parametrize(
    ("recall", "confidence", "needed"),
    [(0.95, 0.95, 59), (0.99, 0.95, 299), (0.999, 0.95, 2995), (0.9, 0.9, 22), (0.5, 0.5, 1)],
)
def test_fewest_positives_for_a_guarantee(recall: float, confidence: float, needed: int) -> None:
    assert count_positives_needed(target_recall=recall, confidence=confidence) == needed


def test_58_positives_are_too_few_and_59_suffice() -> None:
    too_few, enough = _choose(_spread(58), []), _choose(_spread(59), [])
    assert (too_few.guaranteed, too_few.positives_missing) == (False, 1)
    assert "1 more" in too_few.rule
    assert (enough.guaranteed, enough.positives_missing) == (True, 0)
    assert enough.threshold == _just_below(0.2)
    assert enough.confidence_reached == pytest.approx(1 - 0.95**59)


@pytest.mark.parametrize(
    ("recall", "confidence"),
    [(Fraction(19, 20), Fraction(19, 20)), (Fraction(9, 10), Fraction(99, 100))],
)
def test_allowed_misses_by_exact_arithmetic(recall: Fraction, confidence: Fraction) -> None:
    miss = 1 - recall
    for positives in range(201):
        tail, expected = Fraction(0), -1
        for misses in range(positives + 1):
            tail += comb(positives, misses) * miss**misses * recall ** (positives - misses)
            if tail > 1 - confidence:
                break
            expected = misses
        assert expected == allowed_misses(
            positives, target_recall=float(recall), confidence=float(confidence)
        )


@pytest.mark.parametrize(("positives", "misses"), [(59, 0), (92, 0), (93, 1), (124, 2)])
def test_threshold_is_the_order_statistic(positives: int, misses: int) -> None:
    # 59, 93 and 124: the sample sizes of one-sided tolerance limits for 95 % with 95 % confidence.
    scores = _spread(positives)
    chosen = _choose(list(reversed(scores)), [0.0, 0.9])
    assert chosen.threshold == _just_below(scores[misses])
    assert (chosen.escapes, chosen.false_calls, chosen.negatives) == (misses, 1, 2)


@pytest.mark.parametrize("positives", [1, 2, 19, 20, 58])
def test_with_too_few_positives_none_of_them_is_missed(positives: int) -> None:
    scores = _spread(positives)
    chosen = _choose(scores, [0.1])
    assert not chosen.guaranteed
    assert chosen.threshold == _just_below(scores[0])
    assert chosen.escapes == 0
    assert chosen.positives_missing == 59 - positives


def test_threshold_is_capped_at_one_half() -> None:
    chosen = _choose([0.9] * 60, [0.6])
    assert (chosen.threshold, chosen.guaranteed, chosen.false_calls) == (0.5, True, 1)
    assert "capped at 0.5" in chosen.rule


def test_without_positives_there_is_no_promise() -> None:
    chosen = _choose([], [0.1, 0.7])
    assert (chosen.threshold, chosen.guaranteed, chosen.confidence_reached) == (0.5, False, 0)
    assert chosen.positives_missing == chosen.positives_needed == 59


def test_empty_validation_split_is_as_one_without_positives() -> None:
    assert _choose([], []).threshold == 0.5


_SCORES = st.lists(st.floats(0, 1, width=32), max_size=150)


@settings(deadline=None)
@given(_SCORES, _SCORES, st.randoms())
def test_what_holds_for_all_scores(positives: list[float], negatives: list[float], random) -> None:  # type: ignore[no-untyped-def]
    chosen = _choose(positives, negatives)
    assert 0 <= chosen.threshold <= 0.5
    assert np.float32(chosen.threshold) == chosen.threshold
    assert chosen.guaranteed == (len(positives) >= 59)
    caught = is_stopped(np.array(positives, np.float32), chosen.threshold)
    assert chosen.escapes == (~caught).sum()
    assert not positives or caught.mean() >= 0.95
    random.shuffle(positives)
    random.shuffle(negatives)
    assert _choose(positives, negatives) == chosen


def test_threshold_is_a_float32_and_its_picture_is_stopped() -> None:
    score = np.float32(0.1)  # as a double 0.10000000149, not 0.1
    chosen = choose_threshold(np.full(60, score), np.ones(60, bool))
    assert json.loads(json.dumps(chosen.threshold)) == _just_below(score)
    assert is_stopped(np.array([score]), chosen.threshold).all()
    # One rounding step lower the same picture is still stopped; a thousandth lower it is not.
    assert is_stopped(np.array([np.nextafter(score, np.float32(0))]), chosen.threshold).all()
    assert not is_stopped(np.array([score * np.float32(0.998)]), chosen.threshold).any()


def test_doubles_are_compared_as_float32() -> None:
    # 0.1 as a double lies below the float32 nearest to it, which is what a model would serve.
    assert is_stopped(np.array([0.1], np.float64), float(np.float32(0.1))).all()


@pytest.mark.parametrize("positives", [59, 93])
def test_promise_is_missed_no_more_often_than_said(positives: int) -> None:
    """On 10,000 lines whose defects score by a beta law (5, 2), halved to stay below the cap."""
    trials, random = 10_000, np.random.default_rng(positives)
    missed = 0
    for _ in range(trials):
        scores = (0.5 * random.beta(5, 2, positives)).astype(np.float32)  # never above the cap
        threshold = choose_threshold(scores, np.ones(positives, bool)).threshold
        missed += bool(beta.cdf(2 * threshold, 5, 2) > 0.05)
    rate = measure_rate(count=missed, of=trials)
    print(f"{positives} defects: missed on {missed} of {trials} lines, {rate.low} to {rate.high}")
    assert rate.low is not None
    assert rate.low <= 0.05
    # Not needlessly careful either: what k allows is used up.
    allowed = allowed_misses(positives, target_recall=0.95, confidence=0.95)
    assert missed / trials >= 0.5 * _chance_of_a_miss(positives, allowed)


def _chance_of_a_miss(positives: int, misses: int) -> float:
    return sum(comb(positives, k) * 0.05**k * 0.95 ** (positives - k) for k in range(misses + 1))


@pytest.mark.parametrize(("positives", "misses"), [(1, 0), (59, 0), (93, 1), (400, 12), (2995, 0)])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_the_bound_of_the_recall_is_the_beta_quantile(
    positives: int, misses: int, confidence: float
) -> None:
    bound = bound_recall(positives, misses, confidence=confidence)
    # As the root of the binomial distribution, which knows nothing of the beta function.
    root = brentq(
        lambda recall: binom.cdf(misses, positives, 1 - recall) - (1 - confidence),
        1e-12,
        1 - 1e-12,
        xtol=1e-13,
    )
    assert bound == pytest.approx(root, abs=1e-9)
    if not misses:
        assert bound == pytest.approx((1 - confidence) ** (1 / positives), abs=1e-9)


def test_58_defects_are_refused_and_59_accepted() -> None:
    for positives, needed_more in ((58, 1), (59, 0)):
        chosen = choose_threshold(np.linspace(0.1, 0.4, positives), np.ones(positives, bool))
        assert chosen.guaranteed == (needed_more == 0)
        assert chosen.positives_missing == needed_more
        assert (chosen.recall_bound >= 0.95) == chosen.guaranteed
    assert "1 more" in choose_threshold(np.full(58, 0.2), np.ones(58, bool)).rule


def test_json_names_the_positive_class() -> None:
    content = _choose(_spread(60), [0.1]).to_json(positive_class="nio")
    assert content["positive_class"] == "nio"
    assert json.loads(json.dumps(content, allow_nan=False)) == content


@pytest.mark.parametrize(
    ("scores", "is_positive", "options", "message"),
    [
        ([0.5], [True, False], {}, "one length"),
        ([0.5], [1], {}, "booleans"),
        ([np.nan], [True], {}, "not a number"),
        ([1.5], [True], {}, "outside 0 to 1"),
        ([0.5], [True], {"target_recall": 1.0}, "in \\(0, 1\\)"),
        ([0.5], [True], {"confidence": 0.0}, "in \\(0, 1\\)"),
    ],
)
def test_nonsense_is_refused(
    scores: list[float], is_positive: list[bool], options: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        choose_threshold(np.array(scores), np.array(is_positive), **options)
