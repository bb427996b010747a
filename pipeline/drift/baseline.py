"""What reference pictures look like, and how far clean pictures may be from that.

A picture is compared with reference pictures of the class it is decided to be: each of its
statistics becomes a rank, the share of reference pictures with a lower value. So a window of
another mix of classes is nothing new, and no unit or distribution needs to be known. The mean rank
of a window is 0.5 where nothing changed; it is the probability that a new picture has the higher
value when it is compared with a reference picture (H. B. Mann and D. R. Whitney, Annals of
Mathematical Statistics 18 (1947) 50).

How far a clean window may be off is not a matter of chance alone: light and material differ from
day to day. Pictures with names near each other were mostly taken near each other, so
`pipeline.drift.fit` puts the pictures of a class in the order of their names and cuts them into
runs; how far a run is from the others says how far a clean window of that class may be.
Classes count as independent, so the limit of a window of many classes is the tighter one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from records.atomic import write_json
from records.errors import InputError
from records.untrusted import read_json

DRIFT_BASELINE = "assets.extra/drift.json"
"""Where a SavedModel carries it."""

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.integer]

# Deviations between clean runs that a window may be off: the deviation itself is known from few
# runs, and many statistics are looked at many times.
_DEVIATIONS = 4.0
# A smaller shift than the first is no matter to anybody. At the second next to every picture is
# beyond the reference pictures, and no reference can explain that.
_LEAST_LIMIT, _LARGEST_LIMIT = 0.15, 0.45
_FORM = 1
_LARGEST_NUMBER = 1e30  # Statistics are float32, and are added up.


@dataclass(frozen=True)
class Reference:
    """What one statistic is among reference pictures.

    Attributes:
        name: Of the statistic.
        split: What it was measured on: `train` or `validation`.
        samples: Its values in ascending order, for each class; empty for a class of few pictures,
            which is not compared. At the end those of all pictures, if each class has few: then
            all are compared with these.
        spread: Standard deviation of the mean rank of a run of pictures of one class from 0.5.
    """

    name: str
    split: str
    samples: tuple[tuple[float, ...], ...]
    spread: float


@dataclass(frozen=True)
class DriftBaseline:
    """What the statistics are among reference pictures.

    Attributes:
        classes: Class names in the order of their indices.
        references: One for each statistic, in the order of the `statistics` of the SavedModel.
    """

    classes: tuple[str, ...]
    references: tuple[Reference, ...]

    def rank(self, statistics: FloatArray, decided: IntArray) -> npt.NDArray[np.float64]:
        """Ranks pictures among the reference pictures of their class.

        Args:
            statistics: `[pictures, statistics]`.
            decided: Class indices `[pictures]`.

        Returns:
            `[pictures, statistics]`, 0 to 1: the share of reference pictures with a lower value,
            and half of the share of those with the same. 0.5 for a class without a sample.
        """
        ranks = np.full(statistics.shape, 0.5)
        for column, reference in enumerate(self.references):
            for sample, rows in self._split(reference, decided):
                ranks[rows, column] = rank_among(statistics[rows, column], sample)
        return ranks

    def limits(self, decided: IntArray) -> npt.NDArray[np.float64]:
        """How far the mean rank of a clean window may be from 0.5, `[statistics]`.

        Args:
            decided: Class indices of the window's pictures `[pictures]`, at least one.
        """
        variances = np.empty(len(self.references))
        for column, reference in enumerate(self.references):
            shares = np.array([rows.mean() for _, rows in self._split(reference, decided)])
            # That of the mean of a class's few runs, and of the mean of so many uniform ranks.
            by_chance = np.sum(shares) / (12 * len(decided))
            variances[column] = np.sum(shares**2) * reference.spread**2 + by_chance
        return np.clip(_DEVIATIONS * np.sqrt(variances), _LEAST_LIMIT, _LARGEST_LIMIT)

    def medians(self, statistics: FloatArray, decided: IntArray) -> npt.NDArray[np.float64]:
        """What is usual for pictures of such classes, and what these have.

        Args:
            statistics: `[pictures, statistics]`.
            decided: Class indices `[pictures]`.

        Returns:
            `[2, statistics]`, the mean of the medians of the classes that have a sample, weighted
            by how many of the pictures are of each; NaN where none has one.
        """
        medians = np.full([2, len(self.references)], np.nan)
        for column, reference in enumerate(self.references):
            parts = self._split(reference, decided)
            pairs = [
                (np.median(sample), np.median(statistics[rows, column])) for sample, rows in parts
            ]
            if pairs:
                weights = [rows.sum() for _, rows in parts]
                medians[:, column] = np.average(pairs, axis=0, weights=weights)
        return medians

    def write(self, path: Path) -> None:
        """Writes it as JSON, whole or not at all."""
        references = [
            {
                "name": one.name,
                "split": one.split,
                "samples": dict(zip((*self.classes, ""), one.samples, strict=True)),
                "spread": one.spread,
            }
            for one in self.references
        ]
        write_json(path, {"form": _FORM, "classes": self.classes, "references": references})

    @classmethod
    def read(cls, path: Path) -> DriftBaseline:
        """Reads what `write` wrote.

        Raises:
            InputError: The file is damaged or was written by another version.
        """
        try:
            values = read_json(path)
            if values["form"] != _FORM:
                raise ValueError(f"its form is {values['form']!r}")
            return _parse(values)
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path} cannot be read as a baseline of drift: {error}.",
                "Run the stage export again (--stage=export).",
            ) from error

    def _split(
        self, reference: Reference, decided: IntArray
    ) -> list[tuple[tuple[float, ...], npt.NDArray[np.bool_]]]:
        """The samples that pictures are compared with, and which pictures each is for."""
        if reference.samples[-1]:
            return [(reference.samples[-1], np.ones(len(decided), bool))]
        parts = ((sample, decided == index) for index, sample in enumerate(reference.samples))
        return [(sample, rows) for sample, rows in parts if sample and rows.any()]


def rank_among(values: npt.ArrayLike, sample: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The share of a sample below each value, and half of the share of the same value.

    Compared in float32, in which statistics are measured: what was equal then is equal after it has
    been written in decimals.

    Args:
        values: `[n]`.
        sample: In ascending order, at least one.
    """
    ordered = np.asarray(sample, np.float32)
    wanted = np.asarray(values, np.float32)
    below = np.searchsorted(ordered, wanted, side="left")
    up_to = np.searchsorted(ordered, wanted, side="right")
    return (below + up_to) / (2 * len(ordered))


def _parse(values: Mapping[str, Any]) -> DriftBaseline:
    classes = tuple(map(str, values["classes"]))
    references = tuple(
        Reference(
            name=str(one["name"]),
            split=str(one["split"]),
            samples=tuple(tuple(map(float, one["samples"][name])) for name in (*classes, "")),
            spread=float(one["spread"]),
        )
        for one in values["references"]
    )
    for one in references:
        numbers = [*(value for sample in one.samples for value in sample), one.spread]
        if any(abs(number) > _LARGEST_NUMBER for number in numbers):
            raise ValueError(f"a number of {one.name} is too large")
    return DriftBaseline(classes, references)
