"""Copies of judged pictures, in one folder a class or a decision.

Which files below an output folder are ours stands in `copies.json` before they are there: a run
that is cut short leaves no copy that nobody owns. A watch writes it into its answers instead.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.drift.log import DRIFT
from pipeline.filenames import digested_name, safe_name
from pipeline.predicting.answer_files import JSON_LINES, PREDICTIONS, REJECTS, Answer
from pipeline.predicting.incoming import path_text
from pipeline.predicting.output_folder import COPIES, OVERLAYS
from records.atomic import replacing, write_json
from records.pictures import MAX_FILE_BYTES
from records.places import Place, read_at_most
from records.untrusted import require_file

_OWN_NAMES = (PREDICTIONS, JSON_LINES, REJECTS, COPIES, OVERLAYS, DRIFT)


def remove_copies(folder: Path, copies: Sequence[Path]) -> None:
    """Removes the copies listed, and class folders that are left empty."""
    for path in copies:
        path.unlink(missing_ok=True)
    for class_folder in sorted({path.parent for path in copies}):
        if class_folder.is_dir() and not any(class_folder.iterdir()):
            class_folder.rmdir()
    (folder / COPIES).unlink(missing_ok=True)


def list_copies(folder: Path, copies: Iterable[Path]) -> None:
    """Writes which files below `folder` are ours."""
    write_json(folder / COPIES, [path.relative_to(folder).as_posix() for path in copies])


def copy_picture(picture: Place, target: Path, *, sha256: str) -> bool:
    """Copies a picture, whole or not at all.

    Args:
        picture: Where it lies.
        target: Where the copy goes.
        sha256: Of the bytes that were judged.

    Returns:
        False when it is gone or is no longer the one that was judged; there is no copy then.

    Raises:
        OSError: The copy cannot be written.
    """
    try:
        encoded = read_at_most(require_file(picture), MAX_FILE_BYTES)
    except OSError:
        return False
    if hashlib.sha256(encoded).hexdigest() != sha256:
        return False
    with replacing(target) as draft:
        draft.write_bytes(encoded)
    return True


def copy_judged(judged: Iterable[tuple[Place, str]], targets: Iterable[Path]) -> None:
    """Copies pictures, each given with its SHA-256, and names those that have changed since."""
    for (picture, sha256), target in zip(judged, targets, strict=True):
        if not copy_picture(picture, target, sha256=sha256):
            print(f"{picture} has changed since it was judged: it was not copied.", file=sys.stderr)


def copy_logged(folder: Path, answers: Iterable[Answer], pictures: Iterable[Place]) -> None:
    """Makes the copies that answers of a watch name, where they are missing.

    A picture that is no longer there, or no longer the one that was judged, is passed by: a line
    may clear its folder.
    """
    for answer, picture in zip(answers, pictures, strict=True):
        if answer.copy and not os.path.lexists(folder / answer.copy):
            copy_picture(picture, folder / answer.copy, sha256=answer.sha256)


def class_folder(name: str) -> str:
    """Name of the folder for a class, which is that of none of our own files."""
    own = name.casefold() in _OWN_NAMES
    return digested_name(name) if own else safe_name(name)


class CopyPlan:
    """Gives every picture a place in its folder; a name that is taken gets a number behind it.

    Names that differ in case alone count as one.

    Args:
        folder: The output folder.
        taken: Places below it that are spoken for, though nothing may lie there.
    """

    def __init__(self, folder: Path, taken: Iterable[str] = ()) -> None:
        self._folder = folder
        self._taken = {str(folder / name).casefold() for name in taken}
        self._numbers: dict[str, int] = {}

    def place(self, picture: Place, class_folder: str) -> Path:
        """Where the copy of `picture` goes, which is no place of another."""
        # Some file systems hold names that are no text, and lists cannot.
        name = Path(path_text(Path(picture.name)))
        first = target = self._folder / class_folder / name
        key = str(first).casefold()
        while str(target).casefold() in self._taken or os.path.lexists(target):
            self._numbers[key] = self._numbers.get(key, 1) + 1
            target = first.with_name(f"{name.stem}-{self._numbers[key]}{name.suffix}")
        self._taken.add(str(target).casefold())
        return target
