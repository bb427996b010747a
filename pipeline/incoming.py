"""New pictures on their way in: found, read, and copied into one folder a class.

A picture is what `records` takes for one: in a folder, a file with one of `PICTURE_EXTENSIONS`
that is not hidden. What records re-encode is re-encoded before the model sees it; what cannot be
judged is set aside with a reason. An output folder is written to only while it is empty or ours:
`copies.json`, a list of paths below it, says which copies an earlier run made there; those and no
others are removed.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NoReturn

from pipeline.predictions import UNKNOWN, read_predictions
from records.atomic import replacing, write_json
from records.errors import InputError
from records.listing import PICTURE_EXTENSIONS
from records.pictures import PictureError, encode_stored, probe_bytes, read_file

PREDICTIONS, REJECTS, COPIES = "predictions.csv", "rejects.csv", "copies.json"
_BATCH_SIZE = 32


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that was read: as records hold it, with the file's SHA-256; or its problem."""

    path: Path
    encoded: bytes
    sha256: str = ""
    problem: str = ""


def find_pictures(images: str) -> list[Path]:
    """The pictures that `--images` means: a file, a folder with all below it, or a glob.

    Sorted, each file once. A file or a glob is taken at its word, whatever the names end in. In a
    folder links to pictures are followed and links to folders are not.

    Raises:
        InputError: There are none, or a folder cannot be read.
    """
    place = Path(images)
    try:
        if place.is_dir():
            found = list(_walk(place))
        elif place.exists() or place.is_symlink():
            found = [place]
        else:
            found = _match(images)
    except OSError as error:
        raise InputError(
            f"--images={images} cannot be looked through: {error.filename}: {error.strerror}.",
            "Change its permissions, or give other pictures.",
        ) from error
    if not found:
        raise InputError(
            f"--images={images} names no picture.",
            "Give a file, a folder that holds .png, .jpg or .tif files, or a glob in quotes such "
            "as 'incoming/**/*.png'.",
        )
    return sorted(found)


def read_batches(paths: Sequence[Path]) -> Iterator[list[Picture]]:
    """Reads ahead by one batch while the model works on the one before."""
    chunks = [paths[start : start + _BATCH_SIZE] for start in range(0, len(paths), _BATCH_SIZE)]
    with ThreadPoolExecutor() as pool:
        ahead = [pool.submit(_read, path) for path in chunks[0]]
        for following in [*chunks[1:], []]:
            batch, ahead = ahead, [pool.submit(_read, path) for path in following]
            yield [future.result() for future in batch]


def require_apart(output: Path, images: str, pictures: Sequence[Path], *, copies: bool) -> None:
    """Looks whether answers written to `output` could reach the pictures themselves.

    Args:
        output: The output folder; need not be there.
        images: The place of the pictures, as for `find_pictures`.
        pictures: What was found there.
        copies: Whether pictures will be copied to `output`, which then must not lie among them.

    Raises:
        InputError: They could: a picture lies in `output`, or copies would lie among pictures.
    """
    target = _resolve(output)
    places = {Path(images)} if Path(images).is_dir() else {path.parent for path in pictures}
    among = copies and any(target.is_relative_to(_resolve(place)) for place in places)
    reached = {*pictures, *(path.parent for path in pictures)}
    if among or any(_resolve(path).is_relative_to(target) for path in reached):
        raise InputError(
            f"The output folder {output} and the pictures of --images={images} lie in one another.",
            "Give an --output_dir apart from the pictures.",
        )


def read_copies(folder: Path, *, must_be_ours: bool) -> list[Path]:
    """The copies that an earlier run left in an output folder.

    Args:
        folder: The output folder.
        must_be_ours: Whether it has to be empty but for hidden files, or hold an earlier answer.

    Raises:
        InputError: The folder is not ours, or its list of copies is not one that we write.
        OSError: It cannot be read.
    """
    try:
        if (folder / COPIES).exists():
            names = json.loads((folder / COPIES).read_text(encoding="utf-8"))
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


def remove_answers(folder: Path, copies: Sequence[Path]) -> None:
    """Removes an earlier answer: its tables, the copies listed, and class folders left empty."""
    for path in (folder / PREDICTIONS, folder / REJECTS, *copies):
        path.unlink(missing_ok=True)
    for class_folder in sorted({path.parent for path in copies}):
        if class_folder.is_dir() and not any(class_folder.iterdir()):
            class_folder.rmdir()
    (folder / COPIES).unlink(missing_ok=True)


