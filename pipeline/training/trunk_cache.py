"""What a frozen trunk says of every picture: computed once, kept on disk, used by every training.

`<model>/trunk/<digest>/` holds a file a view of the training pictures, and one of the validation
pictures. Every row ends with its checksum: so a file that was not finished goes on where it was,
and one that is damaged is filled anew from there.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import google_crc32c
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from pipeline.inputs.feature_table import pack_rows, row_type
from records.ahead import map_by_threads
from records.atomic import open_own
from records.errors import InputError

BYTES_AT_MOST = 20 * 1024**3
"""All caches of one model together."""
BATCH_SIZE = 32
"""Pictures that the trunk sees at once."""

# While one batch waits for the slowest part of an operation, the other keeps the cores busy.
_AT_ONCE = 2

_DIGEST = re.compile("[0-9a-f]{64}")

Trunk = Callable[[tf.Tensor], tf.Tensor]


@dataclass(frozen=True)
class Rows:
    """What one file is to hold.

    Attributes:
        name: The file's name, without its ending.
        count: Pictures.
        batches: From the number of the first batch to batches of `BATCH_SIZE` from there on, each
            beginning with `(images, labels)`. A batch has to be the same whatever the first was;
            there may be more than `count` pictures.
    """

    name: str
    count: int
    batches: Callable[[int], tf.data.Dataset]


def affordable_views(
    views: int, *, pictures: int, held_out: int, feature_shape: tuple[int, ...]
) -> int:
    """How many views of each picture fit in `BYTES_AT_MOST`, at least 1 and at most `views`.

    Args:
        views: As many as are asked for.
        pictures: Training pictures.
        held_out: Validation pictures, of which there is one view.
        feature_shape: Shape of one picture's features.
    """
    fit = BYTES_AT_MOST // row_type(feature_shape).itemsize - held_out
    return max(1, min(views, fit // pictures))


def fill_cache(
    folder: Path, trunk: Trunk, parts: list[Rows], *, feature_shape: tuple[int, ...]
) -> list[np.memmap]:
    """Runs the trunk over what is not there yet, and returns everything.

    Older caches beside `folder` go, those used longest ago first, as far as the bound demands.

    Args:
        folder: `<model>/trunk/<digest>`; the digest stands for the trunk and for `parts`.
        trunk: From float32 `[batch, size, size, channels]` to float32 `[batch, *feature_shape]`.
        parts: What to keep.
        feature_shape: Shape of one picture's features.

    Returns:
        Each part's rows, in their order, as `row_type` has them; mapped from the files.

    Raises:
        InputError: The disk has no room for it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    os.utime(folder)
    row = row_type(feature_shape)
    _make_room(folder, {part.name: part.count * row.itemsize for part in parts})
    mapped = []
    for part in parts:
        path = _file(folder, part.name)
        _fill(path, trunk, part, row)
        mapped.append(np.memmap(path, row, mode="r", shape=(part.count,)))
    os.utime(folder)
    return mapped


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.rows"


def _make_room(folder: Path, needed: dict[str, int]) -> None:
    sizes = {name: _size(_file(folder, name)) for name in needed}
    missing = sum(max(0, needed[name] - sizes[name]) for name in needed)
    others = sorted(
        (
            other
            for other in folder.parent.iterdir()
            if other != folder
            and other.is_dir()
            and not other.is_symlink()
            and _DIGEST.fullmatch(other.name)
        ),
        key=lambda other: other.stat().st_mtime_ns,
    )
    taken = {path: _folder_bytes(path) for path in (folder, *others)}
    for oldest in others:
        fits = sum(taken.values()) + missing <= BYTES_AT_MOST
        if fits and missing <= shutil.disk_usage(folder).free:
            return
        shutil.rmtree(oldest)
        del taken[oldest]
    if missing > shutil.disk_usage(folder).free:
        _refuse(folder, missing)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _folder_bytes(folder: Path) -> int:
    return sum(_size(path) for path in folder.iterdir())


def _refuse(folder: Path, missing: int, error: OSError | None = None) -> NoReturn:
    reason = "more than the disk has free" if error is None else f"and: {error.strerror}"
    raise InputError(
        f"{folder} needs {missing / 1e9:.1f} GB more, {reason}.",
        "Make room, give a --work_dir on another disk, a smaller --image_size or fewer --views.",
    ) from error


def _fill(path: Path, trunk: Trunk, part: Rows, row: np.dtype) -> None:
    """Fills the file from the first row on that is not as its checksum says."""
    done = _count_sound(path, part.count, row)
    if done == part.count:
        return
    done -= done % BATCH_SIZE
    name = f"trunk, {part.name}"
    try:
        # Written as a stream: a disk that fills up is then an error that can be told.
        with (
            open_own(path, "r+b" if path.exists() else "xb") as file,
            tqdm(total=part.count, initial=done, desc=name, unit="pictures", disable=None) as bar,
            contextlib.closing(_pass(trunk, part, done)) as passed,
        ):
            file.seek(done * row.itemsize)
            for answers, labels in passed:
                rows = pack_rows(answers, labels)[: part.count - done]
                rows["checksum"] = _checksums(rows)
                file.write(rows.tobytes())
                done += len(rows)
                bar.update(len(rows))
    except OSError as error:
        _refuse(path.parent, part.count * row.itemsize - _size(path), error)


def _pass(
    trunk: Trunk, part: Rows, done: int
) -> Generator[tuple[np.ndarray, np.ndarray], None, None]:
    """The trunk's answers and the labels, batch by batch, from picture `done` on."""
    missing = -(-(part.count - done) // BATCH_SIZE)
    batches = part.batches(done // BATCH_SIZE).take(missing)
    return map_by_threads(
        lambda batch: (trunk(batch[0]).numpy(), batch[1].numpy()),
        batches,
        threads=_AT_ONCE,
        most=_AT_ONCE,
        name="trunk",
    )


def _count_sound(path: Path, count: int, row: np.dtype) -> int:
    """How many of the leading rows are as they were written."""
    done = 0
    if path.is_file():
        with path.open("rb") as file:
            while done < count:
                rows = np.fromfile(file, row, min(BATCH_SIZE, count - done))
                wrong = np.flatnonzero(rows["checksum"] != _checksums(rows))
                if len(wrong) or not len(rows):
                    return done + int(wrong[0]) if len(wrong) else done
                done += len(rows)
    return done


def _checksums(rows: np.ndarray) -> list[int]:
    """Of each row without the checksum that ends it."""
    raw = rows.view(np.uint8).reshape(len(rows), rows.dtype.itemsize)
    end = rows.dtype["checksum"].itemsize
    return [google_crc32c.value(row[:-end].tobytes()) for row in raw]
