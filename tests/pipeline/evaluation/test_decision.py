from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from scipy.special import expit

from pipeline.evaluation.decision import DecisionRule, choose_rule, format_rule, parse_rule
from pipeline.evaluation.review import ReviewBand
from pipeline.evaluation.threshold import ARGMAX_RULE
from pipeline.modelfacts import ModelFacts
from tests.pipeline.model_facts import make_facts

BINARY = DecisionRule(
    classes=("io", "nio"),
    fail_classes=("nio",),
    positive_class="nio",
    threshold=0.25,
    temperature=2.0,
    log_shares=(math.log(0.5), math.log(0.5)),
    review=ReviewBand(0.1, low=0.2, high=0.3),
)
SIX = DecisionRule(
    classes=("a", "b", "io"),
    fail_classes=("a", "b"),
    positive_class="",
    threshold=0.0,
    temperature=1.0,
    log_shares=(math.log(0.5), math.log(0.3), math.log(0.2)),
    review=ReviewBand(0.1, least_probability=0.5),
)


def _facts(rule: DecisionRule) -> ModelFacts:
    return make_facts(
        classes=rule.classes, positive_class=rule.positive_class, fail_classes=rule.fail_classes
    )


def test_two_classes_are_decided_by_the_calibrated_score() -> None:
    # Log-odds of 2 ln(p / (1 - p)) become p by a temperature of 2.
    scores = np.array([0.1, 0.22, 0.28, 0.9])
    logits = np.stack([np.zeros(4), 2 * np.log(scores / (1 - scores))], axis=1)
    decided = BINARY.decide(logits)
    np.testing.assert_allclose(decided.probabilities[:, 1], scores, rtol=1e-6)
    assert decided.predicted.tolist() == [0, 0, 1, 1]
    assert decided.decisions == ("pass", "review", "review", "fail")


def test_more_classes_are_decided_by_the_most_probable() -> None:
    # What the network says where all classes are alike; the shares are put back by Bayes' rule.
    wanted = np.array([[0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [0.4, 0.35, 0.25]])
    logits = np.log(wanted / [0.5, 0.3, 0.2])
    decided = SIX.decide(logits)
    np.testing.assert_allclose(decided.probabilities, wanted, rtol=1e-6)
    assert decided.predicted.tolist() == [0, 2, 0]
    assert decided.decisions == ("fail", "pass", "review")


def test_the_served_graph_decides_the_same() -> None:
    from models.serving import ServingFacts, judge

    random = np.random.default_rng(0)
    for rule in (BINARY, SIX):
        logits = random.normal(0, 3, [500, len(rule.classes)]).astype(np.float32)
        facts = ServingFacts(
            classes=rule.classes,
            fail_classes=rule.fail_classes,
            positive_class=rule.positive_class,
            threshold=rule.threshold,
            cam_layer="",
            resize="letterbox",
            temperature=rule.temperature,
            log_shares=rule.log_shares,
            review_low=rule.review.low,
            review_high=rule.review.high,
            review_below=rule.review.least_probability,
        )
        served, decided = judge(logits, facts), rule.decide(logits)
        np.testing.assert_allclose(served["probabilities"], decided.probabilities, atol=1e-6)
        assert served["label_index"].numpy().tolist() == decided.predicted.tolist()
        answers = tuple(one.decode() for one in served["decision"].numpy())
        assert answers == decided.decisions
        assert set(answers) == {"pass", "fail", "review"}


def test_the_rule_is_chosen_in_calibrated_probabilities() -> None:
    # All too sure by a factor of 3.
    random = np.random.default_rng(0)
    odds = random.normal(0, 2, 4000)
    true = (random.uniform(size=4000) < expit(odds)).astype(np.int64)
    logits = np.stack([np.zeros(4000), 3 * odds], axis=1)
    rule, threshold = choose_rule(
        _facts(BINARY),
        logits,
        true,
        train_counts=(5, 5),
        target_recall=0.9,
        confidence=0.95,
        review_budget=0.1,
    )
    assert rule.temperature == pytest.approx(3, rel=0.1)
    assert threshold is not None
    assert threshold.threshold == rule.threshold
    caught = expit(3 * odds[true == 1] / rule.temperature) >= rule.threshold
    assert 0.9 <= caught.mean() < 0.93
    sent = np.mean([one == "review" for one in rule.decide(logits).decisions])
    assert sent == pytest.approx(0.1, abs=0.001)


def test_rare_defects_are_given_small_scores_that_come_true() -> None:
    # The network was trained as if 5 % were 50 %, and is too sure by a factor of 2.
    random = np.random.default_rng(0)
    true = (random.uniform(size=40_000) < 0.05).astype(np.int64)
    evidence = random.normal(2.0 * true - 1.0, 1.0)  # log-odds of 2 x by the two normal laws
    logits = np.stack([np.zeros(40_000), 2 * 2 * evidence], axis=1)
    rule, threshold = choose_rule(
        _facts(BINARY),
        logits,
        true,
        train_counts=(950, 50),
        target_recall=0.5,
        confidence=0.95,
        review_budget=0,
    )
    assert rule.temperature == pytest.approx(2, rel=0.05)
    scores = rule.decide(logits).probabilities[:, 1]
    assert scores.mean() == pytest.approx(0.05, abs=0.003)
    likely = (scores > 0.4) & (scores < 0.6)
    assert true[likely].mean() == pytest.approx(scores[likely].mean(), abs=0.04)
    # A recall of a half would let the threshold rise to where half the defects escape; it stays
    # where the picture speaks neither for nor against one.
    assert threshold is not None
    assert rule.threshold == pytest.approx(0.05, rel=1e-6)
    assert "capped at 0.05" in threshold.rule


@pytest.mark.parametrize("rule", [BINARY, SIX])
def test_a_rule_comes_back_from_json(rule: DecisionRule) -> None:
    logits = np.random.default_rng(0).normal(0, 1, [200, len(rule.classes)])
    chosen, threshold = choose_rule(
        _facts(rule),
        logits,
        logits.argmax(axis=1),
        train_counts=range(1, len(rule.classes) + 1),
        target_recall=0.9,
        confidence=0.9,
        review_budget=0.2,
    )
    text = json.dumps(format_rule(chosen, threshold), allow_nan=False)
    assert parse_rule(json.loads(text), _facts(rule)) == chosen
    assert (json.loads(text)["rule"] == ARGMAX_RULE) == (rule is SIX)


def test_half_a_rule_is_no_rule() -> None:
    values = format_rule(SIX, None)
    del values["temperature"]
    with pytest.raises(KeyError):
        parse_rule(values, _facts(SIX))
    with pytest.raises(TypeError):
        parse_rule(format_rule(SIX, None) | {"review": {"breadth": 1}}, _facts(SIX))
    assert dataclasses.replace(SIX, temperature=2.0) != SIX