def copy_pictures(pictures: Sequence[Path], class_folders: Sequence[str], folder: Path) -> None:
    """Copies pictures into one folder a class; a name that is taken gets a number behind it.

    Args:
        pictures: What to copy.
        class_folders: Name of the folder for each.
        folder: Where these folders go.

    Raises:
        InputError: A link or a file lies in the place of a class folder.
        OSError: A picture cannot be read or written.
    """
    for name in sorted(set(class_folders)):
        _require_folder(folder / name)
    targets = _plan_copies(pictures, [folder / name for name in class_folders])
    # Listed before they are there: a run that is cut short leaves no copy that nobody owns.
    write_json(folder / COPIES, [path.relative_to(folder).as_posix() for path in targets])
    for picture, target in zip(pictures, targets, strict=True):
        with replacing(target) as draft:
            shutil.copyfile(picture, draft)


def _walk(place: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(place, onerror=_raise):
        folders[:] = filter(_is_visible, folders)
        for path in map(Path(folder).joinpath, filter(_is_visible, names)):
            if path.suffix.lower() in PICTURE_EXTENSIONS:
                yield path


def _raise(error: OSError) -> NoReturn:
    raise error


def _is_visible(name: str) -> bool:
    return not name.startswith(".") and name != "__MACOSX"


def _match(pattern: str) -> list[Path]:
    """What a glob means. Links can lead it to a file on many ways, of which the shortest counts."""
    paths = map(Path, glob.glob(pattern, recursive=True))  # noqa: PTH207 - a path of any root
    ways: dict[Path, Path] = {}
    for path in sorted(paths, key=lambda path: (len(path.parts), path)):
        if not os.path.isdir(path):  # noqa: PTH112 - the method raises where this says no
            ways.setdefault(_resolve(path.parent) / path.name, path)
    return list(ways.values())


def _resolve(path: Path) -> Path:
    # Path.resolve raises on links that lead in a circle, before Python 3.13.
    return Path(os.path.realpath(path))


def _read(path: Path) -> Picture:
    try:
        if not path.is_file():
            return Picture(path, b"", problem="it is no file, or a link that leads nowhere")
        encoded = read_file(path)
        probe_bytes(encoded)
        return Picture(path, encode_stored(encoded), hashlib.sha256(encoded).hexdigest())
    except OSError as error:
        return Picture(path, b"", problem=f"the file cannot be read: {error.strerror}")
    except PictureError as error:
        return Picture(path, b"", problem=error.reason)


def _locate_copy(folder: Path, name: str) -> Path:
    """Where a copy lies: in a folder of its class, itself below `folder`, and nowhere else."""
    parts = PurePosixPath(name).parts
    path = folder.joinpath(*parts)
    inside = len(parts) == 2 and not {"/", ".."} & set(parts)
    if not inside or _resolve(path.parent) != _resolve(folder) / parts[0]:
        raise ValueError(f"{COPIES} in it names {name!r}, which is no copy of ours")
    return path


def _is_answer(path: Path) -> bool:
    """Whether a file holds answers of this stage; those of an evaluation know the true class."""
    try:
        return bool((read_predictions(path).true == UNKNOWN).all())
    except InputError:
        return False


def _require_folder(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise InputError(
            f"{folder} is in the way of the folder for pictures of its class.",
            "Remove it, or give another --output_dir.",
        )


def _plan_copies(pictures: Sequence[Path], folders: Sequence[Path]) -> list[Path]:
    """A path for each copy that no other has; names that differ in case alone count as one."""
    targets: list[Path] = []
    taken: set[str] = set()
    numbers: dict[str, int] = {}
    for picture, folder in zip(pictures, folders, strict=True):
        first = target = folder / picture.name
        key = str(first).casefold()
        while str(target).casefold() in taken or os.path.lexists(target):
            numbers[key] = numbers.get(key, 1) + 1
            target = folder / f"{picture.stem}-{numbers[key]}{picture.suffix}"
        taken.add(str(target).casefold())
        targets.append(target)
    return targets
