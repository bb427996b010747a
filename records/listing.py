"""What lies in a data folder: pictures, annotations and folders, by name alone.

Hidden files and the `__MACOSX` folder of macOS archives are passed over. Links that lead out of the
data folder are reported and not followed: what a run reads is what the user named.
"""

from __future__ import annotations

import itertools
import os
import re
import unicodedata
from dataclasses import dataclass

from records import faults
from records.encodings import EXTENSIONS
from records.errors import InputError
from records.places import Place, scan, walk
from records.remote import Entry, Url
from records.types import Finding, Split

SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "test": "test",
}
"""What folders and lists of a published split are called, in lower case."""
_OTHER_EXTENSIONS = (".gif", ".jp2", ".heic", ".avif", ".dcm")
PICTURE_EXTENSIONS = frozenset(itertools.chain(*EXTENSIONS.values(), _OTHER_EXTENSIONS))
"""Files with another extension are not looked at. Those of `_OTHER_EXTENSIONS` are here so that the
audit says that they cannot be used."""
CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Categories Cc, Zl and Zp of Unicode: what breaks a line or a terminal."""

_Entry = os.DirEntry[str] | Entry


@dataclass(frozen=True, slots=True)
class Listing:
    """One folder's content, each part ordered by name. Paths are below the data folder.

    Attributes:
        folder: Which folder; empty for the data folder itself.
        pictures: Files with an extension of `PICTURE_EXTENSIONS`, in any case.
        annotations: Files ending in `.xml`, in any case.
        texts: Files ending in `.txt`, in any case.
        folders: Folders in it.
        findings: What in it cannot be used.
    """

    folder: str
    pictures: tuple[str, ...]
    annotations: tuple[str, ...]
    texts: tuple[str, ...]
    folders: tuple[str, ...]
    findings: tuple[Finding, ...]

    def find_folder(self, name: str) -> str | None:
        """The first folder called `name` (lower case), whatever its case."""
        return next((path for path in self.folders if name_of(path).lower() == name), None)


class Tree:
    """A data folder that is being looked through.

    Args:
        root: The data folder.
    """

    def __init__(self, root: Place) -> None:
        self.root = root
        self._listings: dict[str, Listing] = {}

    def list(self, folder: str = "") -> Listing:
        """Lists a folder, given by its path below the data folder; the second time from memory.

        Raises:
            InputError: The folder cannot be read.
        """
        if folder not in self._listings:
            try:
                self._listings[folder] = self._scan(folder)
            except OSError as error:
                raise InputError(
                    f"The folder {self.root / folder} cannot be read: {error.strerror}.",
                    "Change its permissions, or give another --data_dir.",
                ) from error
        return self._listings[folder]

    def count_pictures_below(self, folder: str) -> int:
        """Pictures in a folder and all folders below it; links to folders are not followed."""
        count = 0
        for _, folders, names in walk(self.root / folder):
            folders[:] = filter(is_visible, folders)
            count += sum(_find_kind(name) == "picture" for name in filter(is_visible, names))
        return count

    def _scan(self, folder: str) -> Listing:
        found: dict[str, list[str]] = {kind: [] for kind in ("folder", "picture", ".xml", ".txt")}
        findings: list[Finding] = []
        for entry in _list_visible(self.root / folder):
            path = f"{folder}/{entry.name}" if folder else entry.name
            # Unlike a path, an entry raises when its links lead in a circle.
            is_folder = (self.root / path if entry.is_symlink() else entry).is_dir()
            kind = "folder" if is_folder else _find_kind(entry.name)
            finding = kind and (self._check_link(entry, path) or self._check_name(entry, path))
            if kind and not (finding or is_folder or entry.is_file()):
                finding = faults.NO_FILE.found(path, "it is a pipe, a socket or a device")
            if finding:
                findings.append(finding)
            elif kind:
                found[kind].append(path)
        return Listing(
            folder=folder,
            pictures=tuple(found["picture"]),
            annotations=tuple(found[".xml"]),
            texts=tuple(found[".txt"]),
            folders=tuple(found["folder"]),
            findings=tuple(findings),
        )

    def _check_name(self, entry: _Entry, path: str) -> Finding | None:
        if entry.name.isascii() and entry.name.isprintable():
            return None
        try:
            entry.name.encode("utf-8")
        except UnicodeEncodeError:
            reason = "its name is no valid UTF-8"
        else:
            if not CONTROL_CHARACTERS.search(entry.name):
                return None
            reason = "its name holds a line break or another control character"
        if entry.is_dir():
            reason += f"; the {self.count_pictures_below(path)} pictures in it are not used"
        return faults.BAD_NAME.found(_escape(path), reason)

    def _check_link(self, entry: _Entry, path: str) -> Finding | None:
        if isinstance(self.root, Url) or not entry.is_symlink():
            return None
        target = self.root / path
        if not target.exists():
            return faults.BAD_LINK.found(_escape(path), "the link leads nowhere")
        if not target.resolve().is_relative_to(self.root.resolve()):
            reason = "the link leads out of the data folder and was not followed"
            return faults.BAD_LINK.found(_escape(path), reason)
        return None


def is_visible(name: str) -> bool:
    """Whether a file or folder of this name is looked at."""
    return not name.startswith(".") and name != "__MACOSX"


def compose(name: str) -> str:
    """A name in Unicode's composed form (NFC), in which equal looks are equal strings."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def name_of(path: str) -> str:
    """The last part of a path with forward slashes."""
    return path.rpartition("/")[2]


def parent_of(path: str) -> str:
    """The path without its last part; empty for what lies in the data folder itself."""
    return path.rpartition("/")[0]


def stem_of(path: str) -> str:
    """The last part without its extension, composed: what a picture and its annotation share."""
    return compose(_split_name(path)[0])


def extension_of(path: str) -> str:
    """The extension in lower case, with its dot; empty when there is none."""
    return _split_name(path)[1].lower()


def _split_name(path: str) -> tuple[str, str]:
    name = name_of(path)
    stem, dot, extension = name.rpartition(".")
    return (stem, dot + extension) if stem else (name, "")


def _escape(path: str) -> str:
    """A path on one line: undecodable bytes and control characters are written as escapes."""
    text = path.encode("utf-8", "backslashreplace").decode("utf-8")
    return CONTROL_CHARACTERS.sub(
        lambda found: found[0].encode("unicode_escape").decode("ascii"), text
    )


def _list_visible(folder: Place) -> list[_Entry]:
    visible: list[_Entry] = [item for item in scan(folder) if is_visible(item.name)]
    return sorted(visible, key=lambda entry: entry.name)


def _find_kind(name: str) -> str:
    extension = extension_of(name)
    if extension in PICTURE_EXTENSIONS:
        return "picture"
    return extension if extension in (".xml", ".txt") else ""
