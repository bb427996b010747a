"""From which score on a picture is stopped: a recall that holds, not one that was seen once.

The threshold is an order statistic of the scores that the positive validation pictures got. With
`n` of them, the (k+1)-th smallest score as threshold lets more than `1 - recall` of all future
positives escape with a probability of at most `P(Binomial(n, 1 - recall) <= k)`, whatever the
distribution of the scores is (S. S. Wilks, Ann. Math. Statist. 12 (1941) 91: tolerance limits). The
largest `k` for which this is at most `1 - confidence` gives the fewest false calls.

Two things the promise rests on: future pictures come from where the validation pictures came
from, and the validation pictures had no part in training. They do choose the epoch whose weights
are kept, which makes the promise a little optimistic; the test split shows whether it held.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import beta, binom

MARGIN = 1e-3
"""How far the threshold lies below the score that sets it, as a share of that score. Another
processor rounds a score by some 1e-6 of it; on the threshold itself that would be an escape."""
ARGMAX_RULE = "the class with the highest probability"


@dataclass(frozen=True)
class Threshold:
    """A decision threshold and what speaks for it: a picture is positive iff score >= threshold.

    Attributes:
        threshold: In [0, 1]; a float32 value, so that no cast changes a decision.
        rule: How it was chosen, as a sentence for people.
        guaranteed: Whether the recall holds for future pictures with the confidence asked for.
        target_recall: Recall asked for, in (0, 1).
        confidence: Confidence asked for, in (0, 1).
        confidence_reached: Confidence with which the recall holds, `1 - P(Binomial <= k)`.
        recall_bound: Recall that holds for future pictures with the confidence asked for: the
            lower quantile of a beta distribution; 0 without positives.
        positives: Positive validation pictures.
        positives_needed: How many a guarantee takes at least.
        positives_missing: How many more would have been needed; 0 when guaranteed.
        negatives: Negative validation pictures.
        escapes: Positive validation pictures below the threshold.
        false_calls: Negative validation pictures not below it.
    """

    threshold: float
    rule: str
    guaranteed: bool
    target_recall: float
    confidence: float
    confidence_reached: float
    recall_bound: float
    positives: int
    positives_needed: int
    positives_missing: int
    negatives: int
    escapes: int
    false_calls: int

    def to_json(self, *, positive_class: str) -> dict[str, Any]:
        """The content of `threshold.json`."""
        return dataclasses.asdict(self) | {"positive_class": positive_class}


def choose_threshold(
    scores: npt.NDArray[np.floating],
    is_positive: npt.NDArray[np.bool_],
    *,
    target_recall: float = 0.95,
    confidence: float = 0.95,
    highest: float = 0.5,
) -> Threshold:
    """Chooses the decision threshold on the validation split.

    With too few positives for a guarantee the threshold is the smallest positive score: a single
    escape less seen is worth more than false calls, and 58 positives then allow no more misses
    than 59 do. Either is capped at `highest`: a higher threshold would risk escapes for pictures
    that the model itself takes for positive. Last it is lowered by `MARGIN`; lowering never breaks
    the promise.

    Args:
        scores: Probability of the positive class `[pictures]`, in [0, 1]; taken as float32.
        is_positive: Whether a picture is of the positive class `[pictures]`.
        target_recall: Share of the positives to be caught, in (0, 1).
        confidence: Probability that the promise holds, in (0, 1).
        highest: Score from which on the model itself takes a picture for positive, in (0, 1).

    Raises:
        ValueError: Shapes differ, a score is outside [0, 1] or not a number, or a share is
            outside (0, 1).
    """
    scores = np.asarray(scores, np.float32)
    _check(scores, is_positive, target_recall, confidence)
    positive_scores = np.sort(scores[is_positive])
    positives = len(positive_scores)
    needed = count_positives_needed(target_recall=target_recall, confidence=confidence)
    misses = allowed_misses(positives, target_recall=target_recall, confidence=confidence)
    guaranteed = misses >= 0
    misses = max(misses, 0)
    wanted = float(positive_scores[misses]) if positives else math.inf
    threshold = float(np.float32(min(wanted * (1 - MARGIN), highest)))
    stopped = is_stopped(scores, threshold)
    rule = _describe_choice(misses, positives, wanted, highest) + _describe_promise(
        positives, needed, target_recall, confidence
    )
    return Threshold(
        threshold=threshold,
        rule=rule,
        guaranteed=guaranteed,
        target_recall=target_recall,
        confidence=confidence,
        confidence_reached=1.0 - float(binom.cdf(misses, positives, 1.0 - target_recall)),
        recall_bound=bound_recall(positives, misses, confidence=confidence),
        positives=positives,
        positives_needed=needed,
        positives_missing=max(needed - positives, 0),
        negatives=len(scores) - positives,
        escapes=int((is_positive & ~stopped).sum()),
        false_calls=int((~is_positive & stopped).sum()),
    )


def is_stopped(scores: npt.NDArray[np.floating], threshold: float) -> npt.NDArray[np.bool_]:
    """Whether each score reaches the threshold, compared in float32 as the served model does."""
    return np.asarray(scores, np.float32) >= np.float32(threshold)


@functools.cache
def allowed_misses(positives: int, *, target_recall: float, confidence: float) -> int:
    """The largest `k` with `P(Binomial(positives, 1 - target_recall) <= k) <= 1 - confidence`.

    Returns:
        The number of positive validation pictures that may stay below the threshold; -1 when even
        0 is too many, that is, with too few positives.
    """
    counts = np.arange(positives + 1)
    return int((binom.cdf(counts, positives, 1.0 - target_recall) <= 1.0 - confidence).sum()) - 1


def bound_recall(positives: int, misses: int, *, confidence: float) -> float:
    """The recall that holds with `confidence` when `misses` of `positives` lie below the threshold.

    The share of all positives that reach an order statistic of theirs has a beta distribution
    (S. S. Wilks, see above), here with parameters `positives - misses` and `misses + 1`.
    """
    if not positives:
        return 0.0
    return float(beta.ppf(1.0 - confidence, positives - misses, misses + 1))


@functools.cache
def count_positives_needed(*, target_recall: float, confidence: float) -> int:
    """The fewest positives for which a guarantee exists: `target_recall ** n <= 1 - confidence`."""
    about = max(int(math.log1p(-confidence) / math.log(target_recall)) - 1, 1)
    while allowed_misses(about, target_recall=target_recall, confidence=confidence) < 0:
        about += 1
    return about


def _describe_choice(misses: int, positives: int, wanted: float, highest: float) -> str:
    if not positives:
        return f"{highest:.4g}, because no validation picture is positive"
    rank = "the smallest" if misses == 0 else f"number {misses + 1} from below"
    chosen = f"{rank} of {positives} positive validation scores"
    return f"{chosen} ({wanted:.4g}), capped at {highest:.4g}" if wanted > highest else chosen


def _describe_promise(positives: int, needed: int, target_recall: float, confidence: float) -> str:
    promise = f"a recall of at least {target_recall:.4g} with {confidence:.4g} confidence"
    if positives >= needed:
        return f": {promise} for pictures like these"
    more = needed - positives
    return f"; too few to promise {promise}, which takes {needed}: {more} more"


def _check(
    scores: npt.NDArray[np.float32],
    is_positive: npt.NDArray[np.bool_],
    target_recall: float,
    confidence: float,
) -> None:
    if scores.ndim != 1 or scores.shape != is_positive.shape or is_positive.dtype != np.bool_:
        raise ValueError(
            f"scores {scores.shape} and is_positive {is_positive.shape} {is_positive.dtype} must "
            "be of one length, the latter booleans"
        )
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError("a score is outside 0 to 1 or not a number")
    if not (0 < target_recall < 1 and 0 < confidence < 1):
        raise ValueError(f"shares must be in (0, 1); received {target_recall} and {confidence}")
