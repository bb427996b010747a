"""Where a training works: in the run directory, or, not being the chief, in a folder of its own."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pipeline.distribution.tf_config import Place
from pipeline.rundir import RunDir
from pipeline.training.plan import TrainingPlan
from records.errors import InputError

_YEARS = (1980, 2107)


@contextlib.contextmanager
def training_folder(run_dir: RunDir, plan: TrainingPlan, place: Place) -> Iterator[RunDir]:
    """Yields the folder of a training, with what an interrupted one of this plan has left.

    What the chief has made takes the place of an earlier model when the block ends well. The other
    workers' folder is temporary, and empty at first.

    Args:
        run_dir: Of the model.
        plan: What the training is to do.
        place: Which worker this is.

    Raises:
        InputError: A link is in the place of the folder, or the machine's clock cannot be right.
    """
    if not place.is_chief:
        with tempfile.TemporaryDirectory(prefix="nioscope-") as folder:
            draft = RunDir(Path(folder), run_dir.model).checkpoint
            draft.model_dir.mkdir(parents=True)
            yield draft
        return
    _require_clock()
    with run_dir.replacing_model() as draft:
        plan.settle(draft)
        yield draft


def _require_clock() -> None:
    # Told now: Keras would fail when all is trained.
    year = time.localtime(time.time()).tm_year
    if not _YEARS[0] <= year <= _YEARS[1]:
        raise InputError(
            f"The clock of this machine says {year}; the archive model.keras holds no such year.",
            "Set the clock.",
        )
