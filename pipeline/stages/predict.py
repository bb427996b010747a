"""Stage `predict`: new pictures, judged by the exported SavedModel and by nothing else.

Classes, threshold and decisions are those the SavedModel itself answers with: a training that came
after it, or was cut short, changes nothing.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from pipeline.config import Settings
from pipeline.decision import REVIEW
from pipeline.filenames import digested_name, safe_name
from pipeline.incoming import (
    COPIES,
    PREDICTIONS,
    REJECTS,
    Picture,
    copy_pictures,
    find_pictures,
    read_batches,
    read_copies,
    remove_answers,
    require_apart,
)
from pipeline.predictions import UNKNOWN, Predictions, write_predictions
from pipeline.provenance import digest_folder
from pipeline.rundir import RunDir
from pipeline.saved_model import Signature, find_newest_version, load_signature, shorten_reason
from records.atomic import write_json, write_text
from records.errors import InputError
from records.sheets import format_csv


@dataclass
class Outcome:
    """What became of the pictures so far.

    Attributes:
        judged: Pictures with an answer, and the SHA-256 of each.
        answers: The SavedModel's outputs, a batch each, in the order of `judged`.
        rejects: Pictures set aside, with the reason.
    """

    judged: list[tuple[Path, str]] = field(default_factory=list)
    answers: list[dict[str, np.ndarray]] = field(default_factory=list)
    rejects: list[tuple[Path, str]] = field(default_factory=list)

    def extend(self, further: Outcome) -> None:
        """Takes in what became of further pictures."""
        self.judged += further.judged
        self.answers += further.answers
        self.rejects += further.rejects


def run(settings: Settings) -> None:
    """Judges pictures; writes `predictions.csv` and `rejects.csv`, and copies if asked to.

    Raises:
        InputError: There is no SavedModel or no picture, the output folder cannot be written, is
            another's or lies among the pictures, or with `settings.strict` a picture cannot be
            judged.
    """
    run_dir = RunDir(settings.work_dir, settings.model)
    saved_model = find_newest_version(run_dir)
    paths = find_pictures(settings.images)
    output = settings.output_dir or run_dir.predict
    require_apart(output, settings.images, paths, copies=settings.output_dir is not None)
    with _writing_to(output):
        _make_folder(output)
        earlier_copies = read_copies(output, must_be_ours=settings.output_dir is not None)
    serve = load_signature(saved_model)
    with _writing_to(output):
        remove_answers(output, earlier_copies)
        if settings.output_dir:  # From now on the folder can be told to be ours.
            write_json(output / COPIES, [])
    outcome = _judge_all(serve, paths, strict=settings.strict)
    with _writing_to(output):
        _write_rejects(output / REJECTS, outcome.rejects)
        predictions = _collect(outcome, settings.images, output, model=digest_folder(saved_model))
        write_predictions(output / PREDICTIONS, predictions)
        if settings.output_dir:
            folders = [class_folder(predictions.classes[index]) for index in predictions.predicted]
            copy_pictures([path for path, _ in outcome.judged], folders, output)
    print(_summary(predictions, outcome.rejects, saved_model, output))


def judge(serve: Signature, pictures: Sequence[Picture]) -> Outcome:
    """Judges pictures in one batch, or one by one if the graph cannot decode one of them."""
    if not pictures:
        return Outcome()
    try:
        answers = serve(image_bytes=tf.constant([picture.encoded for picture in pictures]))
    except (tf.errors.InvalidArgumentError, UnicodeDecodeError) as error:
        # The second is the first with the picture's bytes in its text.
        if len(pictures) == 1:
            unclear = isinstance(error, UnicodeDecodeError)
            reason = "its data are damaged" if unclear else shorten_reason(error)
            return Outcome(rejects=[(pictures[0].path, f"the model cannot decode it: {reason}")])
        outcome = Outcome()
        for picture in pictures:
            outcome.extend(judge(serve, [picture]))
        return outcome
    batch = {name: value.numpy() for name, value in answers.items()}
    return Outcome([(picture.path, picture.sha256) for picture in pictures], [batch])


def class_folder(name: str) -> str:
    """Name of the folder for a class, which is that of none of our own files."""
    own = name.casefold() in (PREDICTIONS, REJECTS, COPIES)
    return digested_name(name) if own else safe_name(name)


def _judge_all(serve: Signature, paths: Sequence[Path], *, strict: bool) -> Outcome:
    outcome = Outcome()
    with tqdm(total=len(paths), unit="pictures", disable=None) as bar:
        for batch in read_batches(paths):
            outcome.rejects += [(item.path, item.problem) for item in batch if item.problem]
            outcome.extend(judge(serve, [item for item in batch if not item.problem]))
            _require_none(outcome.rejects, strict=strict)
            bar.update(len(batch))
    outcome.rejects.sort()
    return outcome


def _require_none(rejects: list[tuple[Path, str]], *, strict: bool) -> None:
    if strict and rejects:
        raise InputError(
            f"--strict, and {rejects[0][0]} cannot be judged: {rejects[0][1]}.",
            "Mend or remove the picture, or leave --strict out.",
        )


def _collect(outcome: Outcome, images: str, output: Path, *, model: str) -> Predictions:
    if not outcome.judged:
        path, reason = outcome.rejects[0]
        raise InputError(
            f"None of the {len(outcome.rejects)} pictures of --images={images} can be judged; "
            f"{path}: {reason}.",
            f"See {output / REJECTS}.",
        )

    def column(name: str) -> Any:
        if name not in outcome.answers[0]:
            return None
        return np.concatenate([answer[name] for answer in outcome.answers])

    return Predictions(
        classes=tuple(name.decode() for name in outcome.answers[0]["classes"][0]),
        source_ids=tuple(_name(path) for path, _ in outcome.judged),
        digests=tuple(digest for _, digest in outcome.judged),
        true=np.full([len(outcome.judged)], UNKNOWN, np.int64),
        predicted=column("label_index"),
        decisions=tuple(value.decode() for value in column("decision")),
        scores=column("score"),
        probabilities=column("probabilities"),
        reconstruction_error=column("reconstruction_error"),
        model=model,
    )


@contextlib.contextmanager
def _writing_to(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"The answers cannot be written to {folder}: {error}.",
            "Change the permissions, make room on the disk, or give another --output_dir.",
        ) from error


def _make_folder(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()  # Told now, not after all pictures are judged.


def _write_rejects(path: Path, rejects: list[tuple[Path, str]]) -> None:
    rows = [(_name(picture), reason) for picture, reason in rejects]
    write_text(path, format_csv([("path", "reason"), *rows]))


def _name(path: Path) -> str:
    """The path as text that can be written: a file system may hold names that are no UTF-8."""
    return path.as_posix().encode("utf-8", "backslashreplace").decode("utf-8")


def _summary(
    predictions: Predictions, rejects: list[tuple[Path, str]], saved_model: Path, output: Path
) -> str:
    counts = np.bincount(predictions.predicted, minlength=len(predictions.classes))
    lines = [f"Judged {len(predictions.source_ids)} pictures by {saved_model}:"]
    lines += [f"  {name}  {count}" for name, count in zip(predictions.classes, counts, strict=True)]
    if asked := predictions.decisions.count(REVIEW):
        lines.append(f"  of these for a person to look at  {asked}")
    if rejects:
        lines.append(f"  set aside  {len(rejects)} (see {output / REJECTS})")
    return "\n".join([*lines, f"Answers: {output / PREDICTIONS}"])
