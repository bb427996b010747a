"""Pictures judged while the next ones are read and the ones before are written."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipeline.predicting.answer_files import Answer
from pipeline.predicting.incoming import SHARD_SIZE, Picture, path_text, read_batches
from pipeline.predicting.shard_judging import judge_shard
from pipeline.serving.saved_model import ServedModel, Signature, shorten_reason
from records.ahead import map_by_threads
from records.cluster import ClusterWorkers
from records.places import Place, is_readable
from records.workers import cut

_BATCHES_AHEAD = 2
# While one batch waits for the slowest part of an operation, the other keeps the cores busy.
_JUDGED_AT_ONCE = 2
# The last is the first with the picture's bytes in its text.
_REFUSALS = (
    tf.errors.InvalidArgumentError,
    tf.errors.ResourceExhaustedError,
    UnicodeDecodeError,
)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of a batch of pictures.

    Attributes:
        pictures: In the order they came; those without an answer have a problem.
        outputs: The SavedModel's outputs, one row for each picture that has no problem, in order;
            empty where all have one.
    """

    pictures: tuple[Picture, ...]
    outputs: Mapping[str, np.ndarray]

    @property
    def judged(self) -> list[Picture]:
        """The pictures that the rows of `outputs` are about."""
        return [picture for picture in self.pictures if not picture.problem]


def judge_pictures(
    served: ServedModel, paths: Sequence[Place], *, scheduler: str = ""
) -> Generator[Outcome, None, None]:
    """Yields what becomes of pictures, batch by batch and in order.

    Args:
        served: The SavedModel.
        paths: The pictures.
        scheduler: Address of a Dask scheduler whose workers read and judge them; the outcomes are
            then without the bytes of pictures and without maps. Empty: this process does.

    Raises:
        InputError: A worker has other versions, code or files, or the scheduler was lost.
    """
    if not scheduler:
        yield from judge_ahead(served.answer, read_batches(paths))
        return
    work = functools.partial(judge_shard, served.path.absolute(), served.digest, Path.cwd())
    readable = (path for path in paths if is_readable(path))
    seen = [served.path / "saved_model.pb", *itertools.islice(readable, 1)]
    with (
        ClusterWorkers(scheduler, seen=seen) as workers,
        contextlib.closing(workers.map(work, cut(paths, SHARD_SIZE))) as shards,
    ):
        for outcomes in shards:
            yield from outcomes


def judge_ahead(
    answer: Signature, batches: Iterable[list[Picture]]
) -> Generator[Outcome, None, None]:
    """What becomes of each batch, in order; the model works in threads of its own."""
    return map_by_threads(
        functools.partial(judge, answer),
        batches,
        threads=_JUDGED_AT_ONCE,
        most=_BATCHES_AHEAD,
        name="model",
    )


def judge(answer: Signature, pictures: Sequence[Picture]) -> Outcome:
    """Judges pictures in one batch, or one by one if the graph cannot decode one of them.

    Args:
        answer: From `image_bytes` to the outputs.
        pictures: Those with a problem are passed by.
    """
    whole = [picture for picture in pictures if not picture.problem]
    if not whole:
        return Outcome(tuple(pictures), {})
    try:
        outputs = answer(image_bytes=tf.constant([picture.encoded for picture in whole]))
        return _set_aside(pictures, {name: value.numpy() for name, value in outputs.items()})
    except _REFUSALS as error:
        if len(pictures) == 1:
            unclear = isinstance(error, UnicodeDecodeError)
            reason = "its data are damaged" if unclear else shorten_reason(error)
            return Outcome((_fault(pictures[0], f"the model cannot decode it: {reason}"),), {})
    outcomes = [judge(answer, [picture]) for picture in pictures]
    found = [outcome.outputs for outcome in outcomes if outcome.outputs]
    return Outcome(
        tuple(picture for outcome in outcomes for picture in outcome.pictures),
        {name: np.concatenate([row[name] for row in found]) for name in (found or [{}])[0]},
    )


def make_answers(outcome: Outcome, served: ServedModel) -> list[Answer]:
    """One answer for each picture of a batch, in order."""
    rows = iter(range(len(outcome.judged)))
    return [
        Answer(path_text(picture.path), error=picture.problem)
        if picture.problem
        else _make_answer(picture, outcome.outputs, next(rows), served)
        for picture in outcome.pictures
    ]


def _make_answer(
    picture: Picture, outputs: Mapping[str, np.ndarray], row: int, served: ServedModel
) -> Answer:
    def number(name: str) -> float | None:
        return float(outputs[name][row]) if name in outputs else None

    return Answer(
        file=path_text(picture.path),
        sha256=picture.sha256,
        label=served.classes[int(outputs["label_index"][row])],
        probabilities=tuple(outputs["probabilities"][row].tolist()),
        score=number("score"),
        decision=outputs["decision"][row].decode(),
        reconstruction_error=number("reconstruction_error"),
        version=served.version,
        model=served.digest,
    )


def _set_aside(pictures: Sequence[Picture], outputs: Mapping[str, np.ndarray]) -> Outcome:
    """Leaves out rows with a number that is none: nothing can be decided by them."""
    numbers = [outputs[name] for name in ("probabilities", "score", "reconstruction_error")
               if name in outputs]  # fmt: skip
    is_fine = np.all([np.isfinite(x.reshape(len(x), -1)).all(axis=1) for x in numbers], axis=0)
    if is_fine.all():
        return Outcome(tuple(pictures), outputs)
    flags = iter(is_fine.tolist())
    return Outcome(
        tuple(
            picture
            if picture.problem or next(flags)
            else _fault(picture, "the model's answer is not a number")
            for picture in pictures
        ),
        {name: values[is_fine] for name, values in outputs.items()},
    )


def _fault(picture: Picture, problem: str) -> Picture:
    return dataclasses.replace(picture, encoded=b"", sha256="", problem=problem)
