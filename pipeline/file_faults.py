"""What a disk, its permissions or a lost mount did to a run, told as one message with the file.

Python says so by an `OSError`. TensorFlow and HDF5 say so by errors of their own, which hold the
system's words.
"""

from __future__ import annotations

import errno
import os
import re

from pipeline.config import Settings
from records.errors import InputError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)
_KNOWN = (*_FULL, *_FORBIDDEN, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ESTALE)
_PATH = re.compile(r"/[^\s;:'\"]+")


def find_file_fault(error: BaseException, settings: Settings) -> InputError | None:
    """The message for an error that the disk or its permissions made; None for any other.

    Args:
        error: What ended the run.
        settings: Of the run; an error that names no file is one of a file of its folders.
    """
    found = _find_number(error)
    if found is None:
        return None
    folder = settings.data_dir if settings.stage == "sample" else settings.work_dir
    path = getattr(error, "filename", None) or _find_path(error) or f"A file below {folder}"
    words = getattr(error, "strerror", None) or (os.strerror(found) if found else str(error))
    return InputError(f"{os.fsdecode(path) if isinstance(path, bytes) else path}: {words}.",
                      _remedy(found))  # fmt: skip


def _find_number(error: BaseException) -> int | None:
    """The system's number of the error; 0 for one without; None for what has to do with no file."""
    filename = None
    if isinstance(error, OSError):
        filename = error.filename
        if error.errno:
            return error.errno if filename or error.errno in _KNOWN else None
    elif not type(error).__module__.startswith("tensorflow"):
        return None
    named = next((number for number in _KNOWN if os.strerror(number) in str(error)), None)
    return named or (0 if filename else None)


def _find_path(error: BaseException) -> str | None:
    found = _PATH.search(str(error))
    return found[0] if found else None


def _remedy(number: int) -> str:
    if number in _FULL:
        return "Make room on the disk; earlier results are as they were, the same command goes on."
    if number in _FORBIDDEN:
        return "Change the permissions, or give another folder."
    return (
        "Look whether it is there, of the right kind, and yours to read or write, and whether the "
        "disk has room."
    )
