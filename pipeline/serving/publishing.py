"""Versions of a SavedModel in the folder that TensorFlow Serving polls.

Serving takes every child whose name parses as an integer as a version and does not look whether it
is whole. So a version is built under another name on the same file system, synced, and renamed
once. It is never touched again; a removed one is renamed before any of it is deleted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pipeline.serving.golden_set import SHEET
from pipeline.serving.model_card import CARD
from records.atomic import locked
from records.errors import InputError

# None of them parses as an integer.
_BUILDING, _REMOVED = ".candidate-", ".removed-"
_LOCK, _VERSION = "lock", "version"

# absl::SimpleAtoi, which Serving asks: spaces around and a sign are no hindrance.
_AS_SERVING_READS = re.compile(r"\s*[+-]?[0-9]+\s*", re.ASCII)
_HIGHEST = 2**63 - 1
# What a version of ours holds, one of them at least.
_MARKS = (SHEET, CARD)
_TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)


@contextlib.contextmanager
def building_version(export: Path) -> Iterator[Path]:
    """Yields an empty folder to build a version in; what is not published of it is removed.

    What killed runs left is removed first. Several processes may build at the same time: each holds
    a lock that a kill lets go of, and what is locked is nobody's leftover.

    Args:
        export: The folder that Serving polls; made if it is not there.
    """
    export.mkdir(parents=True, exist_ok=True)
    remove_leftovers(export)
    with contextlib.ExitStack() as stack:
        folder = _claim_folder(export, stack)
        try:
            version = folder / _VERSION
            version.mkdir()
            yield version
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def publish(version: Path, export: Path) -> Path:
    """Gives what was built the next number, whole or not at all.

    Args:
        version: What `building_version` yielded, complete.
        export: As given there.

    Returns:
        Where it is now: a number above all that Serving would take for one, whoever made them.

    Raises:
        InputError: There is no higher number.
    """
    _sync_tree(version)
    number = max((found for _, found in find_versions(export)), default=0) + 1
    while not (published := _take_number(version, export, number)):
        number += 1  # Another process has just taken it.
    _sync(export)
    _sync(export.parent)
    return published


def find_versions(export: Path) -> list[tuple[Path, int]]:
    """Children of `export` that Serving takes for versions, and their numbers, the lowest first.

    That may be files, and `007` is one as well as `7`.
    """
    found = [
        (path, int(path.name))
        for path in export.iterdir()
        if _AS_SERVING_READS.fullmatch(path.name) and 0 <= int(path.name) <= _HIGHEST
    ]
    return sorted(found, key=lambda item: (item[1], item[0].name))


def remove_old_versions(published: Path, *, keep: int) -> list[Path]:
    """Removes the oldest versions of ours; those that others made stay and do not count.

    Args:
        published: The version that has just appeared. It stays, and so do later ones.
        keep: How many of ours stay, this one among them; 0: all.

    Returns:
        What was removed, the oldest first.
    """
    if keep <= 0:
        return []
    ours = [(path, number) for path, number in find_versions(published.parent) if _is_ours(path)]
    surplus = max(len(ours) - keep, 0)
    older = [path for path, number in ours if number < int(published.name)][:surplus]
    return [path for path in older if _remove(path)]


def remove_leftovers(export: Path) -> None:
    """Removes what killed runs left in `export`: unfinished versions and half removed ones."""
    for folder in export.glob(f"{_BUILDING}*"):
        if folder.is_symlink():  # Made by nobody of us: the lock would lie where it leads to.
            continue
        with contextlib.suppress(OSError), locked(folder / _LOCK) as is_abandoned:
            if is_abandoned:
                shutil.rmtree(folder, ignore_errors=True)
    for folder in export.glob(f"{_REMOVED}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _claim_folder(export: Path, stack: contextlib.ExitStack) -> Path:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_BUILDING, dir=export))
        # Before it is locked another process may take it for a leftover, also in the middle of a
        # look whether it is there: then the next one.
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            is_alone = stack.enter_context(locked(folder / _LOCK))
            if is_alone and (folder / _LOCK).exists():
                return folder


def _take_number(version: Path, export: Path, number: int) -> Path | None:
    """Renames `version` to the number, or returns None if that is taken."""
    if number > _HIGHEST:
        raise InputError(
            f"{export} holds the version {_HIGHEST}, and TensorFlow Serving knows no higher one.",
            "Move that folder elsewhere, then run the stage export again.",
        )
    published = export / str(number)
    # An empty folder would be replaced by the rename.
    if os.path.lexists(published):
        return None
    try:
        return version.rename(published)
    except OSError as error:
        if error.errno in _TAKEN and os.path.lexists(published):
            return None
        raise


def _is_ours(path: Path) -> bool:
    return (
        path.name == str(int(path.name))
        and not path.is_symlink()
        and any((path / mark).is_file() for mark in _MARKS)
    )


def _remove(path: Path) -> bool:
    """Removes a version; False when another process has already done so."""
    removed = path.with_name(f"{_REMOVED}{path.name}-{secrets.token_hex(4)}")
    try:
        path.rename(removed)
    except FileNotFoundError:
        return False
    _sync(path.parent)  # Before anything is deleted: after a power cut there is no half of it.
    shutil.rmtree(removed, ignore_errors=True)
    return True


def _sync_tree(folder: Path) -> None:
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            _sync(Path(parent, name))
        _sync(Path(parent))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
