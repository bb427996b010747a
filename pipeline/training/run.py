"""One training from its first epoch to its last, however often it is interrupted on the way.

Two files hold what it goes on from. `finished.state` is written at the end of a phase: all
variables of the model, and what the phases did. `epoch.state` is written at the end of an epoch:
what the current phase changes, its optimizer, its stopping rule. A phase that trains a small part
of a large model so writes little.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from pipeline.rundir import RunDir
from pipeline.training.checkpoint import State, assign, fits, read_state, values_of, write_state
from pipeline.training.history import (
    TensorBoardWriter,
    mean_wait_fraction,
    name_columns,
    write_history_csv,
)
from pipeline.training.phases import Phase, PhaseOutcome
from pipeline.training.progress import describe_epoch, seconds_left

Pictures = Callable[[], Mapping[str, npt.ArrayLike]]

_EPOCHS_A_PICTURE = 5


class TrainingRun:
    """History, checkpoint, progress and TensorBoard of one training.

    Opening it puts the model where the last finished phase of an interrupted training left it.

    Args:
        folder: Where the training works: `RunDir.checkpoint`.
        model: The whole model; phases may train parts that share its variables.

    Attributes:
        resumed: Whether the model got its weights from an interrupted training.
    """

    def __init__(self, folder: RunDir, model: keras.Model) -> None:
        self._folder, self._model = folder, model
        self._tensorboard = TensorBoardWriter(folder.logs)
        self._opened = time.monotonic()
        self._phases: tuple[Phase, ...] = ()
        self._outcomes: dict[str, PhaseOutcome] = {}
        self._rows: list[dict[str, Any]] = []
        self._earlier_seconds = 0.0
        state = _read(folder.finished_state)
        self.resumed = state is not None and fits(state.arrays["model"], model.variables)
        if state is not None and self.resumed:
            assign(model.variables, state.arrays["model"])
            self._take(state.facts)

    @property
    def seconds(self) -> float:
        """Time this training took, interruptions and what they cost left out."""
        return self._earlier_seconds + time.monotonic() - self._opened

    @property
    def input_wait_fraction(self) -> float:
        """Share of the training steps' time in which they waited for their input."""
        return mean_wait_fraction(self._rows)

    def outcome(self, phase_name: str) -> PhaseOutcome | None:
        """What the phase did, if it is finished."""
        return self._outcomes.get(phase_name)

    def announce(self, phases: Sequence[Phase]) -> None:
        """Says which phases there will be, so that the time left can be told."""
        self._phases = tuple(phases)

    def discard(self) -> None:
        """Takes away what a later start would go on from."""
        self._folder.epoch_state.unlink(missing_ok=True)
        self._folder.finished_state.unlink(missing_ok=True)

    def restore_epoch(self, phase: Phase, changing: Mapping[str, Sequence[Any]]) -> State | None:
        """Puts `changing` where the last epoch of an interrupted phase left it.

        Args:
            phase: The phase that begins.
            changing: Variables by name.

        Returns:
            The state, or None when the phase begins anew.
        """
        state = _read(self._folder.epoch_state)
        if state is None or state.facts["phase"] != phase.name:
            return None
        if [value["name"] for value in state.facts["outcomes"]] != list(self._outcomes):
            return None
        if not all(fits(state.arrays[name], changing[name]) for name in changing):
            return None
        for name, variables in changing.items():
            assign(variables, state.arrays[name])
        self._take(state.facts)
        print(f"{phase.name}: goes on after epoch {state.facts['epoch']}", flush=True)
        return state

    def record_epoch(
        self, phase: Phase, epoch: int, row: Mapping[str, Any], pictures: Pictures | None
    ) -> None:
        """Adds an epoch to the history and to TensorBoard.

        Args:
            phase: The phase of the epoch.
            epoch: Number of the epoch within it, from 1.
            row: What Keras says of it, and `seconds`, `learning_rate`, `input_wait_fraction`.
            pictures: Makes the pictures to show; asked every few epochs.
        """
        values = name_columns(row)
        number = len(self._rows) + 1
        self._rows.append({"epoch": number, "phase": phase.name, **values})
        write_history_csv(self._folder.history, self._rows)
        shown = pictures() if pictures and epoch % _EPOCHS_A_PICTURE == 1 else {}
        self._tensorboard.write(
            number,
            {f"{phase.name}/{name}": value for name, value in values.items()},
            {f"{phase.name}/{name}": images for name, images in shown.items()},
        )

    def save_epoch(
        self,
        phase: Phase,
        epoch: int,
        arrays: Mapping[str, Sequence[np.ndarray]],
        facts: Mapping[str, Any],
    ) -> None:
        """Writes what the phase goes on from after `epoch` epochs, and says a line on the last."""
        state = {**facts, **self._facts(), "phase": phase.name, "epoch": epoch}
        write_state(self._folder.epoch_state, State(arrays, state))
        row = self._rows[-1]
        left = seconds_left(
            self._phases or (phase,),
            current=phase,
            epochs_done=epoch,
            epoch_seconds=row["seconds"],
        )
        print(describe_epoch(phase, epoch, row, left=left), flush=True)

    def finish(self, outcome: PhaseOutcome) -> PhaseOutcome:
        """Records that a phase is finished and the model is as it should be."""
        seconds = sum(row["seconds"] for row in self._rows if row["phase"] == outcome.name)
        outcome = dataclasses.replace(outcome, seconds=round(seconds, 1))
        self._outcomes[outcome.name] = outcome
        arrays = {"model": values_of(self._model.variables)}
        write_state(self._folder.finished_state, State(arrays, self._facts()))
        self._folder.epoch_state.unlink(missing_ok=True)
        return outcome

    def _facts(self) -> dict[str, Any]:
        outcomes = [dataclasses.asdict(outcome) for outcome in self._outcomes.values()]
        return {"outcomes": outcomes, "rows": self._rows, "seconds": self.seconds}

    def _take(self, facts: Mapping[str, Any]) -> None:
        self._outcomes = {value["name"]: PhaseOutcome(**value) for value in facts["outcomes"]}
        self._rows = list(facts["rows"])
        self._earlier_seconds = facts["seconds"]
        write_history_csv(self._folder.history, self._rows)


def _read(path: Path) -> State | None:
    state = read_state(path)
    if state is None and path.exists():
        print(f"{path} is damaged; what it held is done anew.", flush=True)
        path.unlink()
    return state
