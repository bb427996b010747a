"""What a disk did, told with the file, whoever found it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from pipeline.config import Settings
from pipeline.file_faults import find_file_fault

SETTINGS = Settings(stage="eval", work_dir=Path("/line/run"))


class TensorFlowError(Exception):
    """As TensorFlow's own, of which the module alone counts."""

    __module__ = "tensorflow.python.framework.errors_impl"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/line/run/a.png"),
         ["/line/run/a.png: No space left on device.", "Make room", "the same command goes on"]),
        (OSError(errno.ENOSPC, "No space left on device"), ["A file below /line/run: No space"]),
        (OSError(errno.EROFS, "Read-only file system", "/a"),
         ["/a: Read-only file system.", "permissions"]),
        (OSError(errno.EISDIR, "Is a directory", b"/a"),
         ["/a: Is a directory.", "of the right kind"]),
        (OSError(errno.ELOOP, "It is a link", "/a"), ["/a: It is a link.", "of the right kind"]),
        (OSError("Can't write data (errno = 28, error message = 'No space left on device')"),
         ["A file below /line/run: No space left on device."]),
        (TensorFlowError("/line/run/v/data; No space left on device"),
         ["/line/run/v/data: No space left on device."]),
    ],
)  # fmt: skip
def test_a_fault_of_the_disk_is_a_message(error: Exception, words: list[str]) -> None:
    found = find_file_fault(error, SETTINGS)
    assert found is not None
    for word in words:
        assert word in str(found)


@pytest.mark.parametrize(
    "error",
    [ValueError("No space left on device"), OSError("odd"), TensorFlowError("shapes differ"),
     BrokenPipeError(errno.EPIPE, "Broken pipe")],
)  # fmt: skip
def test_any_other_error_is_none(error: Exception) -> None:
    assert find_file_fault(error, SETTINGS) is None
