"""From logits to probabilities, classes and decisions: the rule, and how it is chosen.

The same rule as `models.serving.judge` holds in the SavedModel; `export` compares the two.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.calibration import fit_temperature, to_probabilities
from pipeline.evaluation.review import ReviewBand, choose_review_band
from pipeline.evaluation.threshold import ARGMAX_RULE, Threshold, choose_threshold, is_stopped
from pipeline.modelfacts import ModelFacts

PASS, FAIL, REVIEW = "pass", "fail", "review"

# Far beyond what is chosen, and still far from where float32 ends.
_LEAST_TEMPERATURE, _LEAST_LOG_SHARE = 1e-3, -100.0


@dataclass(frozen=True, eq=False)
class Decided:
    """What was decided of a number of pictures.

    Attributes:
        probabilities: float32 `[pictures, classes]`, calibrated.
        predicted: Class indices, int64 `[pictures]`: by the threshold with two classes, else the
            most probable.
        decisions: `pass`, `fail` or `review` `[pictures]`.
    """

    probabilities: npt.NDArray[np.float32]
    predicted: npt.NDArray[np.int64]
    decisions: tuple[str, ...]


@dataclass(frozen=True)
class DecisionRule:
    """All that turns a model's logits into decisions.

    Attributes:
        classes: Class names in the order of the logits.
        fail_classes: Those whose pictures do not pass.
        positive_class: With two classes the one that must be caught, else empty.
        threshold: With two classes the score from which on it is decided for, else 0.
        temperature: What logits are divided by.
        log_shares: What is then added: the logarithm of each class's share of the training split.
        review: Which pictures a person looks at.
    """

    classes: tuple[str, ...]
    fail_classes: tuple[str, ...]
    positive_class: str
    threshold: float
    temperature: float
    log_shares: tuple[float, ...]
    review: ReviewBand

    @functools.cached_property
    def positive(self) -> int | None:
        """Index of the positive class with two classes, else None."""
        return self.classes.index(self.positive_class) if self.positive_class else None

    def decide(self, logits: npt.NDArray[np.floating]) -> Decided:
        """Decides about pictures.

        Args:
            logits: `[pictures, classes]`.
        """
        probabilities = to_probabilities(logits, self.temperature, self.log_shares)
        if self.positive is None:
            predicted = probabilities.argmax(axis=1)
        else:
            stopped = is_stopped(probabilities[:, self.positive], self.threshold)
            predicted = np.where(stopped, self.positive, 1 - self.positive)
        fails = np.isin(np.array(self.classes), self.fail_classes)[predicted]
        unsure = self.review.contains(probabilities, positive=self.positive)
        decisions = np.where(unsure, REVIEW, np.where(fails, FAIL, PASS))
        return Decided(probabilities, predicted.astype(np.int64), tuple(decisions.tolist()))


def choose_rule(
    facts: ModelFacts,
    logits: npt.NDArray[np.floating],
    true: npt.NDArray[np.int64],
    *,
    train_counts: Sequence[int],
    target_recall: float,
    confidence: float,
    review_budget: float,
) -> tuple[DecisionRule, Threshold | None]:
    """Chooses temperature, threshold and review band, in this order, on the validation split.

    Args:
        facts: Of the model.
        logits: Of the validation pictures `[pictures, classes]`.
        true: Their class indices `[pictures]`.
        train_counts: Training pictures of each class.
        target_recall: As for `choose_threshold`.
        confidence: As for `choose_threshold`.
        review_budget: As for `choose_review_band`.

    Returns:
        The rule, and with two classes what speaks for the threshold.
    """
    shares = np.array(train_counts) / np.sum(train_counts)
    log_shares = np.log(shares)
    temperature = fit_temperature(logits, true, log_shares)
    probabilities = to_probabilities(logits, temperature, log_shares)
    positive, threshold = None, None
    if facts.positive_class:
        positive = facts.classes.index(facts.positive_class)
        threshold = choose_threshold(
            probabilities[:, positive],
            true == positive,
            target_recall=target_recall,
            confidence=confidence,
            # Where the picture itself speaks neither for nor against a defect.
            highest=float(shares[positive]),
        )
    value = threshold.threshold if threshold else 0.0
    review = choose_review_band(
        probabilities, budget=review_budget, positive=positive, threshold=value
    )
    rule = DecisionRule(
        classes=facts.classes,
        fail_classes=facts.fail_classes,
        positive_class=facts.positive_class,
        threshold=value,
        temperature=temperature,
        log_shares=tuple(log_shares.tolist()),
        review=review,
    )
    return rule, threshold


def format_rule(rule: DecisionRule, threshold: Threshold | None) -> dict[str, Any]:
    """The content of `threshold.json`."""
    chosen: dict[str, Any] = {"threshold": None, "rule": ARGMAX_RULE, "positive_class": ""}
    if threshold is not None:
        chosen = threshold.to_json(positive_class=rule.positive_class)
    return chosen | {
        "temperature": rule.temperature,
        "log_shares": list(rule.log_shares),
        "review": rule.review.to_json(positive=rule.positive),
    }


def parse_rule(values: Mapping[str, Any], facts: ModelFacts) -> DecisionRule:
    """The rule that `format_rule` wrote.

    Raises:
        KeyError: Something is missing.
        TypeError: Something is of another kind.
        ValueError: A number is none that a rule can have.
    """
    rule = DecisionRule(
        classes=facts.classes,
        fail_classes=facts.fail_classes,
        positive_class=facts.positive_class,
        threshold=float(values["threshold"] or 0.0),
        temperature=float(values["temperature"]),
        log_shares=tuple(map(float, values["log_shares"])),
        review=ReviewBand(**{name: float(value) for name, value in values["review"].items()}),
    )
    if not (_LEAST_TEMPERATURE <= rule.temperature <= 1 / _LEAST_TEMPERATURE):
        raise ValueError(f"temperature {rule.temperature:g}")
    if not 0 <= rule.threshold <= 1:
        raise ValueError(f"threshold {rule.threshold:g}")
    shares = rule.log_shares
    if len(shares) != len(facts.classes) or not all(_LEAST_LOG_SHARE <= x <= 0 for x in shares):
        raise ValueError(f"log_shares {shares[:3]} for {len(facts.classes)} classes")
    return rule
