"""What lies in a data folder: pictures, annotations and folders, by name alone.

Hidden files and the `__MACOSX` folder of macOS archives are passed over. Links that lead out of the
data folder are reported and not followed: what a run reads is what the user named.
"""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from records import faults
from records.errors import InputError
from records.types import Finding, Split

SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "test": "test",
}
"""What folders and lists of a published split are called, in lower case."""
_READ_EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib")
_OTHER_EXTENSIONS = (".tif", ".tiff", ".webp", ".gif", ".jp2", ".heic", ".avif", ".dcm")
PICTURE_EXTENSIONS = frozenset(_READ_EXTENSIONS + _OTHER_EXTENSIONS)
"""Files with another extension are not looked at. Those that hold no JPEG, PNG or BMP are here so
that the audit says that they cannot be used."""
CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Categories Cc, Zl and Zp of Unicode: what breaks a line or a terminal."""


@dataclass(frozen=True, slots=True)
class Listing:
    """One folder's content, each part ordered by name.

    Attributes:
        folder: Which folder.
        pictures: Files with an extension of `PICTURE_EXTENSIONS`, in any case.
        annotations: Files ending in `.xml`, in any case.
        texts: Files ending in `.txt`, in any case.
        folders: Folders in it.
        findings: What in it cannot be used.
    """

    folder: Path
    pictures: tuple[Path, ...]
    annotations: tuple[Path, ...]
    texts: tuple[Path, ...]
    folders: tuple[Path, ...]
    findings: tuple[Finding, ...]

    def find_folder(self, *names: str) -> Path | None:
        """The first folder whose name is one of `names` (lower case), whatever its case."""
        for path in self.folders:
            if path.name.lower() in names:
                return path
        return None


class Tree:
    """A data folder that is being looked through.

    Args:
        root: The data folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._real_root = root.resolve()
        self._listings: dict[Path, Listing] = {}

    def list(self, folder: Path) -> Listing:
        """Lists a folder; the second time from memory.

        Raises:
            InputError: The folder cannot be read.
        """
        if folder not in self._listings:
            try:
                self._listings[folder] = self._scan(folder)
            except OSError as error:
                raise InputError(
                    f"The folder {folder} cannot be read: {error.strerror}.",
                    "Change its permissions, or give another --data_dir.",
                ) from error
        return self._listings[folder]

    def locate(self, path: Path) -> str:
        """A path below the data folder with forward slashes, on one line.

        Undecodable bytes and control characters are written as escapes.
        """
        text = path.relative_to(self.root).as_posix()
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
        return CONTROL_CHARACTERS.sub(
            lambda found: found[0].encode("unicode_escape").decode("ascii"), text
        )

    def count_pictures_below(self, folder: Path) -> int:
        """Pictures in a folder and all folders below it; links to folders are not followed."""
        return sum(
            sum(_find_kind(Path(name)) == "picture" and name[0] != "." for name in names)
            for _, _, names in os.walk(folder, followlinks=False)
        )

    def _scan(self, folder: Path) -> Listing:
        found: dict[str, list[Path]] = {kind: [] for kind in ("folder", "picture", ".xml", ".txt")}
        findings: list[Finding] = []
        for path in _list_visible(folder):
            kind = "folder" if path.is_dir() else _find_kind(path)
            finding = kind and (self._check_link(path) or self._check_name(path))
            if finding:
                findings.append(finding)
            elif kind and (kind == "folder" or path.is_file()):
                found[kind].append(path)
        return Listing(
            folder=folder,
            pictures=tuple(found["picture"]),
            annotations=tuple(found[".xml"]),
            texts=tuple(found[".txt"]),
            folders=tuple(found["folder"]),
            findings=tuple(findings),
        )

    def _check_name(self, path: Path) -> Finding | None:
        try:
            path.name.encode("utf-8")
        except UnicodeEncodeError:
            reason = "its name is no valid UTF-8"
        else:
            if not CONTROL_CHARACTERS.search(path.name):
                return None
            reason = "its name holds a line break or another control character"
        if path.is_dir():
            reason += f"; the {self.count_pictures_below(path)} pictures in it are not used"
        return faults.BAD_NAME.found(self.locate(path), reason)

    def _check_link(self, path: Path) -> Finding | None:
        if not path.is_symlink():
            return None
        if not path.exists():
            return faults.BAD_LINK.found(self.locate(path), "the link leads nowhere")
        if not path.resolve().is_relative_to(self._real_root):
            return faults.BAD_LINK.found(
                self.locate(path), "the link leads out of the data folder and was not followed"
            )
        return None


def compose(name: str) -> str:
    """A name in Unicode's composed form (NFC), in which equal looks are equal strings."""
    return unicodedata.normalize("NFC", name)


def _list_visible(folder: Path) -> list[Path]:
    paths = sorted(folder.iterdir(), key=lambda path: path.name)
    return [path for path in paths if not path.name.startswith(".") and path.name != "__MACOSX"]


def _find_kind(path: Path) -> str:
    extension = path.suffix.lower()
    if extension in PICTURE_EXTENSIONS:
        return "picture"
    return extension if extension in (".xml", ".txt") else ""
