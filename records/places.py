"""Where pictures are read from: a path of this machine, or a URL. What is read is the same."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from records.errors import InputError
from records.remote import Entry, Url

Place = Path | Url

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)


def locate(text: str) -> Place:
    """What a text names. `file://` stands before a path of this machine.

    Raises:
        InputError: It is a URL that names nothing, or a file of another machine.
    """
    found = _URL.fullmatch(text)
    if not found:
        return Path(text)
    scheme, rest = found[1].lower(), found[2]
    if scheme == "file" and rest.startswith("/"):
        return Path(rest)
    if scheme == "file" or not rest.strip("/"):
        raise InputError(
            f"{text} names no file and no folder.",
            "Give it as scheme://host/path; a file of this machine as a path, or file:///path.",
        )
    return Url(f"{scheme}://{rest.rstrip('/')}")


def locate_here(text: str, flag: str) -> Path:
    """The path of this machine that a flag names, where a URL would not do.

    Raises:
        InputError: It is a URL.
    """
    place = locate(text)
    if isinstance(place, Path):
        return place
    raise InputError(
        f"--{flag}={text} is a URL, and must be a folder: a run locks its folder and renames "
        "others whole, which URLs cannot promise.",
        "Give a folder of this machine, or one that is mounted; what is done can be copied "
        "wherever it is wanted.",
    )


def read_at_most(place: Place, most: int) -> bytes:
    """Reads a file, but no more than `most` bytes and one, which tells that there are more.

    Raises:
        OSError: It cannot be read.
    """
    if isinstance(place, Url):
        return place.read(most + 1)
    with place.open("rb") as file:
        # Room for what is asked for is made before it is read.
        size = os.fstat(file.fileno()).st_size
        return file.read(min(size, most) + 1)


def is_readable(place: Place) -> bool:
    """Whether this process may read a file or folder."""
    if isinstance(place, Path):
        return os.access(place, os.R_OK)
    try:
        return place.exists()
    except (OSError, InputError):
        return False


def scan(folder: Place) -> Sequence[os.DirEntry[str] | Entry]:
    """What lies in a folder, in any order.

    Raises:
        OSError: It cannot be listed.
    """
    if isinstance(folder, Url):
        return folder.scan()
    with os.scandir(folder) as entries:
        return list(entries)


def walk(
    top: Place, on_error: Callable[[OSError], object] | None = None
) -> Iterator[tuple[Place, list[str], list[str]]]:
    """As `os.walk`: each folder, names of the folders in it, which may be changed, and of files."""
    if isinstance(top, Path):
        for folder, folders, names in os.walk(top, onerror=on_error):
            yield Path(folder), folders, names
        return
    try:
        entries = top.scan()
    except OSError as error:
        if on_error:
            on_error(error)
        return
    inner = [entry.name for entry in entries if entry.is_dir()]
    yield top, inner, [entry.name for entry in entries if entry.is_file()]
    for name in inner:
        yield from walk(top / name, on_error)
