"""A rate and how sure one can be of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import beta


@dataclass(frozen=True)
class Rate:
    """`count` of `of`, with the two-sided 95 % Clopper-Pearson interval.

    Attributes:
        count: How many.
        of: Out of how many.
        value: `count / of`; `None` when `of` is 0, as are the two bounds.
        low: Lower bound of the interval.
        high: Upper bound of the interval.
    """

    count: int
    of: int
    value: float | None
    low: float | None
    high: float | None


def measure_rate(*, count: int, of: int, confidence: float = 0.95) -> Rate:
    """A rate and its exact two-sided interval.

    C. J. Clopper and E. S. Pearson, Biometrika 26 (1934) 404: each tail holds at most
    `(1 - confidence) / 2`, so the interval covers the true rate at least as often as it says.

    Raises:
        ValueError: `count` is not within 0 and `of`.
    """
    if not 0 <= count <= of:
        raise ValueError(f"count must be within 0 and {of}; received {count}")
    if of == 0:
        return Rate(0, 0, None, None, None)
    tail = (1.0 - confidence) / 2.0
    low = beta.ppf(tail, count, of - count + 1) if count > 0 else 0.0
    high = beta.ppf(1.0 - tail, count + 1, of - count) if count < of else 1.0
    return Rate(count, of, count / of, float(low), float(high))


def measure_share(is_so: npt.NDArray[np.bool_], among: npt.NDArray[np.bool_]) -> Rate:
    """The rate of pictures for which `is_so` holds out of those for which `among` does.

    Args:
        is_so: `[pictures]`.
        among: `[pictures]`.
    """
    return measure_rate(count=int((is_so & among).sum()), of=int(among.sum()))


def format_per_cent(fraction: float, *, digits: int = 1) -> str:
    """A fraction in per cent, without the sign; only 0 and 1 themselves read as 0 and 100.

    Args:
        fraction: In [0, 1].
        digits: Behind the decimal point.
    """
    if fraction in (0, 1):
        return f"{100 * fraction:.0f}"
    least = 10.0**-digits
    if 100 * fraction < least / 2:
        return f"<{least:g}"
    if 100 * (1 - fraction) < least / 2:
        return f">{100 - least:g}"
    return f"{100 * fraction:.{digits}f}"
