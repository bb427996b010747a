"""New pictures on their way in: found, and read ahead of the model.

A picture is what `records` takes for one: in a folder, a file with one of `PICTURE_EXTENSIONS`
that is not hidden. What records re-encode is re-encoded before the model sees it; what cannot be
judged has a reason in place of its bytes.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from records.ahead import map_ahead
from records.errors import InputError
from records.listing import PICTURE_EXTENSIONS, is_visible
from records.pictures import PictureError, encode_stored, probe_bytes, probe_header, read_file
from records.places import Place, locate, walk
from records.remote import Url

STANDARD_INPUT = "-"
BATCH_SIZE = 32
SHARD_SIZE = 8 * BATCH_SIZE
"""Pictures that are judged by one worker at a time. A batch holds pictures of one shard, however
they are judged: the last bits of an answer may depend on what else was in its batch."""
LARGE_PX = 2**24
"""A batch has so many pixels at most, or one picture; larger pictures are decoded one at a time."""

_READERS = min(8, len(os.sched_getaffinity(0)) + 2)  # Some of them wait for the disk.
_BATCHES_AHEAD = 3
_BYTES_AHEAD = 2**27
_one_large_picture = threading.Lock()


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that was read, or its problem.

    Attributes:
        path: Where it lies.
        encoded: Its bytes as records hold them; empty if there is a problem.
        sha256: Of the file's own bytes, in hexadecimal; empty if there is a problem.
        problem: Why it cannot be judged, or empty.
        pixels: How many it has.
        stamp: Size in bytes and time of the last change in nanoseconds, before it was read; zeros
            where the file system does not say.
    """

    path: Place
    encoded: bytes
    sha256: str = ""
    problem: str = ""
    pixels: int = 0
    stamp: tuple[int, int] = (0, 0)


def find_pictures(images: str) -> list[Place]:
    """The pictures that `--images` means: a file, a folder with all below it, a glob, or a list.

    The list comes on standard input for `-`: one path a line, or divided by NUL as `find -print0`
    does. It is in the order given, everything else sorted; each file once. A file, a glob or a list
    is taken at its word, whatever the names end in. In a folder links to pictures are followed and
    links to folders are not.

    Raises:
        InputError: There are none, or a folder cannot be read.
    """
    place = locate(images)
    try:
        if images == STANDARD_INPUT:
            found = _parse_list(sys.stdin.buffer.read())
        elif place.is_dir():
            found = sorted(walk_pictures(place))
        elif place.exists() or place.is_symlink():
            found = [place]
        else:
            found = sorted(place.match() if isinstance(place, Url) else _match(str(place)))
    except OSError as error:
        raise InputError(
            f"--images={images} cannot be looked through: {error.filename}: {error.strerror}.",
            "Change its permissions, or give other pictures.",
        ) from error
    if not found:
        raise InputError(
            f"--images={images} names no picture.",
            "Give a file, a folder that holds .png, .jpg or .tif files, a glob in quotes such as "
            "'incoming/**/*.png', or - and a list of files on standard input.",
        )
    return found


def walk_pictures(
    place: Place, on_error: Callable[[OSError], None] | None = None
) -> Iterator[Place]:
    """What in a folder and below it is called like a picture, folders too: they are told of.

    Args:
        place: The folder.
        on_error: What is done about a folder that cannot be read; without it, it is raised.
    """
    for folder, folders, names in walk(place, on_error or _raise):
        folders[:] = filter(is_visible, folders)
        for path in (folder / name for name in [*names, *folders] if is_visible(name)):
            if path.suffix.lower() in PICTURE_EXTENSIONS:
                yield path


def read_batches(paths: Iterable[Place]) -> Iterator[list[Picture]]:
    """Reads and looks through pictures ahead of whoever takes them.

    What is ahead is bounded in number and bytes; a batch is bounded in number and pixels, so that
    pictures of any size fit in memory. The same pictures make the same batches, and so do those of
    each shard by themselves.
    """
    pool = ThreadPoolExecutor(_READERS, thread_name_prefix="reader")
    try:
        pictures = map_ahead(
            read_picture,
            paths,
            pool,
            most=_BATCHES_AHEAD * BATCH_SIZE,
            weigh=_weigh,
            heaviest=_BYTES_AHEAD,
        )
        with contextlib.closing(pictures):
            yield from _gather(pictures)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def read_picture(path: Place) -> Picture:
    """Reads a picture and decodes it once, so that what the model is given is known to be whole."""
    stamp = (0, 0)
    try:
        status = path.stat()
        stamp = (status.st_size, status.st_mtime_ns)
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, a socket or a device"
            return Picture(path, b"", problem=f"it is {kind}, no picture", stamp=stamp)
        encoded = read_file(path)
        facts = probe_header(encoded)
        pixels = facts.width * facts.height
        with _one_large_picture if pixels > LARGE_PX else contextlib.nullcontext():
            probe_bytes(encoded)
            stored = encode_stored(encoded)
        return Picture(path, stored, facts.sha256, pixels=pixels, stamp=stamp)
    except OSError as error:
        problem = f"the file cannot be read: {error.strerror}"
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            problem = "it is no file, or a link that leads nowhere"
        return Picture(path, b"", problem=problem, stamp=stamp)
    except PictureError as error:
        return Picture(path, b"", problem=error.reason, stamp=stamp)


def path_text(path: Place) -> str:
    """The path as text that can be written: a file system may hold names that are no UTF-8."""
    return path.as_posix().encode("utf-8", "backslashreplace").decode("utf-8")


def _gather(pictures: Iterable[Picture]) -> Iterator[list[Picture]]:
    batch: list[Picture] = []
    pixels = 0
    for position, picture in enumerate(pictures):
        is_full = len(batch) == BATCH_SIZE or pixels + picture.pixels > LARGE_PX
        if batch and (is_full or position % SHARD_SIZE == 0):
            yield batch
            batch, pixels = [], 0
        batch.append(picture)
        pixels += picture.pixels
    if batch:
        yield batch


def _weigh(path: Place) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _parse_list(content: bytes) -> list[Place]:
    lines = content.split(b"\0") if b"\0" in content else content.splitlines()
    return list(dict.fromkeys(locate(os.fsdecode(line)) for line in lines if line.strip()))


def _raise(error: OSError) -> NoReturn:
    raise error


def _match(pattern: str) -> list[Path]:
    """What a glob means. Links can lead it to a file on many ways, of which the shortest counts."""
    paths = map(Path, glob.glob(pattern, recursive=True))  # noqa: PTH207 - a path of any root
    ways: dict[Path, Path] = {}
    for path in sorted(paths, key=lambda path: (len(path.parts), path)):
        if not os.path.isdir(path):  # noqa: PTH112 - the method raises where this says no
            # Path.resolve raises on links that lead in a circle, before Python 3.13.
            ways.setdefault(Path(os.path.realpath(path.parent)) / path.name, path)
    return list(ways.values())
