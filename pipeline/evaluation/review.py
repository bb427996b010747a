"""Which pictures a person should look at: the least certain, as many as there is time for.

With two classes the band lies around the threshold: the scores whose log-odds are nearest to the
threshold's. With more, the pictures whose most probable class is least probable. Where the band
ends is chosen on the validation split; how many pictures fall into it elsewhere is measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

# Between the last picture in the band and the first outside, in log-odds and in probability (near 1
# float32 knows no less): another processor's rounding must not move a picture across.
_LEAST_GAP, _LEAST_DIFFERENCE = 1e-4, 1e-6
_SURE = 2.0**-20  # about 1e-6; it and its difference from 1 are float32 values


@dataclass(frozen=True)
class ReviewBand:
    """What goes to a person. Without a budget nothing does.

    Attributes:
        budget: Share of the pictures that a person can look at, in [0, 1).
        low: With two classes: scores from `low` on and below `high` go to a person. float32 value.
        high: See `low`.
        least_probability: With more classes: pictures whose highest probability is below this do.
        validation_share: Share of the validation split that is in the band, at most `budget`.
    """

    budget: float = 0.0
    low: float = 0.0
    high: float = 0.0
    least_probability: float = 0.0
    validation_share: float = 0.0

    def contains(
        self, probabilities: npt.NDArray[np.floating], *, positive: int | None
    ) -> npt.NDArray[np.bool_]:
        """Whether each picture goes to a person, compared in float32 as the served model does.

        Args:
            probabilities: `[pictures, classes]`.
            positive: With two classes the index of the positive one, else None.
        """
        rows = np.asarray(probabilities, np.float32)
        if positive is None:
            return rows.max(axis=1) < np.float32(self.least_probability)
        scores = rows[:, positive]
        return (scores >= np.float32(self.low)) & (scores < np.float32(self.high))

    def to_json(self, *, positive: int | None) -> dict[str, Any]:
        """What applies of it, for `threshold.json`."""
        common = {"budget": self.budget, "validation_share": self.validation_share}
        if positive is None:
            return common | {"least_probability": self.least_probability}
        return common | {"low": self.low, "high": self.high}


def choose_review_band(
    probabilities: npt.NDArray[np.floating],
    *,
    budget: float,
    positive: int | None,
    threshold: float = 0.0,
) -> ReviewBand:
    """Chooses the band on the validation split: as wide as the budget allows.

    Args:
        probabilities: `[pictures, classes]`, in [0, 1].
        budget: Share of the pictures in it at most, in [0, 1).
        positive: With two classes the index of the positive one, else None.
        threshold: With two classes the score from which on a picture is positive.

    Raises:
        ValueError: The budget is not in [0, 1).
    """
    if not 0 <= budget < 1:
        raise ValueError(f"budget must be in [0, 1); received {budget}")
    distances = np.sort(measure_certainty(probabilities, positive=positive, threshold=threshold))
    centre = 0.0 if positive is None else _log_odds_of(threshold)
    reach, inside = _find_gap(distances, centre, most=int(budget * len(distances) + 1e-9))
    if not inside:
        return ReviewBand(
            budget=budget, low=float(np.float32(threshold)), high=float(np.float32(threshold))
        )
    share = inside / len(distances)
    if positive is None:
        return ReviewBand(budget, least_probability=_to_float32(reach), validation_share=share)
    return ReviewBand(
        budget,
        low=_to_float32(centre - reach),
        high=_to_float32(centre + reach),
        validation_share=share,
    )


def measure_certainty(
    probabilities: npt.NDArray[np.floating], *, positive: int | None, threshold: float = 0.0
) -> npt.NDArray[np.float64]:
    """How far each picture is from another decision, in log-odds: what is least goes to a person.

    Args:
        probabilities: `[pictures, classes]`, in [0, 1].
        positive: As for `choose_review_band`.
        threshold: As for `choose_review_band`.

    Returns:
        With two classes the distance of the score from the threshold, else the log-odds of the
        highest probability `[pictures]`; infinite where a probability is as good as 0 or 1.
    """
    if positive is None:
        return _log_odds(probabilities.max(axis=1))
    return np.abs(_log_odds(probabilities[:, positive]) - _log_odds_of(threshold))


def _find_gap(distances: npt.NDArray[np.float64], centre: float, *, most: int) -> tuple[float, int]:
    """A distance between two neighbours such that at most `most` are below it, and how many are."""
    # Who is certain is never asked; there is always a gap before them.
    unsure = distances[np.isfinite(distances)]
    for inside in range(min(most, len(unsure)), 0, -1):
        below = unsure[inside - 1]
        above = unsure[inside] if inside < len(unsure) else below + 1.0
        difference = expit(centre + above) - expit(centre + below)
        if above - below > _LEAST_GAP and difference > _LEAST_DIFFERENCE:
            return float(below + above) / 2, inside
    return 0.0, 0


def _log_odds(probabilities: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Infinite where a probability is as good as 0 or 1."""
    values = np.asarray(probabilities, np.float64)
    odds = logit(np.clip(values, _SURE, 1 - _SURE))
    return np.where(values < _SURE, -np.inf, np.where(values > 1 - _SURE, np.inf, odds))


def _log_odds_of(threshold: float) -> float:
    return float(_log_odds(max(threshold, _SURE)))


def _to_float32(log_odds: float) -> float:
    # Never so far out that it takes in who is certain.
    return float(np.float32(np.clip(expit(log_odds), _SURE, 1 - _SURE)))
