"""`predictions.csv`: the answer for each picture, readable by people and by programs.

Columns: `source_id, true, predicted, decision, score, p_<class>...`. `score` is the probability
of the positive class and empty with more than two classes; `true` is empty when nobody knows it.
Numbers have nine significant digits, enough to give back every float32 exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from records.atomic import write_text
from records.errors import InputError
from records.sheets import format_csv, parse_csv

UNKNOWN = -1
_FIXED = ("source_id", "true", "predicted", "decision", "score")
_PREFIX = "p_"


@dataclass(frozen=True, eq=False)
class Predictions:
    """The answers for a number of pictures, one row each.

    Attributes:
        classes: Class names in the order of the model's outputs.
        source_ids: Names of the pictures `[pictures]`.
        true: Class indices `[pictures]`, int64; `UNKNOWN` where nobody knows.
        predicted: Class indices `[pictures]`, int64.
        decisions: `pass`, `fail` or `review` `[pictures]`.
        scores: Probability of the positive class `[pictures]`, float32; with more than two
            classes `None`.
        probabilities: `[pictures, classes]`, float32, in [0, 1].
    """

    classes: tuple[str, ...]
    source_ids: tuple[str, ...]
    true: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]
    decisions: tuple[str, ...]
    scores: npt.NDArray[np.float32] | None
    probabilities: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        """Checks that every field has one entry a picture.

        Raises:
            ValueError: One has not.
        """
        count = len(self.source_ids)
        lengths = {len(self.true), len(self.predicted), len(self.decisions)}
        if self.scores is not None:
            lengths.add(len(self.scores))
        if lengths != {count} or self.probabilities.shape != (count, len(self.classes)):
            raise ValueError(
                f"{count} pictures and {len(self.classes)} classes, but fields of {sorted(lengths)}"
                f" entries and probabilities of shape {self.probabilities.shape}"
            )


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Writes the answers as CSV, whole or not at all."""
    header = [*_FIXED, *(_PREFIX + name for name in predictions.classes)]
    rows = (_format_row(predictions, row) for row in range(len(predictions.source_ids)))
    write_text(path, format_csv([header, *rows]))


def read_predictions(path: Path) -> Predictions:
    """Reads what `write_predictions` wrote; every float32 comes back the same.

    Raises:
        InputError: The file is missing, or is not such a table.
    """
    try:
        rows = parse_csv(path.read_bytes().decode("utf-8"))
        return _parse_rows(rows)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read as predictions: {error}.",
            "Run the stage that wrote it (eval or predict) again.",
        ) from error


def _format_row(predictions: Predictions, row: int) -> list[str]:
    true = int(predictions.true[row])
    score = "" if predictions.scores is None else _format_float(predictions.scores[row])
    return [
        predictions.source_ids[row],
        "" if true == UNKNOWN else predictions.classes[true],
        predictions.classes[int(predictions.predicted[row])],
        predictions.decisions[row],
        score,
        *map(_format_float, predictions.probabilities[row]),
    ]


def _format_float(value: np.float32) -> str:
    return f"{float(value):.9g}"


def _parse_rows(rows: Sequence[Sequence[str]]) -> Predictions:
    header, body = (rows[0], rows[1:]) if rows else ([], [])
    classes = tuple(name.removeprefix(_PREFIX) for name in header[len(_FIXED) :])
    if list(header) != [*_FIXED, *(_PREFIX + name for name in classes)]:
        raise ValueError(f"the first line must be {','.join(_FIXED)},p_<class>,...")
    for number, row in enumerate(body, start=2):
        if len(row) != len(header):
            raise ValueError(f"row {number} has {len(row)} cells where {len(header)} belong")
    index = {name: position for position, name in enumerate(classes)}
    scores = [row[4] for row in body]
    return Predictions(
        classes=classes,
        source_ids=tuple(row[0] for row in body),
        true=_parse_classes([row[1] for row in body], index | {"": UNKNOWN}),
        predicted=_parse_classes([row[2] for row in body], index),
        decisions=tuple(row[3] for row in body),
        scores=_parse_floats(scores) if len(classes) == 2 else None,
        probabilities=_parse_floats([row[5:] for row in body]).reshape(len(body), len(classes)),
    )


def _parse_classes(cells: Sequence[str], index: dict[str, int]) -> npt.NDArray[np.int64]:
    unknown = sorted(set(cells) - index.keys())
    if unknown:
        raise ValueError(f"{unknown[0]!r} is none of the classes {', '.join(index)}")
    return np.array([index[cell] for cell in cells], np.int64)


def _parse_floats(cells: Sequence[Sequence[str]] | Sequence[str]) -> npt.NDArray[np.float32]:
    values = np.array(cells, dtype=np.float64).astype(np.float32)
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("a probability is outside 0 to 1 or not a number")
    return values
