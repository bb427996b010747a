"""Where the evaluation lies that `--baseline` means. Needs no library: flags are checked by it."""

from __future__ import annotations

from pathlib import Path

from pipeline.rundir import RunDir
from records.errors import InputError


def find_evaluated(baseline: Path, model: str) -> RunDir:
    """The run that `--baseline` means: a run directory, or the folder of one model in it.

    Raises:
        InputError: It holds no evaluation.
    """
    folders = [RunDir(baseline, model), RunDir(baseline.parent, baseline.name)]
    for run in folders:
        if run.metrics.exists():  # written last: where it stands, the evaluation is whole
            return run
    raise InputError(
        f"--baseline={baseline} holds no evaluation: there is no {folders[0].metrics}.",
        f"Run: python main.py --stage=eval --work_dir={baseline} --model={model}",
    )
