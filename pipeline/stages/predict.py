"""Stage `predict`: new pictures, judged by the exported SavedModel and by nothing else."""

from __future__ import annotations

import glob
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from pipeline.config import Settings
from pipeline.filenames import safe_name
from pipeline.modelfacts import ModelFacts
from pipeline.predictions import UNKNOWN, Predictions, write_predictions
from pipeline.rundir import RunDir
from records.atomic import replacing, write_text
from records.errors import InputError
from records.pictures import PictureError, probe_bytes
from records.sheets import format_csv

PICTURE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png")
_BATCH_SIZE = 32


@dataclass(frozen=True, slots=True)
class _Picture:
    """A picture that was read: its bytes, or why they cannot be judged."""

    path: Path
    encoded: bytes
    problem: str


def run(settings: Settings) -> None:
    """Judges pictures; writes `predictions.csv` and `rejects.csv`, and copies if asked to.

    Raises:
        InputError: There is no SavedModel or no picture, the output folder cannot be written, or
            with `settings.strict` a picture cannot be judged.
    """
    run_dir = RunDir(settings.work_dir, settings.model)
    facts = ModelFacts.read(run_dir.config)
    saved_model = newest_version(run_dir)
    paths = find_pictures(settings.images)
    output = settings.output_dir or run_dir.predict
    _make_folder(output)
    serve = tf.saved_model.load(str(saved_model)).signatures["serving_default"]
    judged: list[Path] = []
    rejects: list[tuple[Path, str]] = []
    answers: list[dict[str, np.ndarray]] = []
    with tqdm(total=len(paths), unit="pictures", disable=None) as bar:
        for batch in _read_batches(paths):
            good = [picture for picture in batch if not picture.problem]
            rejects += [(picture.path, picture.problem) for picture in batch if picture.problem]
            _require_none(rejects, strict=settings.strict)
            if good:
                encoded = tf.constant([picture.encoded for picture in good])
                answers.append({k: v.numpy() for k, v in serve(image_bytes=encoded).items()})
                judged += [picture.path for picture in good]
            bar.update(len(batch))
    _write_rejects(output / "rejects.csv", rejects)
    if not judged:
        raise InputError(
            f"None of the {len(paths)} pictures of --images={settings.images} can be judged; "
            f"{rejects[0][0]}: {rejects[0][1]}.",
            f"See {output / 'rejects.csv'}.",
        )
    predictions = _collect(facts, judged, answers)
    write_predictions(output / "predictions.csv", predictions)
    if settings.output_dir:
        _copy_by_class(judged, predictions, settings.output_dir)
    print(_summary(predictions, rejects, saved_model, output))


def newest_version(run_dir: RunDir) -> Path:
    """The SavedModel with the highest version number.

    Raises:
        InputError: There is none.
    """
    versions = [path for path in run_dir.export.iterdir() if path.name.isdecimal()]
    if not versions:
        raise InputError(
            f"{run_dir.export} holds no SavedModel.",
            f"Run: python main.py --stage=export --work_dir={run_dir.root} --model={run_dir.model}",
        )
    return max(versions, key=lambda path: int(path.name))


def find_pictures(images: str) -> list[Path]:
    """The pictures that `--images` means: a file, a folder with all below it, or a glob.

    Returns:
        Sorted paths. In a folder only files whose name ends like a picture's count; a file or a
        glob is taken at its word.

    Raises:
        InputError: There are none.
    """
    place = Path(images)
    if place.is_dir():
        found = [path for path in place.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES]
    elif place.exists():
        found = [place]
    else:
        found = [Path(name) for name in glob.glob(images, recursive=True)]  # noqa: PTH207 - a path of any root
    paths = sorted(path for path in found if path.is_file())
    if not paths:
        raise InputError(
            f"--images={images} names no picture.",
            "Give a file, a folder that holds .png, .jpg or .bmp files, or a glob in quotes such "
            "as 'incoming/**/*.png'.",
        )
    return paths


def _read_batches(paths: Sequence[Path]) -> Iterator[list[_Picture]]:
    """Reads ahead by one batch while the model works on the one before."""
    chunks = [paths[start : start + _BATCH_SIZE] for start in range(0, len(paths), _BATCH_SIZE)]
    with ThreadPoolExecutor() as pool:
        ahead = [pool.submit(_read, path) for path in chunks[0]]
        for following in [*chunks[1:], []]:
            batch, ahead = ahead, [pool.submit(_read, path) for path in following]
            yield [future.result() for future in batch]


def _read(path: Path) -> _Picture:
    try:
        encoded = path.read_bytes()
        probe_bytes(encoded)
    except OSError as error:
        return _Picture(path, b"", f"the file cannot be read: {error.strerror}")
    except PictureError as error:
        return _Picture(path, b"", error.reason)
    return _Picture(path, encoded, "")


def _require_none(rejects: list[tuple[Path, str]], *, strict: bool) -> None:
    if strict and rejects:
        raise InputError(
            f"--strict, and {rejects[0][0]} cannot be judged: {rejects[0][1]}.",
            "Mend or remove the picture, or leave --strict out.",
        )


def _collect(
    facts: ModelFacts, paths: list[Path], answers: list[dict[str, np.ndarray]]
) -> Predictions:
    def column(name: str) -> Any:
        return np.concatenate([answer[name] for answer in answers])

    return Predictions(
        classes=facts.classes,
        source_ids=tuple(map(_name, paths)),
        true=np.full([len(paths)], UNKNOWN, np.int64),
        predicted=column("label_index"),
        decisions=tuple(value.decode() for value in column("decision")),
        scores=column("score") if facts.positive_class else None,
        probabilities=column("probabilities"),
    )


def _copy_by_class(paths: list[Path], predictions: Predictions, folder: Path) -> None:
    """Copies each picture into the folder of its class; a name taken gets a number behind it."""
    taken: set[Path] = set()
    for path, index in zip(paths, predictions.predicted, strict=True):
        class_folder = folder / safe_name(predictions.classes[index])
        target, number = class_folder / path.name, 1
        while target in taken:
            number += 1
            target = class_folder / f"{path.stem}-{number}{path.suffix}"
        taken.add(target)
        with replacing(target) as draft:
            shutil.copyfile(path, draft)


def _write_rejects(path: Path, rejects: list[tuple[Path, str]]) -> None:
    rows = [(_name(picture), reason) for picture, reason in rejects]
    write_text(path, format_csv([("path", "reason"), *rows]))


def _name(path: Path) -> str:
    """The path as text that can be written: a file system may hold names that are no UTF-8."""
    return path.as_posix().encode("utf-8", "backslashreplace").decode("utf-8")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be made: {error.strerror}.", "Give another --output_dir."
        ) from error


def _summary(
    predictions: Predictions, rejects: list[tuple[Path, str]], saved_model: Path, output: Path
) -> str:
    counts = np.bincount(predictions.predicted, minlength=len(predictions.classes))
    lines = [f"Judged {len(predictions.source_ids)} pictures by {saved_model}:"]
    lines += [f"  {name}  {count}" for name, count in zip(predictions.classes, counts, strict=True)]
    if rejects:
        lines.append(f"  set aside  {len(rejects)} (see {output / 'rejects.csv'})")
    return "\n".join([*lines, f"Answers: {output / 'predictions.csv'}"])
