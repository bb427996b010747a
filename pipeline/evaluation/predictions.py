"""`predictions.csv`: the answer for each picture, readable by people and by programs.

Columns: `source_id, sha256, true, predicted, decision, score, reconstruction_error, model,
p_<class>...`. `score` is the probability of the positive class and empty with more than two
classes; `true` is empty when nobody knows it; `reconstruction_error`, in grey values, is empty
without a decoder; `model` is the SHA-256 of what answered.
Numbers have nine significant digits, enough to give back every float32 exactly.

The table of the stage predict has two columns more behind `model`: `version`, the number of the
export, and `error`, why a picture has no answer; all else but `source_id` is then empty.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from records.atomic import write_text
from records.errors import InputError
from records.sheets import format_csv, parse_csv
from records.untrusted import require_file

UNKNOWN = -1
_FIXED = (
    *("source_id", "sha256", "true", "predicted", "decision", "score"),
    *("reconstruction_error", "model"),
)
_TRACE = ("version", "error")
_PREFIX = "p_"


@dataclass(frozen=True, eq=False)
class Predictions:
    """The answers for a number of pictures, one row each.

    Attributes:
        classes: Class names in the order of the model's outputs.
        source_ids: Names of the pictures `[pictures]`.
        digests: SHA-256 of the pictures' bytes `[pictures]`, in hexadecimal.
        true: Class indices `[pictures]`, int64; `UNKNOWN` where nobody knows.
        predicted: Class indices `[pictures]`, int64.
        decisions: `pass`, `fail` or `review` `[pictures]`.
        scores: Probability of the positive class `[pictures]`, float32; with more than two
            classes `None`.
        probabilities: `[pictures, classes]`, float32, in [0, 1].
        reconstruction_error: Root mean squared error in grey values `[pictures]`, float32; `None`
            without a decoder.
        model: SHA-256 of the model that answered, or empty.
    """

    classes: tuple[str, ...]
    source_ids: tuple[str, ...]
    digests: tuple[str, ...]
    true: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]
    decisions: tuple[str, ...]
    scores: npt.NDArray[np.float32] | None
    probabilities: npt.NDArray[np.float32]
    reconstruction_error: npt.NDArray[np.float32] | None = None
    model: str = ""

    def __post_init__(self) -> None:
        """Checks that every field has one entry a picture.

        Raises:
            ValueError: One has not.
        """
        count = len(self.source_ids)
        columns = (self.digests, self.true, self.predicted, self.decisions)
        optional = (self.scores, self.reconstruction_error)
        lengths = {len(column) for column in (*columns, *optional) if column is not None}
        if lengths != {count} or self.probabilities.shape != (count, len(self.classes)):
            raise ValueError(
                f"{count} pictures and {len(self.classes)} classes, but fields of {sorted(lengths)}"
                f" entries and probabilities of shape {self.probabilities.shape}"
            )

    def take(self, rows: Sequence[int]) -> Predictions:
        """The answers of these rows alone, in this order."""
        error = self.reconstruction_error
        return dataclasses.replace(
            self,
            source_ids=tuple(self.source_ids[row] for row in rows),
            digests=tuple(self.digests[row] for row in rows),
            decisions=tuple(self.decisions[row] for row in rows),
            true=self.true[list(rows)],
            predicted=self.predicted[list(rows)],
            probabilities=self.probabilities[list(rows)],
            scores=None if self.scores is None else self.scores[list(rows)],
            reconstruction_error=None if error is None else error[list(rows)],
        )


def answer_header(classes: Sequence[str]) -> list[str]:
    """The columns of the stage predict, by the names of the classes."""
    return [*_FIXED, *_TRACE, *(_PREFIX + name for name in classes)]


def format_float(value: float) -> str:
    """Nine significant digits; what they say gives back the float32."""
    return f"{value:.9g}"


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Writes the answers as CSV, whole or not at all."""
    header = [*_FIXED, *(_PREFIX + name for name in predictions.classes)]
    rows = (_format_row(predictions, row) for row in range(len(predictions.source_ids)))
    write_text(path, format_csv([header, *rows]))


