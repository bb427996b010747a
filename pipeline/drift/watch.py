"""Watches whether new pictures still look like those the model was made with.

A window of the last pictures slides on; it is looked at as soon as a quarter of it is there and
then after every further quarter, so that what changes at once is seen within one window, whenever
it does. What was said is not said again until it has been over.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.drift.baseline import DriftBaseline, FloatArray, IntArray

WINDOW = 200
"""Pictures in a window."""
_LOOKS = 4  # a window
# Of its limit a shift must fall below before it counts as over: else one at the limit would be said
# again and again.
_OVER = 0.8


@dataclass(frozen=True)
class _Words:
    """How people speak of a statistic.

    Attributes:
        lower: What pictures with lower values are like; empty: nothing to warn of.
        higher: Likewise.
        figure: What the figure is called.
        format: How it is written.
        cause: Where to look.
    """

    lower: str
    higher: str
    figure: str
    format: str
    cause: str


_LIGHT = "lamp, exposure, gain"
_WORDS = {
    "mean_grey": _Words("darker", "brighter", "mean grey value", ".0f", _LIGHT),
    "contrast": _Words(
        "lower in contrast", "higher in contrast", "deviation of grey values", ".1f", _LIGHT
    ),
    "shadows": _Words("darker in the shadows", "brighter in the shadows", "1 % grey value", ".0f",
                      _LIGHT),
    "highlights": _Words("darker in the highlights", "brighter in the highlights",
                         "99.9 % grey value", ".0f", _LIGHT),
    "brightest": _Words("darker at their brightest pixel", "brighter at their brightest pixel",
                        "highest grey value", ".0f", _LIGHT),
    "comb": _Words("evener in their histogram", "uneven in their histogram, as by a digital gain",
                   "unevenness", ".3f", "gain, gamma or format of the camera"),
    "sharpness": _Words("less sharp", "sharper or noisier", "finest over coarser detail (log2)",
                        ".2f", "focus, vibration, dirt on the lens, compression"),
    "noise": _Words("lower in pixel noise", "higher in pixel noise", "noise (log2 of grey values)",
                    ".2f", "exposure, gain, filter or compression of the camera"),
    "confidence": _Words("judged with less confidence", "", "highest probability", ".3f",
                         "parts or defects the model has not seen"),
    "feature_distance": _Words("", "unlike their class to the model", "distance of features",
                               ".2f", "parts or defects the model has not seen"),
    "reconstruction_error": _Words("", "reconstructed worse", "error in grey values", ".2f",
                                   "parts or defects the model has not seen"),
}  # fmt: skip


@dataclass(frozen=True)
class Movement:
    """A statistic that is not what it was.

    Attributes:
        name: Of the statistic.
        split: What it is compared with: pictures of `train` or `validation`.
        before: What is usual for pictures of such classes: the mean of the medians of the classes.
        now: The same of the window.
        share: Probability that a picture of the window has a higher value than a reference picture
            of its class, in [0, 1].
        limit: How far it may be from 0.5.
    """

    name: str
    split: str
    before: float
    now: float
    share: float
    limit: float

    def __str__(self) -> str:
        words = _WORDS.get(self.name) or _Words("lower", "higher", self.name, ".4g", "the camera")
        is_lower = self.share < 0.5
        share = 1 - self.share if is_lower else self.share
        reference = {"train": "training"}.get(self.split, self.split)
        return (
            f"pictures are {words.lower if is_lower else words.higher}: {words.figure} "
            f"{self.now:z{words.format}} where {reference} pictures have "
            f"{self.before:z{words.format}}; {'lower' if is_lower else 'higher'} in "
            f"{100 * share:.0f} of 100 comparisons, usual are up to "
            f"{100 * (0.5 + self.limit):.0f}. Look at: {words.cause}"
        )


@dataclass(frozen=True)
class Drift:
    """A window of pictures that do not look like the reference pictures.

    Attributes:
        first: Number of its first picture; the first one of all has the number 1.
        last: Number of its last picture.
        movements: The statistics that moved, that furthest beyond its limit first.
    """

    first: int
    last: int
    movements: tuple[Movement, ...]

    def __str__(self) -> str:
        head = f"Drift: pictures {self.first} to {self.last} do not look like those the model knows"
        return "\n".join([f"{head}:", *(f"  {one}" for one in self.movements)])

    def to_json(self) -> dict[str, Any]:
        """The same as nested dicts and lists."""
        return asdict(self)


class DriftWatch:
    """Looks at pictures in the order in which they are judged.

    Args:
        baseline: Of the SavedModel that judges them.
        window: Pictures in a window, at least 4.
    """

    def __init__(self, baseline: DriftBaseline, *, window: int = WINDOW) -> None:
        if window < _LOOKS:
            raise ValueError(f"a window has at least {_LOOKS} pictures; received {window}")
        self._baseline = baseline
        self._window = window
        self._statistics = np.empty([0, len(baseline.references)])
        self._decided = np.empty([0], np.int64)
        self._seen = 0
        self._said: frozenset[str] = frozenset()

    @property
    def has_looked(self) -> bool:
        """Whether there were enough pictures for a first look."""
        return self._seen >= self._window // _LOOKS

    def add(self, statistics: FloatArray, decided: IntArray) -> Drift | None:
        """Takes in pictures.

        Args:
            statistics: As the SavedModel's `monitor` gives them `[batch, statistics]`.
            decided: Its `label_index` `[batch]`.

        Returns:
            What is to be said: a statistic is off its limit that was not when last said. Of
            several looks at one large batch the last that has something to say.

        Raises:
            ValueError: Shapes do not fit the baseline.
        """
        if statistics.shape != (len(decided), len(self._baseline.references)):
            raise ValueError(
                f"statistics {statistics.shape} and classes {decided.shape} do not fit a baseline "
                f"of {len(self._baseline.references)}"
            )
        stride = self._window // _LOOKS
        drift = None
        while len(decided):
            count = stride - self._seen % stride
            self._append(statistics[:count], decided[:count])
            statistics, decided = statistics[count:], decided[count:]
            if self._seen % stride == 0:
                drift = self._look() or drift
        return drift

    def _append(self, statistics: FloatArray, decided: IntArray) -> None:
        self._statistics = np.concatenate([self._statistics, statistics])[-self._window :]
        self._decided = np.concatenate([self._decided, decided])[-self._window :]
        self._seen += len(decided)

    def _look(self) -> Drift | None:
        movements = self._measure()
        moved = {one.name for one in movements if abs(one.share - 0.5) > one.limit}
        near = {one.name for one in movements if abs(one.share - 0.5) > _OVER * one.limit}
        is_new = not moved <= self._said
        self._said = frozenset(moved | (self._said & near))
        if not is_new:
            return None
        told = sorted(
            (one for one in movements if one.name in moved),
            key=lambda one: -abs(one.share - 0.5) / one.limit,
        )
        return Drift(self._seen - len(self._decided) + 1, self._seen, tuple(told))

    def _measure(self) -> list[Movement]:
        """All statistics that are off in a direction that is worth a warning."""
        shares = self._baseline.rank(self._statistics, self._decided).mean(axis=0)
        before, now = self._baseline.medians(self._statistics, self._decided)
        limits = self._baseline.limits(self._decided)
        columns = zip(self._baseline.references, before, now, shares, limits, strict=True)
        movements = [
            Movement(one.name, one.split, *map(float, figures)) for one, *figures in columns
        ]
        return [one for one in movements if _is_worth_saying(one)]


def _is_worth_saying(movement: Movement) -> bool:
    words = _WORDS.get(movement.name)
    return words is None or bool(words.lower if movement.share < 0.5 else words.higher)
