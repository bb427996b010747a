"""Whether a probability means what it says, and what mends it.

A trained network is mostly too sure: its logits are divided by a temperature, fitted on the
validation split (C. Guo, G. Pleiss, Y. Sun and K. Weinberger, "On calibration of modern neural
networks", ICML 2017). And all classes count alike in its training, however rare they are: what it
says holds where each is equally frequent. The logarithm of each class's share of the training split
is added, which by Bayes' rule makes it hold for pictures mixed as those are (M. Saerens, P. Latinne
and C. Decaestecker, Neural Computation 14 (2002) 21, equation 2.4).
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from pipeline.evaluation.rates import Rate, measure_rate

BINS = 15
"""As in the paper."""
_LOWEST, _HIGHEST = 0.05, 20.0


@dataclass(frozen=True)
class Bin:
    """Pictures of about the same probability.

    Attributes:
        low: Lower edge; probabilities are above it, in the first bin not below it.
        high: Upper edge, which belongs to the bin.
        mean: Mean probability; `None` without pictures.
        observed: How often what the probability was given to was so.
    """

    low: float
    high: float
    mean: float | None
    observed: Rate


@dataclass(frozen=True)
class Reliability:
    """How far probabilities are from frequencies.

    Attributes:
        of: What the probability is of: `positive_class`, or `predicted` with more classes.
        expected_calibration_error: Mean distance of a bin's mean probability from the observed
            frequency, weighted by its pictures, in [0, 1].
        bins: From the lowest to the highest probability, all of one width.
    """

    of: str
    expected_calibration_error: float
    bins: tuple[Bin, ...]

    def to_json(self) -> dict[str, Any]:
        """The same as nested dicts and lists."""
        return dataclasses.asdict(self)


def fit_temperature(
    logits: npt.NDArray[np.floating],
    true: npt.NDArray[np.integer],
    log_shares: npt.ArrayLike = 0.0,
) -> float:
    """The temperature that makes the validation split most likely.

    A split without an error would ask for a temperature of 0, that is, for certainty. So the
    logarithm of the temperature has a normal prior of mean 0 and deviation 1: what is found is the
    most probable temperature, and a few pictures do not move it far from 1.

    Args:
        logits: `[pictures, classes]`, finite.
        true: Class indices `[pictures]`.
        log_shares: As for `to_probabilities`.

    Returns:
        In [0.05, 20]; 1 without pictures.

    Raises:
        ValueError: Shapes do not fit, or a logit is not finite.
    """
    if logits.ndim != 2 or true.shape != logits.shape[:1] or logits.shape[1] < 2:
        raise ValueError(f"logits {logits.shape} and classes {true.shape} do not fit")
    if not np.isfinite(logits).all():
        raise ValueError("a logit is not finite")
    if not len(true):
        return 1.0
    rows, shares = logits.astype(np.float64), np.asarray(log_shares, np.float64)
    own = np.arange(len(true)), true

    def cost(log: float) -> float:
        likely = log_softmax(rows / math.exp(log) + shares, axis=1)[own].sum()
        return float(log**2 / 2 - likely)

    found = minimize_scalar(
        cost,
        bounds=(math.log(_LOWEST), math.log(_HIGHEST)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return math.exp(found.x)


def to_probabilities(
    logits: npt.NDArray[np.floating], temperature: float, log_shares: npt.ArrayLike = 0.0
) -> npt.NDArray[np.float32]:
    """`softmax(logits / temperature + log_shares)` in float32, as the SavedModel computes it.

    Args:
        logits: `[pictures, classes]`.
        temperature: Above 0.
        log_shares: Logarithm of each class's share of the pictures `[classes]`; 0: all alike.
    """
    scaled = logits.astype(np.float32) / np.float32(temperature)
    scaled = scaled + np.asarray(log_shares, np.float32)
    return np.exp(log_softmax(scaled, axis=1)).astype(np.float32)


def measure_reliability(
    probabilities: npt.NDArray[np.floating],
    true: npt.NDArray[np.integer],
    *,
    positive: int | None,
) -> Reliability:
    """Sorts pictures into bins by probability and counts how often it came true.

    Args:
        probabilities: `[pictures, classes]`, in [0, 1].
        true: Class indices `[pictures]`.
        positive: With two classes the index of the positive one, whose probability is looked at;
            else None: then the highest probability is, and whether that class was right.
    """
    if positive is None:
        values, is_true = probabilities.max(axis=1), probabilities.argmax(axis=1) == true
    else:
        values, is_true = probabilities[:, positive], true == positive
    rows = np.clip(np.ceil(values.astype(np.float64) * BINS) - 1, 0, BINS - 1).astype(int)
    bins = tuple(
        _fill_bin(index, values[rows == index], is_true[rows == index]) for index in range(BINS)
    )
    error = sum(
        one.observed.of * abs(one.mean - one.observed.value)
        for one in bins
        if one.mean is not None and one.observed.value is not None
    )
    return Reliability(
        of="predicted" if positive is None else "positive_class",
        expected_calibration_error=error / max(len(values), 1),
        bins=bins,
    )


def _fill_bin(index: int, values: npt.NDArray[np.floating], is_true: npt.NDArray[np.bool_]) -> Bin:
    return Bin(
        low=index / BINS,
        high=(index + 1) / BINS,
        mean=float(values.mean(dtype=np.float64)) if len(values) else None,
        observed=measure_rate(count=int(is_true.sum()), of=len(values)),
    )
