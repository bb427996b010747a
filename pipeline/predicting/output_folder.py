"""The folder that answers go to: whose it is, and whether it can be written.

It is written to only while it is empty or ours: `copies.json`, a list of paths below it, says which
copies and maps an earlier run made there; those and no others are removed. A watch lists its own in
its answers, and no other run writes to its folder.
"""

from __future__ import annotations

import contextlib
import csv
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from pipeline.evaluation.predictions import answer_header
from pipeline.predicting.answer_files import JSON_LINES, PREDICTIONS
from pipeline.predicting.answer_log import is_of_a_watch
from records.atomic import locked, remove_tree
from records.errors import InputError
from records.places import Place, locate
from records.untrusted import read_json, require_file

COPIES, OVERLAYS = "copies.json", "overlays"
_LOCK = ".predict.lock"
_DRAFT = re.compile(r"\.draft-[a-z0-9_]{8}(\..*)?")  # as `records.atomic.replacing` names them


def require_apart(output: Path, images: str, pictures: Sequence[Place], *, copies: bool) -> None:
    """Looks whether answers written to `output` could reach the pictures themselves.

    Args:
        output: The output folder; need not be there.
        images: The place of the pictures, as for `find_pictures`.
        pictures: What was found there.
        copies: Whether pictures will be written to `output`, which then must not lie among them.

    Raises:
        InputError: They could: a picture lies in `output`, or copies would lie among pictures.
    """
    target = _resolve(output)
    here = [path for path in pictures if isinstance(path, Path)]  # Others cannot be reached.
    parents = {path.parent for path in here}
    place = locate(images)
    places = {place} if isinstance(place, Path) and place.is_dir() else parents
    among = copies and any(target.is_relative_to(_resolve(place)) for place in places)
    reached = {*parents, *places, *(path for path in here if path.is_symlink())}
    if among or any(_resolve(path).is_relative_to(target) for path in reached):
        raise InputError(
            f"The output folder {output} and the pictures of --images={images} lie in one another.",
            "Give an --output_dir apart from the pictures.",
        )


@contextlib.contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Makes the folder, and says what keeps answers from it.

    Raises:
        InputError: The block could not write to it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()  # Told now, not after all pictures are judged.
        yield
    except OSError as error:
        raise InputError(
            f"The answers cannot be written to {folder}: {error}.",
            "Change the permissions, make room on the disk, or give another --output_dir.",
        ) from error


@contextlib.contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Holds a folder that is ours against other runs.

    Raises:
        InputError: Another run holds it.
    """
    with locked(folder / _LOCK) as is_ours:
        if not is_ours:
            raise InputError(
                f"Another run writes its answers to {folder}.",
                "Wait for its end, or give another --output_dir.",
            )
        yield


@contextlib.contextmanager
def draft_folder(folder: Path) -> Iterator[Path]:
    """Yields a folder of drafts, not there yet; it is gone before and after, with all in it."""
    remove_tree(folder)  # of a run that was killed
    try:
        yield folder
    finally:
        remove_tree(folder)


def read_copies(folder: Path, *, must_be_ours: bool) -> list[Path]:
    """The copies and maps that an earlier run left in an output folder.

    Args:
        folder: The output folder.
        must_be_ours: Whether it has to be empty but for hidden files, or hold an earlier answer.

    Raises:
        InputError: The folder is not ours, is that of a watch, or its list of copies is not one
            that we write.
        OSError: It cannot be read.
    """
    try:
        if is_of_a_watch(folder):
            raise ValueError("it holds the answers of --watch, which no other run replaces")
        if (folder / COPIES).exists():
            names = read_json(folder / COPIES)
            if not isinstance(names, list):
                raise ValueError(f"{COPIES} in it is no list of ours")
            return [_locate_copy(folder, name) for name in names]
        visible = [path for path in folder.iterdir() if not path.name.startswith(".")]
        if must_be_ours and visible and not _is_answer(folder / PREDICTIONS):
            raise ValueError("the output folder is not empty, and not by an earlier answer")
        return []
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{folder} is not written to: {error}.", "For --output_dir give a new or empty folder."
        ) from error


def require_watched(folder: Path) -> None:
    """Looks whether a watch may write to a folder: a new one, or one of an earlier watch.

    Raises:
        InputError: It is neither.
        OSError: It cannot be read.
    """
    is_empty = all(path.name.startswith(".") for path in folder.iterdir())
    judged = is_of_a_watch(folder)
    # A watch that was killed before its first answer leaves this file without a line.
    has_begun = judged is None and (folder / JSON_LINES).is_file()
    if not (is_empty or judged or has_begun):
        raise InputError(
            f"{folder} is not written to: it is not empty, and not by an earlier --watch.",
            "For --output_dir give a new or empty folder.",
        )


def start_folder(folder: Path, folders: Sequence[str]) -> None:
    """Looks whether copies can be made, and removes drafts of runs that were killed.

    Args:
        folder: The output folder.
        folders: Names of the folders that pictures may be copied to.

    Raises:
        InputError: A link or a file lies in the place of one of these.
    """
    for name in sorted(set(folders)):
        path = folder / name
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            raise InputError(
                f"{path} is in the way of the folder for pictures of its class.",
                "Remove it, or give another --output_dir.",
            )
    for place in filter(Path.is_dir, (folder, *(folder / name for name in folders))):
        for path in place.iterdir():
            if _DRAFT.fullmatch(path.name) and not path.is_dir():
                path.unlink()


def _resolve(path: Path) -> Path:
    # Path.resolve raises on links that lead in a circle, before Python 3.13.
    return Path(os.path.realpath(path))


def _locate_copy(folder: Path, name: str) -> Path:
    """Where a copy lies: in a folder of its class, itself below `folder`, and nowhere else."""
    parts = PurePosixPath(name).parts
    path = folder.joinpath(*parts)
    inside = len(parts) == 2 and not {"/", ".."} & set(parts)
    if not inside or _resolve(path.parent) != _resolve(folder) / parts[0]:
        raise ValueError(f"{COPIES} in it names {name!r}, which is no copy of ours")
    return path


def _is_answer(path: Path) -> bool:
    """Whether a file holds answers of this stage; an evaluation's have other columns."""
    own = answer_header([])
    try:
        with require_file(path).open(encoding="utf-8") as file:
            return next(csv.reader(file), [])[: len(own)] == own
    except (OSError, ValueError, csv.Error):
        return False
