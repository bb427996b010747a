"""What ends a run with a message instead of a traceback."""

from __future__ import annotations


class InputError(Exception):
    """Something the user gave cannot be used, and the user can mend it.

    `main.py` prints it as one message and exits with status 2; everything else is a defect of ours
    and keeps its traceback.

    Args:
        problem: What is wrong, naming the file or the flag.
        remedy: What to do about it: a command, a flag, or a change to the file.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}\n  Remedy: {remedy}")
        self.problem = problem
        self.remedy = remedy

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str]]:
        # Exceptions come back from worker processes by their arguments.
        return InputError, (self.problem, self.remedy)


class GateError(Exception):
    """The work is done, and its result is one that the user said must not pass.

    `main.py` prints it and exits with status 3.
    """


def picture_changed(path: object) -> InputError:
    """The error of a picture that is no longer what the audit saw."""
    return InputError(
        f"{path} changed while the records were being made.",
        "Wait until nothing writes to the data folder, then run --stage=records again.",
    )
