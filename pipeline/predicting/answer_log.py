"""The answers of a watch: files that grow, and still hold every picture once after any kill.

`predictions.jsonl` is the one that counts. Lines are added in one write and synced before anything
else is done about their pictures, so that a kill can tear the last line alone; it is cut off at the
next start. The two tables are made anew of it then, and grow behind it.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from pipeline.predicting.answer_files import (
    JSON_LINES,
    PREDICTIONS,
    REJECTS,
    Answer,
    AnswerTables,
    decode_answer,
    encode_answer,
    replacing_tables,
)
from records.atomic import open_own
from records.errors import InputError
from records.untrusted import require_file


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a picture that has been judged.

    Attributes:
        stamp: Its size in bytes and time of the last change in nanoseconds.
        sha256: Of its bytes; empty when it could not be judged.
    """

    stamp: tuple[int, int]
    sha256: str


@dataclass
class AnswerLog:
    """The answers of a watch, open for more.

    Attributes:
        known: What is known of each picture, by its `Answer.file`: its latest answer counts.
        copies: Copies that were made, below the output folder.
        latest: The answers that were written last: a kill may have come before their copies.
    """

    known: dict[str, Known] = field(default_factory=dict)
    copies: set[str] = field(default_factory=set)
    latest: deque[Answer] = field(default_factory=deque)
    _classes: Sequence[str] = ()
    _lines: IO[str] | None = None
    _tables: AnswerTables | None = None

    def write(self, answers: Sequence[Answer]) -> None:
        """Adds answers; when it returns they outlive a power cut."""
        assert self._lines is not None and self._tables is not None
        if not answers:
            return
        self._lines.write("".join(encode_answer(answer, self._classes) for answer in answers))
        self._lines.flush()
        os.fsync(self._lines.fileno())
        self._tables.write(answers)
        self._tables.flush()
        for answer in answers:
            self.note(answer)

    def note(self, answer: Answer) -> None:
        """Takes in what is known by an answer."""
        self.known[answer.file] = Known(answer.stamp or (0, 0), answer.sha256)
        if answer.copy:
            self.copies.add(answer.copy)


@contextlib.contextmanager
def open_answer_log(folder: Path, classes: Sequence[str], *, latest: int) -> Iterator[AnswerLog]:
    """Yields the answers of earlier watches in `folder`, whole again and open for more.

    Args:
        folder: The output folder.
        classes: Names of the classes of the model that will answer.
        latest: How many of the last answers are kept for `AnswerLog.latest`.

    Raises:
        InputError: A line before the last cannot be read, or is of a model with other classes, or
            of a run without a watch.
        OSError: The files cannot be read or written.
    """
    # Before all else: it tells that the folder is that of a watch.
    open_own(folder / JSON_LINES, "a").close()
    log = AnswerLog(latest=deque(maxlen=latest), _classes=classes)
    with replacing_tables(folder, classes) as tables:
        for answer in _recover(folder / JSON_LINES, classes):
            log.note(answer)
            log.latest.append(answer)
            tables.write([answer])
    with contextlib.ExitStack() as stack:
        append = functools.partial(open_own, mode="a", encoding="utf-8", newline="")
        files = [stack.enter_context(append(folder / n)) for n in (PREDICTIONS, REJECTS)]
        log._lines = stack.enter_context(append(folder / JSON_LINES))
        log._tables = AnswerTables(files[0], files[1], classes)
        yield log


def is_of_a_watch(folder: Path) -> bool | None:
    """Whether the answers in a folder are those of a watch; None where there are none."""
    try:
        with require_file(folder / JSON_LINES).open("rb") as file:
            first = file.readline()
    except FileNotFoundError:
        return None
    return b'"modified_ns"' in first if first.endswith(b"\n") else None


def _recover(path: Path, classes: Sequence[str]) -> Iterator[Answer]:
    """Yields the answers that are whole, and cuts off a last one that is not."""
    whole = 0
    with open_own(path, "r+b") as file:
        for number, line in enumerate(file, start=1):
            try:
                if not line.endswith(b"\n"):
                    raise ValueError("it is cut short")
                answer = decode_answer(line.decode("ascii"), classes)
                if answer.stamp is None:
                    raise ValueError("it is of a run without --watch")
            except ValueError as error:
                if file.read(1):
                    raise _refuse(path, number, error) from error
                if line.endswith(b"\n") and not _is_torn(line):
                    raise _refuse(path, number, error) from error
                break
            whole += len(line)
            yield answer
        file.truncate(whole)
        os.fsync(file.fileno())


def _is_torn(line: bytes) -> bool:
    """Whether a line that has an end was still not written whole: a power cut can leave zeros."""
    return not (line.startswith(b"{") and line.endswith(b"}\n") and b"\0" not in line)


def _refuse(path: Path, number: int, error: ValueError) -> InputError:
    return InputError(
        f"{path}, line {number}, cannot be gone on from: {error}.",
        f"Give another --output_dir, or move {path.parent} away: pictures are then judged anew.",
    )
