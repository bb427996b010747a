"""Stage `predict`: new pictures, judged by the exported SavedModel and by nothing else.

Classes, threshold and decisions are those the SavedModel itself answers with: a training that came
after it, or was cut short, changes nothing. Pictures are read, judged and written at the same time
and in the order they were found; what is held in memory does not grow with them, but for their
paths.

A watch goes on with the version it was started with when a newer one is exported, and its answers
say which: to change over, end it and start it again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from models.picture import crop_to_picture
from pipeline.config import Settings
from pipeline.drift.log import DriftLog
from pipeline.evaluation.decision import FAIL, PASS, REVIEW
from pipeline.predicting.answer_files import Answer, replacing_answers
from pipeline.predicting.answer_log import AnswerLog, open_answer_log
from pipeline.predicting.incoming import BATCH_SIZE, Picture, find_pictures, read_batches
from pipeline.predicting.judging import Outcome, judge_ahead, judge_pictures, make_answers
from pipeline.predicting.map_overlays import Painter, painting
from pipeline.predicting.output_folder import (
    OVERLAYS,
    draft_folder,
    holding,
    read_copies,
    require_apart,
    require_watched,
    start_folder,
    writing_to,
)
from pipeline.predicting.sorted_copies import (
    CopyPlan,
    class_folder,
    copy_judged,
    copy_logged,
    list_copies,
    remove_copies,
)
from pipeline.predicting.tally import Tally
from pipeline.predicting.watching import Arrivals, look_until, until_told
from pipeline.rundir import RunDir
from pipeline.serving.saved_model import ServedModel, find_newest_version, load_served
from records.errors import InputError
from records.places import Place, locate

WATCH = "watch"
"""Folder of a watch's answers, beside that of other runs, where no `--output_dir` was given."""
_DRAFT_OVERLAYS = ".draft-overlays"
_Placed = tuple[Place, str, str]  # A judged picture, the folder for its copy, its SHA-256.


@dataclass(frozen=True, eq=False)
class Job:
    """What pictures are judged by, and where to.

    Attributes:
        settings: The flags.
        served: The SavedModel.
        output: Where answers go.
        tally: Counts them.
        bar: Moves on by them.
        painter: Draws maps, or None.
        drift: Looks whether pictures still look like those the model knows.
    """

    settings: Settings
    served: ServedModel
    output: Path
    tally: Tally
    bar: tqdm
    painter: Painter | None
    drift: DriftLog

    def judge(
        self, found: Generator[Outcome, None, None]
    ) -> Generator[tuple[Outcome, list[Answer]], None, None]:
        """Yields what became of each batch with its answers, in order."""
        with contextlib.closing(found) as outcomes:
            for outcome in outcomes:
                answers = make_answers(outcome, self.served)
                if self.drift.add(outcome.outputs) and self.settings.watch:
                    self.drift.write(self.output)
                self.tally.add(answers)
                if self.painter:
                    names = self.painter.paint(outcome, answers)
                    answers = [
                        dataclasses.replace(answer, overlay=name and f"{OVERLAYS}/{name}")
                        for answer, name in zip(answers, names, strict=True)
                    ]
                yield outcome, answers
                self.bar.update(len(answers))

    def folder_of(self, answer: Answer) -> str:
        """Name of the folder for a copy, or empty where none is made."""
        name = answer.label if self.settings.sort_by == "class" else answer.decision
        return "" if self.settings.output_dir is None or answer.error else class_folder(name)


def run(settings: Settings) -> None:
    """Judges pictures; writes answers, and copies and maps if asked to.

    An earlier answer stays as it is until all pictures are judged. A watch adds to it.

    Raises:
        InputError: There is no SavedModel or no picture, the output folder cannot be written, is
            another's or lies among the pictures, or with `settings.strict` a picture cannot be
            judged.
    """
    run_dir = RunDir(settings.work_dir, settings.model)
    saved_model = find_newest_version(run_dir)
    if settings.watch:
        _watch(settings, saved_model, settings.output_dir or run_dir.model_dir / WATCH)
    else:
        _judge_once(settings, saved_model, settings.output_dir or run_dir.predict)


def _judge_once(settings: Settings, saved_model: Path, output: Path) -> None:
    paths = find_pictures(settings.images)
    is_sorted = settings.output_dir is not None
    require_apart(output, settings.images, paths, copies=is_sorted or settings.overlays)
    with writing_to(output):
        read_copies(output, must_be_ours=is_sorted)  # Before a lock is put into it.
        served = load_served(saved_model, heatmaps=settings.overlays)
        with (
            holding(output),
            draft_folder(output / _DRAFT_OVERLAYS) as maps,
            _starting(settings, served, output, maps, len(paths)) as job,
        ):
            earlier = read_copies(output, must_be_ours=is_sorted)
            if is_sorted:  # From now on the folder can be told to be ours.
                list_copies(output, earlier)
            placed, overlays = _write_answers(job, paths)
            job.drift.write(output)
            _place_copies(job, earlier, placed, overlays)
    job.tally.require_any(settings.images, output)
    print(job.tally.summarize(served.classes, saved_model, output))


