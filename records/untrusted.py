"""Files of a run read as what they are: files on a disk, where anybody may have changed them."""

from __future__ import annotations

import errno
import json
import math
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from records.places import Place

_Place = TypeVar("_Place", bound=Place)

MAX_JSON_BYTES = 2**30
"""Of the files of a run, `audit.json` is the longest: some million findings."""


def require_file(path: _Place) -> _Place:
    """Returns `path`, unless it is there and no file: a pipe is waited for, a device never ends.

    Raises:
        OSError: It is a folder, a pipe, a socket or a device.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "It is no file", str(path))
    return path


def read_json(path: Path) -> Any:
    """Reads what `records.atomic.write_json` wrote.

    Raises:
        FileNotFoundError: It is not there.
        OSError: It cannot be read, or is no file.
        ValueError: It is too large, or as `parse_json`.
    """
    if require_file(path).stat().st_size > MAX_JSON_BYTES:
        raise ValueError(f"it is larger than {MAX_JSON_BYTES // 2**20} MiB")
    return parse_json(path.read_text(encoding="utf-8"))


def parse_json(text: str) -> Any:
    """As `json.loads`, strictly: no number that is none.

    Raises:
        ValueError: It is no JSON, or nested too deeply.
    """
    try:
        return json.loads(text, parse_float=_parse_finite, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _parse_finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is too large for a number")
    return value


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")
