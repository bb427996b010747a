"""Where a training works: in the run directory, or, not being the chief, in a folder of its own."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pipeline.distribution.tf_config import Place
from pipeline.rundir import RunDir
from pipeline.training.plan import TrainingPlan
from records.atomic import locked
from records.errors import InputError


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
        InputError: Another training of this model runs in the same run directory.
        KeyboardInterrupt: With a sentence on how to go on, if there is something to go on from.
    """
    if not place.is_chief:
        with tempfile.TemporaryDirectory(prefix="nioscope-") as folder:
            draft = RunDir(Path(folder), run_dir.model).checkpoint
            draft.model_dir.mkdir(parents=True)
            yield draft
        return
    with locked(run_dir.training_lock) as alone:
        if not alone:
            raise InputError(
                f"{run_dir.model_dir} is being trained by another process.",
                "Wait for it, or give another --work_dir.",
            )
        try:
            with run_dir.replacing_model() as draft:
                plan.settle(draft)
                yield draft
        except KeyboardInterrupt:
            if run_dir.checkpoint.can_resume:
                raise KeyboardInterrupt("The same command goes on from where it was.") from None
            raise
