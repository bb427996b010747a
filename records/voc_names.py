"""Names for files and folders, made from names that are not ours.

Records are read from files that others wrote: a name in them may hold a way out of the folder, or
what some file system refuses. What comes out here can be written on Linux, macOS and Windows, and
is found again when the folder is read as a data set.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from typing import Final

from records.encodings import EXTENSIONS
from records.listing import PICTURE_EXTENSIONS, extension_of

MAX_NAME_BYTES = 230
"""Of 255 that file systems take; the rest is for a number and an extension."""

_FORBIDDEN: Final = re.compile(
    r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]'
)
"""What Windows refuses, what breaks a line, and what XML or UTF-8 cannot hold."""
_HIDDEN_OR_LOST: Final = re.compile(r"\A[\s.]+|[\s.]+\Z")
"""A dot in front hides a file; Windows drops dots and blanks at the end, lists of names blanks."""
_RESERVED: Final = re.compile(
    r"(con|prn|aux|nul|(com|lpt)[0-9\u00b9\u00b2\u00b3])(\..*)?|__macosx", re.I | re.S
)


class Names:
    """Gives out names of which no two differ in case or Unicode's composition alone."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._copies: defaultdict[str, int] = defaultdict(lambda: 1)

    def take(self, text: str) -> str:
        """The text as a safe name, with `-2`, `-3` and so on where it is taken."""
        name = candidate = safe_name(text)
        while (key := _fold(candidate)) in self._taken:
            self._copies[_fold(name)] += 1
            candidate = f"{name}-{self._copies[_fold(name)]}"
        self._taken.add(key)
        return candidate


def safe_name(text: str) -> str:
    """The text where it is safe as a name without extension, or else with `_` for what is not."""
    name = _FORBIDDEN.sub("_", text[:MAX_NAME_BYTES])
    name = name.encode()[:MAX_NAME_BYTES].decode(errors="ignore")
    name = _HIDDEN_OR_LOST.sub("_", name) or "_"
    return f"_{name}" if _RESERVED.fullmatch(name) else name


def split_name(filename: str, image_format: str) -> tuple[str, str]:
    """A picture's name in two: without extension, and one that fits `jpeg`, `png` or `bmp`.

    An extension that fits stays as it is, that of another kind of picture is replaced.
    """
    extension = extension_of(filename)
    if extension not in PICTURE_EXTENSIONS:
        return filename, EXTENSIONS[image_format][0]
    stem, shown = filename[: -len(extension)], filename[-len(extension) :]
    return stem, shown if extension in EXTENSIONS[image_format] else EXTENSIONS[image_format][0]


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", name.casefold())
