"""The answers of the stage predict as they come: CSV for people, JSON lines for programs.

`predictions.csv` has the columns of `pipeline.evaluation.predictions`, `predictions.jsonl` one
strict JSON object a picture: `file`, `sha256`, `label`, `probabilities` (an object by class),
`score`, `decision`, `reconstruction_error`, `version`, `model`, `error`; what is not there is
`null`. With maps there is `overlay`, with a watch `size_bytes`, `modified_ns` and perhaps `copy`.
Numbers are those of the CSV. `rejects.csv` lists the pictures without an answer.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pipeline.evaluation.predictions import answer_header, format_float
from records.atomic import replacing
from records.sheets import format_csv
from records.untrusted import parse_json

PREDICTIONS, JSON_LINES, REJECTS = "predictions.csv", "predictions.jsonl", "rejects.csv"
_REJECTS_HEADER = ("path", "reason")


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one picture.

    Attributes:
        file: Its path, as `pipeline.predicting.incoming.path_text` writes it.
        sha256: Of its bytes.
        label: Name of the class decided for.
        probabilities: Of each class, in the order of the classes.
        score: Probability of the positive class; with more than two classes None.
        decision: `pass`, `fail` or `review`.
        reconstruction_error: In grey values; None without a decoder.
        version: Number of the export that answered.
        model: SHA-256 of it.
        error: Why there is no answer; all before but `file` is then empty.
        overlay: Where its map is, below the output folder; or empty.
        copy: Where a watch put its copy, below the output folder; or empty.
        stamp: For a watch: size in bytes and time of the last change in nanoseconds.
    """

    file: str
    sha256: str = ""
    label: str = ""
    probabilities: tuple[float, ...] = ()
    score: float | None = None
    decision: str = ""
    reconstruction_error: float | None = None
    version: int | None = None
    model: str = ""
    error: str = ""
    overlay: str = ""
    copy: str = ""
    stamp: tuple[int, int] | None = None


def format_answer(answer: Answer, classes: Sequence[str]) -> str:
    """One line of `predictions.csv`."""
    row = [
        *(answer.file, answer.sha256, "", answer.label, answer.decision),
        *(_format(answer.score), _format(answer.reconstruction_error), answer.model),
        *("" if answer.version is None else str(answer.version), answer.error),
        *(map(format_float, answer.probabilities) if not answer.error else [""] * len(classes)),
    ]
    return format_csv([row])


def encode_answer(answer: Answer, classes: Sequence[str]) -> str:
    """One line of `predictions.jsonl`: ASCII, no NaN.

    Raises:
        ValueError: A number is none.
    """
    numbers = [_round(value) for value in answer.probabilities]
    values: dict[str, Any] = {
        "file": answer.file,
        "sha256": answer.sha256 or None,
        "label": answer.label if not answer.error else None,
        "probabilities": None if answer.error else dict(zip(classes, numbers, strict=True)),
        "score": _round(answer.score),
        "decision": answer.decision or None,
        "reconstruction_error": _round(answer.reconstruction_error),
        "version": answer.version,
        "model": answer.model or None,
        "error": answer.error or None,
    }
    values |= {name: text for name in ("overlay", "copy") if (text := getattr(answer, name))}
    if answer.stamp is not None:
        values["size_bytes"], values["modified_ns"] = answer.stamp
    return json.dumps(values, allow_nan=False) + "\n"


def decode_answer(line: str, classes: Sequence[str]) -> Answer:
    """The answer that `encode_answer` was given.

    Raises:
        ValueError: The line is no such answer, or one with other classes.
    """
    values = parse_json(line)
    try:
        probabilities = values["probabilities"]
        if probabilities is not None and list(probabilities) != list(classes):
            raise ValueError(f"its classes are {', '.join(probabilities)}")
        stamp = (values["size_bytes"], values["modified_ns"]) if "modified_ns" in values else None
        return Answer(
            file=values["file"],
            sha256=values["sha256"] or "",
            label=values["label"] or "",
            probabilities=tuple(probabilities.values()) if probabilities else (),
            score=values["score"],
            decision=values["decision"] or "",
            reconstruction_error=values["reconstruction_error"],
            version=values["version"],
            model=values["model"] or "",
            error=values["error"] or "",
            overlay=values.get("overlay", ""),
            copy=values.get("copy", ""),
            stamp=stamp,
        )
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"it is no answer: {type(error).__name__}") from error


class AnswerTables:
    """The two tables that follow from the answers, open for writing.

    Args:
        predictions: The file of `predictions.csv`.
        rejects: That of `rejects.csv`.
        classes: Names of the classes.
    """

    def __init__(self, predictions: IO[str], rejects: IO[str], classes: Sequence[str]) -> None:
        self._predictions, self._rejects, self._classes = predictions, rejects, classes

    def begin(self) -> None:
        """Writes the first lines."""
        self._predictions.write(format_csv([answer_header(self._classes)]))
        self._rejects.write(format_csv([_REJECTS_HEADER]))

    def write(self, answers: Sequence[Answer]) -> None:
        """Writes answers behind those that are there."""
        self._predictions.writelines(format_answer(answer, self._classes) for answer in answers)
        self._rejects.writelines(
            format_csv([(answer.file, answer.error)]) for answer in answers if answer.error
        )

    def flush(self) -> None:
        """Hands on to the system what was written."""
        self._predictions.flush()
        self._rejects.flush()


@contextlib.contextmanager
def replacing_tables(folder: Path, classes: Sequence[str]) -> Iterator[AnswerTables]:
    """Yields drafts of the two tables, which take their places when the block ends well."""
    with contextlib.ExitStack() as stack:
        files = [_draft(stack, folder / name) for name in (REJECTS, PREDICTIONS)]
        tables = AnswerTables(files[1], files[0], classes)
        tables.begin()
        yield tables


@contextlib.contextmanager
def replacing_answers(
    folder: Path, classes: Sequence[str]
) -> Iterator[Callable[[Sequence[Answer]], None]]:
    """Yields what writes answers, a batch at a time, to drafts of all three files.

    They take their places when the block ends well; when it raises, or the process is killed, an
    earlier answer stays. Nothing that was written is kept in memory.
    """
    with contextlib.ExitStack() as stack:
        lines = _draft(stack, folder / JSON_LINES)
        tables = stack.enter_context(replacing_tables(folder, classes))
        encode = functools.partial(encode_answer, classes=classes)

        def write(answers: Sequence[Answer]) -> None:
            lines.writelines(map(encode, answers))
            tables.write(answers)

        yield write


def _draft(stack: contextlib.ExitStack, path: Path) -> IO[str]:
    draft = stack.enter_context(replacing(path))
    return stack.enter_context(draft.open("w", encoding="utf-8", newline=""))


def _round(value: float | None) -> float | None:
    """What the CSV says of it, so that both files say the same."""
    return None if value is None else float(format_float(value))


def _format(value: float | None) -> str:
    return "" if value is None else format_float(value)