def read_predictions(path: Path) -> Predictions:
    """Reads what `write_predictions` or the stage predict wrote; every float32 comes back the same.

    Pictures without an answer are left out.

    Raises:
        InputError: The file is missing, or is not such a table.
    """
    try:
        rows = parse_csv(require_file(path).read_bytes().decode("utf-8"))
        return _parse_rows(rows)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read as predictions: {error}.",
            "Run the stage that wrote it (eval or predict) again.",
        ) from error


def _format_row(predictions: Predictions, row: int) -> list[str]:
    true = int(predictions.true[row])
    return [
        predictions.source_ids[row],
        predictions.digests[row],
        "" if true == UNKNOWN else predictions.classes[true],
        predictions.classes[int(predictions.predicted[row])],
        predictions.decisions[row],
        _format_float(predictions.scores, row),
        _format_float(predictions.reconstruction_error, row),
        predictions.model,
        *(
            _format_float(predictions.probabilities[row], index)
            for index in range(len(predictions.classes))
        ),
    ]


def _format_float(column: npt.NDArray[np.float32] | None, row: int) -> str:
    return "" if column is None else format_float(float(column[row]))


def _parse_rows(rows: Sequence[Sequence[str]]) -> Predictions:
    header, body = (rows[0], rows[1:]) if rows else ([], [])
    fixed = (*_FIXED, *_TRACE) if tuple(header[len(_FIXED) :][: len(_TRACE)]) == _TRACE else _FIXED
    classes = tuple(name.removeprefix(_PREFIX) for name in header[len(fixed) :])
    if list(header) != [*fixed, *(_PREFIX + name for name in classes)]:
        raise ValueError(f"the first line must be {','.join(_FIXED)},p_<class>,...")
    for number, row in enumerate(body, start=2):
        if len(row) != len(header):
            raise ValueError(f"row {number} has {len(row)} cells where {len(header)} belong")
    if fixed != _FIXED:
        body = [row for row in body if not row[len(fixed) - 1]]
    index = {name: position for position, name in enumerate(classes)}
    cells = {name: [row[place] for row in body] for place, name in enumerate(fixed)}
    models = sorted(set(cells["model"]))
    if len(models) > 1:
        raise ValueError(f"its rows are of {len(models)} models")
    probabilities = _parse_floats([row[len(fixed) :] for row in body], highest=1)
    errors = cells["reconstruction_error"]
    return Predictions(
        classes=classes,
        source_ids=tuple(cells["source_id"]),
        digests=tuple(cells["sha256"]),
        true=_parse_classes(cells["true"], index | {"": UNKNOWN}),
        predicted=_parse_classes(cells["predicted"], index),
        decisions=tuple(cells["decision"]),
        scores=_parse_floats(cells["score"], highest=1) if len(classes) == 2 else None,
        probabilities=probabilities.reshape(len(body), len(classes)),
        reconstruction_error=_parse_floats(errors, highest=255) if any(errors) else None,
        model="".join(models),
    )


def _parse_classes(cells: Sequence[str], index: dict[str, int]) -> npt.NDArray[np.int64]:
    unknown = sorted(set(cells) - index.keys())
    if unknown:
        raise ValueError(f"{unknown[0]!r} is none of the classes {', '.join(index)}")
    return np.array([index[cell] for cell in cells], np.int64)


def _parse_floats(
    cells: Sequence[Sequence[str]] | Sequence[str], *, highest: float
) -> npt.NDArray[np.float32]:
    values = np.array(cells, dtype=np.float64).astype(np.float32)
    if not ((values >= 0) & (values <= highest)).all():
        raise ValueError(f"a value is outside 0 to {highest} or not a number")
    return values
