"""Pictures of an evaluation that a person should see: the worst errors and the least certain."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.decision import Decided, DecisionRule
from pipeline.evaluation.review import measure_certainty
from pipeline.figures.overlay import decode_original, write_png
from records.atomic import write_json
from records.parsing import read_records

ERRORS_AT_MOST, UNSURE_AT_MOST = 24, 12
_THUMBNAIL_PX = 240


def read_pictures(shards: Sequence[Path], rows: Collection[int]) -> dict[int, bytes]:
    """The encoded pictures with these numbers in the order of the records, in one pass."""
    if not rows:
        return {}
    found = enumerate(read_records(shards))
    return {row: record["encoded"] for row, record in found if row in rows}


def write_gallery(
    folder: Path, pictures: Sequence[bytes], *, facts: Sequence[dict[str, Any]]
) -> None:
    """Writes thumbnails, and what is known of them as `<folder>.json`, in the same order.

    Args:
        folder: Where the thumbnails go, as `00.png`, `01.png`, and so on.
        pictures: Encoded.
        facts: Of each of them, JSON values; `file` is added.
    """
    entries = [{"file": f"{place:02d}.png"} | facts_of for place, facts_of in enumerate(facts)]
    for entry, encoded in zip(entries, pictures, strict=True):
        picture = decode_original(encoded)
        picture.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
        write_png(folder / entry["file"], picture)
    write_json(folder.with_suffix(".json"), entries)


def rank_errors(rule: DecisionRule, true: npt.NDArray[np.int64], decided: Decided) -> list[int]:
    """The worst errors first: what passed before what was stopped, the surest before the unsure.

    Returns:
        Numbers of at most `ERRORS_AT_MOST` pictures.
    """
    passes = [name not in rule.fail_classes for name in rule.classes]
    predicted = decided.predicted
    confidence = decided.probabilities[np.arange(len(predicted)), predicted]
    wrong = np.flatnonzero(predicted != true)
    ranked = sorted(wrong, key=lambda i: (not passes[predicted[i]], -confidence[i], i))
    return [int(index) for index in ranked[:ERRORS_AT_MOST]]


def rank_unsure(rule: DecisionRule, true: npt.NDArray[np.int64], decided: Decided) -> list[int]:
    """Right answers that were nearly wrong, the least certain first: see `measure_certainty`.

    Returns:
        Numbers of at most `UNSURE_AT_MOST` pictures.
    """
    certainty = measure_certainty(
        decided.probabilities, positive=rule.positive, threshold=rule.threshold
    )
    right = np.flatnonzero(decided.predicted == true)
    ranked = sorted(right, key=lambda i: (certainty[i], i))
    return [int(index) for index in ranked[:UNSURE_AT_MOST]]