def _write_answers(job: Job, paths: Sequence[Place]) -> tuple[list[_Placed], list[str]]:
    """Writes the answers; returns the pictures to copy, and all maps."""
    placed: list[_Placed] = []
    overlays: list[str] = []
    judged = job.judge(judge_pictures(job.served, paths, scheduler=job.settings.scheduler))
    with replacing_answers(job.output, job.served.classes) as write:
        for outcome, answers in judged:
            write(answers)
            for picture, answer in zip(outcome.pictures, answers, strict=True):
                if folder := job.folder_of(answer):
                    placed.append((picture.path, folder, picture.sha256))
            overlays += [answer.overlay for answer in answers if answer.overlay]
        if job.painter:
            job.painter.finish()
    return placed, overlays


def _place_copies(
    job: Job, earlier: Sequence[Path], placed: Sequence[_Placed], overlays: Sequence[str]
) -> None:
    """Puts copies and maps in the place of those of an earlier run."""
    remove_copies(job.output, earlier)
    plan = CopyPlan(job.output)
    targets = [plan.place(path, folder) for path, folder, _ in placed]
    maps = [job.output / name for name in overlays]
    if maps or job.settings.output_dir is not None:
        list_copies(job.output, [*targets, *maps])
    for target in maps:
        target.parent.mkdir(exist_ok=True)
        (job.output / _DRAFT_OVERLAYS / target.name).replace(target)
    copy_judged([(path, sha256) for path, _, sha256 in placed], targets)


def _watch(settings: Settings, saved_model: Path, output: Path) -> None:
    # A relative path means something else to a watch that is started again elsewhere.
    folder = Path(os.path.realpath(str(locate(settings.images))))
    if not folder.is_dir():
        raise InputError(
            f"--watch, and --images={settings.images} is no folder.",
            "Give the folder that pictures arrive in.",
        )
    require_apart(output, settings.images, [], copies=True)
    with writing_to(output):
        require_watched(output)
        served = load_served(saved_model, heatmaps=settings.overlays)
        maps = output / OVERLAYS
        with (
            holding(output),
            _starting(settings, served, output, maps, None) as job,
            open_answer_log(output, served.classes, latest=BATCH_SIZE) as log,
            until_told() as told,
        ):
            print(f"Watching {folder} by {saved_model}; Ctrl-C ends it.", flush=True)
            _judge_arrivals(job, log, Arrivals(folder, log.known), told)
            print(job.tally.summarize(served.classes, saved_model, output))


def _judge_arrivals(job: Job, log: AnswerLog, arrivals: Arrivals, told: threading.Event) -> None:
    plan = CopyPlan(job.output, log.copies)
    copy_logged(job.output, log.latest, [Path(answer.file) for answer in log.latest])
    for paths in look_until(told, arrivals):
        batches = (arrivals.sift(batch) for batch in read_batches(paths))
        with contextlib.closing(job.judge(judge_ahead(job.served.answer, batches))) as judged:
            for outcome, answers in judged:
                if job.painter:
                    job.painter.finish()  # An answer names a map that is there.
                written = [
                    _complete(job, plan, picture, answer)
                    for picture, answer in zip(outcome.pictures, answers, strict=True)
                ]
                log.write(written)
                copy_logged(job.output, written, [picture.path for picture in outcome.pictures])
                if told.is_set():
                    break


def _complete(job: Job, plan: CopyPlan, picture: Picture, answer: Answer) -> Answer:
    """Adds what a watch knows its pictures by, and where the copy will be."""
    folder = job.folder_of(answer)
    copy = plan.place(picture.path, folder).relative_to(job.output).as_posix() if folder else ""
    return dataclasses.replace(answer, stamp=picture.stamp, copy=copy)


@contextlib.contextmanager
def _starting(
    settings: Settings, served: ServedModel, output: Path, maps: Path, count: int | None
) -> Iterator[Job]:
    """Yields the job, once it is known that nothing is in the way of its copies."""
    names = served.classes if settings.sort_by == "class" else (PASS, FAIL, REVIEW)
    folders = [class_folder(name) for name in names] if settings.output_dir else []
    start_folder(output, [*folders, *([OVERLAYS] if settings.overlays else [])])
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(tqdm(total=count, unit="pictures", disable=None))
        painter = None
        if settings.overlays:
            crop = functools.partial(crop_to_picture, resize=served.resize)
            painter = stack.enter_context(painting(maps, crop, served.classes))
        drift = DriftLog(served.path, watches="monitor" in served.signatures)
        yield Job(settings, served, output, Tally(settings.strict), bar, painter, drift)
