"""Whether a version of a SavedModel is still what was published.

The export lists the SHA-256 of every file in the model card, and before that in the golden set.
This tells damage, a copy cut short, a file exchanged or added. It is no signature: who can change
the files and these lists as well is not found out.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from pipeline.serving.golden_set import SHEET
from pipeline.serving.model_card import CARD, CARDS
from records.errors import InputError
from records.untrusted import read_json

_LISTS = (CARD, SHEET.as_posix())
_EXTRA = "assets.extra"
_NAMES_SHOWN, _LONGEST_NAME = 3, 100


def find_difference(version: Path, files: Mapping[str, str]) -> str:
    """Holds the files of a version to the digests that it carries.

    A version without any, which no export of ours makes, is told of on standard error. Notes that
    somebody laid beside the model card, and hidden files, do no harm.

    Args:
        version: Its folder.
        files: SHA-256 of each of its files, as `pipeline.provenance.digest_files` gives them.

    Returns:
        What differs, empty where nothing does.

    Raises:
        InputError: The list of digests is damaged.
    """
    published = _read_list(version)
    if published is None:
        print(f"{version} carries no digests: whether anybody changed it is unknown.",
              file=sys.stderr)  # fmt: skip
        return ""
    changed = [
        f"{_show(name)} {'differs' if name in files else 'is missing'}"
        for name, digest in sorted(published.items())
        if files.get(name) != digest
    ]
    known = {*published, *_LISTS, *CARDS}
    changed += [
        f"{_show(name)} was added" for name in files if name not in known and _is_read(name)
    ]
    more = len(changed) - _NAMES_SHOWN
    return ", ".join(changed[:_NAMES_SHOWN]) + f" and {more} more" * (more > 0)


def _read_list(version: Path) -> dict[str, str] | None:
    """The digests of the model card, or else of the golden set, or else None."""
    for name in _LISTS:
        path = version / name
        try:
            files = read_json(path).get("files")
            if files is not None:
                return {str(file): str(digest) for file, digest in files.items()}
        except FileNotFoundError:
            continue
        except (OSError, ValueError, AttributeError) as error:
            raise InputError(
                f"{path} cannot be read: {error}.",
                f"Move {version} away and run the stage export again (--stage=export).",
            ) from error
    return None


def _is_read(name: str) -> bool:
    """Whether TensorFlow may read a file of this name, in place of one that was published."""
    parts = PurePosixPath(name).parts
    return parts[0] != _EXTRA and not any(part.startswith(".") for part in parts)


def _show(name: str) -> str:
    """A name that is not ours, on one line of a message."""
    shown = name if name.isprintable() else ascii(name)[1:-1]
    return shown[:_LONGEST_NAME]
