"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a path beside `path` to write to; renames it over `path` when the block ends well.

    The file is synced before the rename, so that after a power cut `path` is either the old file
    or the whole new one. When the block raises, what was written is removed and `path` is as it
    was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".draft-", suffix=path.suffix[:16])
    os.close(handle)
    draft = Path(name)
    try:
        yield draft
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.chmod(0o644)
        draft.replace(path)
    except OSError as error:
        # A write that fails does not say where; a full disk is told by it.
        error.filename = error.filename or str(path)
        raise
    finally:
        draft.unlink(missing_ok=True)


@contextlib.contextmanager
def building(folder: Path) -> Iterator[Path]:
    """Yields a folder beside `folder` to build in; puts it in its place when the block ends well.

    It is called `<name>-draft` and may hold what an earlier block left that did not end well, so
    that work can go on from there; it stays when the block raises. A process killed between the two
    renames leaves the earlier folder as `<name>-old`, which the next call puts back first.

    Raises:
        OSError: A file is in the place of the folder, or a link in that of one beside it.
    """
    folder = folder.resolve()  # A link stays, and what it leads to is replaced.
    draft, old = (folder.with_name(f"{folder.name}-{end}") for end in ("draft", "old"))
    for place in (draft, old):
        if place.is_symlink():
            raise _refuse_link(place)
    if old.exists() and not folder.exists():
        old.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder))
    draft.mkdir(parents=True, exist_ok=True)
    yield draft
    if folder.exists():
        folder.rename(old)
    try:
        draft.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def rebuilding(folder: Path) -> Iterator[Path]:
    """As `building`, but replaces a link, begins empty, and leaves nothing when the block raises.

    Raises:
        OSError: As `building`.
    """
    if folder.is_symlink():
        folder.unlink()
    with building(folder) as draft:
        remove_tree(draft)
        draft.mkdir()
        try:
            yield draft
        except BaseException:
            remove_tree(draft)
            raise


def open_own(path: Path, mode: str, **form: Any) -> IO[Any]:
    """As `open`, for a file of ours that grows or is changed where it lies, and is no link.

    `replacing` replaces a link; a file that is opened to be written to would be that which it leads
    to, wherever that is. Nor is a pipe waited for.

    Raises:
        OSError: It is a link, or cannot be opened.
    """

    def open_no_link(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)

    try:
        return open(path, mode, opener=open_no_link, **form)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _refuse_link(path) from error
        raise


def remove_tree(path: Path) -> None:
    """Removes a folder of ours with all in it, if it is there; of a link the link alone."""
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def _refuse_link(path: Path) -> OSError:
    return OSError(errno.ELOOP, "It is a link, and what it leads to would be changed", str(path))


@contextlib.contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[bool]:
    """Yields whether this process holds the lock `path`; a kill lets go of it too.

    Args:
        path: A file, made if it is not there; or a folder, to which nothing is added.
        shared: Whether others may hold it as well that say so too; otherwise none may.

    Raises:
        OSError: It is a link, cannot be opened, or lies where there are no locks.
    """
    with contextlib.ExitStack() as stack:
        if path.is_dir():
            handle = os.open(path, os.O_RDONLY)
            stack.callback(os.close, handle)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = stack.enter_context(open_own(path, "a")).fileno()
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            is_ours = True
        except BlockingIOError:
            is_ours = False
        except OSError as error:
            error.filename = str(path)
            raise
        yield is_ours


def write_text(path: Path, text: str) -> None:
    """Writes `text` as UTF-8 with the line ends it has, whole or not at all."""
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8", newline="")


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as strict JSON: sorted keys, and a `ValueError` for NaN or infinity."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")
