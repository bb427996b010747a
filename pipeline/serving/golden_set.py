"""Pictures with the answers that a SavedModel must give, and the few of them that travel with it.

The golden set lies in the SavedModel's `assets.extra/golden/`: `golden.tfrecord`, records as they
are; `golden.json`, what must be said of them; `check.py`, the program that asks. So whoever copies
the SavedModel to another machine can check it there. TensorFlow Serving passes over what it does
not know in `assets.extra`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.decision import DecisionRule
from pipeline.evaluation.predictions import Predictions
from records.atomic import replacing, write_json, write_text
from records.manifest import file_digest
from records.schema import decode_example
from records.tfrecord import frame, read_frames

FOLDER = Path("assets.extra", "golden")
CHECKER, SHEET = FOLDER / "check.py", FOLDER / "golden.json"
"""In a SavedModel: the program that asks, and what must be answered."""

_RECORDS = Path("golden.tfrecord")
_NEAREST, _FARTHEST = 2, 1
# Another processor's rounding must not change a golden picture's decision.
_LEAST_MARGIN = 1e-4


@dataclass(frozen=True, eq=False)
class PictureSet:
    """Pictures and what is to be said of them.

    Attributes:
        name: Such as `validation`.
        shards: TFRecord files that hold them.
        expected: The answers of the evaluated model, in the order of the records.
    """

    name: str
    shards: tuple[Path, ...]
    expected: Predictions


@dataclass(frozen=True, eq=False)
class GoldenSet:
    """A few pictures of every class.

    Attributes:
        records: As they are in the shards.
        expected: What is to be said of them.
    """

    records: tuple[bytes, ...]
    expected: Predictions

    @property
    def pictures(self) -> list[bytes]:
        """The pictures' own bytes."""
        return [decode_example(record).encoded for record in self.records]


def choose_golden_set(pictures: PictureSet, rule: DecisionRule) -> GoldenSet:
    """Takes of every class the pictures nearest to another decision and the farthest from it.

    Those so near that another processor's rounding may decide otherwise are passed over, unless a
    class has no others.

    Args:
        pictures: Of the validation split.
        rule: What their answers were decided by.
    """
    expected = pictures.expected
    margins = measure_margins(expected.probabilities, rule)
    chosen: set[int] = set()
    for rows in rows_by_class(expected):
        safe = [row for row in rows if margins[row] >= _LEAST_MARGIN] or rows
        ordered = sorted(safe, key=lambda row: margins[row])
        chosen |= {*ordered[:_NEAREST], *ordered[-_FARTHEST:]}
    records = enumerate(itertools.chain.from_iterable(map(read_frames, pictures.shards)))
    return GoldenSet(
        records=tuple(record for row, record in records if row in chosen),
        expected=expected.take(sorted(chosen)),
    )


def measure_margins(
    probabilities: npt.NDArray[np.floating], rule: DecisionRule
) -> npt.NDArray[np.float64]:
    """How much a probability would have to change for another label or decision `[pictures]`.

    With two classes the distance of the score from the threshold or the review band's ends; with
    more, the lead of the most probable class or its distance from where review begins.
    """
    rows = np.asarray(probabilities, np.float64)
    if rule.positive is not None:
        band = (rule.review.low, rule.review.high)
        edges = (rule.threshold, *(band if band[0] < band[1] else ()))
        return np.abs(rows[:, [rule.positive]] - edges).min(axis=1)
    second, first = np.sort(rows, axis=1)[:, -2:].T
    to_review = np.abs(first - rule.review.least_probability)
    return np.minimum(first - second, to_review)


def write_golden_set(
    candidate: Path, golden: GoldenSet, *, tolerance: float, checker: Path
) -> None:
    """Writes records, answers and program into a SavedModel.

    Everything else that it consists of must be there: `golden.json` has the digests of all files.

    Args:
        candidate: Folder of the SavedModel.
        golden: What to write.
        tolerance: By how much a probability may differ.
        checker: The program `models/clean_session.py`.
    """
    with replacing(candidate / FOLDER / _RECORDS) as draft, draft.open("wb") as file:
        file.writelines(map(frame, golden.records))
    write_text(candidate / CHECKER, checker.read_text(encoding="utf-8"))
    files = sorted(path for path in candidate.rglob("*") if path.is_file())
    pictures = PictureSet(FOLDER.name, (_RECORDS,), golden.expected)
    digests = {path.relative_to(candidate).as_posix(): file_digest(path) for path in files}
    sheet = format_sheet(pictures, tolerance=tolerance)
    write_json(candidate / SHEET, sheet | {"files": digests, "model": golden.expected.model})


def format_sheet(
    pictures: PictureSet, *, tolerance: float, closely: Sequence[str] | None = None
) -> dict[str, Any]:
    """What `models/clean_session.py` reads; its docstring has the form."""
    expected = pictures.expected
    rows = zip(
        expected.source_ids, expected.digests, expected.predicted, expected.decisions,
        expected.probabilities.tolist(), strict=True,
    )  # fmt: skip
    return {
        "name": pictures.name,
        "records": list(map(str, pictures.shards)),
        "classes": list(expected.classes),
        "tolerance": tolerance,
        "closely": closely,
        "files": {},
        "pictures": [
            {
                "source_id": name,
                "sha256": digest,
                "label": expected.classes[index],
                "decision": decision,
                "probabilities": probabilities,
            }
            for name, digest, index, decision, probabilities in rows
        ],
    }


def rows_by_class(expected: Predictions) -> Iterator[list[int]]:
    """The rows of each true class that there is, in the order of the classes."""
    for index in sorted(set(expected.true.tolist())):
        yield np.flatnonzero(expected.true == index).tolist()
