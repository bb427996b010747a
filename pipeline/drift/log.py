"""Drift while pictures are judged: said at once, and kept beside the answers."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pipeline.drift.baseline import DRIFT_BASELINE, DriftBaseline
from pipeline.drift.watch import DriftWatch
from records.atomic import write_json
from records.errors import InputError

DRIFT = "drift.json"


class DriftLog:
    """Looks at all that a SavedModel says, and keeps the warnings.

    A SavedModel without the signature `monitor` says nothing to look at.

    Args:
        saved_model: Folder of the SavedModel.
        watches: Whether it has the signature `monitor`.

    Raises:
        InputError: Its baseline is damaged.
    """

    def __init__(self, saved_model: Path, *, watches: bool) -> None:
        self._watch, self._path = None, saved_model / DRIFT_BASELINE
        if watches:
            self._watch = DriftWatch(DriftBaseline.read(self._path))
        self._pictures = 0
        self._warnings: list[dict[str, Any]] = []

    def add(self, outputs: Mapping[str, np.ndarray]) -> bool:
        """Takes in the outputs for a batch; says on standard error what has begun to drift.

        Args:
            outputs: With `statistics` and `label_index`; empty where no picture was judged.

        Returns:
            Whether there was something to say.

        Raises:
            InputError: The baseline is that of another SavedModel.
        """
        if self._watch is None or not outputs:
            return False
        self._pictures += len(outputs["label_index"])
        try:
            drift = self._watch.add(outputs["statistics"], outputs["label_index"])
        except ValueError as error:
            raise InputError(
                f"{self._path} is not about this SavedModel: {error}.",
                "Run the stage export again (--stage=export).",
            ) from error
        if drift is not None:
            tqdm.write(str(drift), file=sys.stderr)
            self._warnings.append(drift.to_json())
        return drift is not None

    def write(self, folder: Path) -> None:
        """Writes `drift.json`: the pictures looked at, whether they were enough, the warnings."""
        if self._watch is not None:
            values = {
                "pictures": self._pictures,
                "enough_for_a_look": self._watch.has_looked,
                "warnings": self._warnings,
            }
            write_json(folder / DRIFT, values)
        else:
            (folder / DRIFT).unlink(missing_ok=True)
