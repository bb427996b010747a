"""The lists of a VOC devkit that say which picture is in which split."""

from __future__ import annotations

from collections.abc import Sequence

from records import faults
from records.errors import InputError
from records.listing import (
    CONTROL_CHARACTERS,
    PICTURE_EXTENSIONS,
    SPLIT_NAMES,
    Tree,
    compose,
    parent_of,
    stem_of,
)
from records.places import Place, read_at_most
from records.types import SPLITS, Finding, Split

MAX_LIST_BYTES = 2**28
"""Some 20 million names."""
_BOTH = "trainval"
_NAMES_SHOWN, _CHARACTERS_SHOWN = 3, 60


def read_split_lists(
    tree: Tree, devkit: str, names: set[str]
) -> tuple[dict[str, Split], list[Finding]]:
    """Reads `ImageSets/Main/{train,val,test,trainval}.txt`, one picture's name a line.

    Lists of one class (`<class>_train.txt`) are not read: the annotations say the same.

    Args:
        tree: The data folder.
        devkit: The folder that holds `ImageSets`.
        names: Names of the pictures that are there, without extension.

    Returns:
        The split of each listed name, the strictest where several lists have it (test before
        validation before train), and what is wrong with the lists. A name in `trainval` alone is
        for training.
    """
    listed: dict[str, set[str]] = {split: set() for split in (*SPLITS, _BOTH)}
    lists, findings = _find_lists(tree, devkit)
    for path in lists:
        found, missing = _read_list(tree.root / path, names)
        listed[SPLIT_NAMES.get(stem_of(path).lower(), _BOTH)] |= found
        if missing:
            reason = f"{_count(missing)} named in it but not there"
            findings.append(faults.LISTED_MISSING.found(path, reason))
    listed["train"] |= listed[_BOTH] - listed["validation"]
    split_of = {name: split for split in SPLITS for name in sorted(listed[split])}
    twice = sorted(name for name in split_of if sum(name in listed[split] for split in SPLITS) > 1)
    if twice:
        reason = f"{_count(twice)} in the lists of several splits; the strictest counts"
        findings.append(faults.LISTED_TWICE.found(parent_of(lists[0]), reason))
    return split_of, findings


def _find_lists(tree: Tree, devkit: str) -> tuple[list[str], list[Finding]]:
    sets = tree.list(devkit).find_folder("imagesets")
    if not sets:
        return [], []
    findings = list(tree.list(sets).findings)
    folder = tree.list(sets).find_folder("main")
    if not folder:
        return [], findings
    known = (*SPLIT_NAMES, _BOTH)
    texts = [path for path in tree.list(folder).texts if stem_of(path).lower() in known]
    return texts, [*findings, *tree.list(folder).findings]


def _read_list(path: Place, names: set[str]) -> tuple[set[str], list[str]]:
    """Splits a list into names that are there and names that are not."""
    try:
        content = read_at_most(path, MAX_LIST_BYTES)
    except OSError as error:
        raise InputError(
            f"The list {path} cannot be read: {error.strerror}.", "Change its permissions."
        ) from error
    if len(content) > MAX_LIST_BYTES:
        raise InputError(
            f"The list {path} is larger than {MAX_LIST_BYTES // 2**20} MiB.",
            "Put a list of pictures in its place, one name a line.",
        )
    lines = content.decode("utf-8-sig", errors="replace").splitlines()
    read = [_find_name(compose(line.strip()), names) for line in lines if line.strip()]
    return {name for name in read if name in names}, [name for name in read if name not in names]


def _find_name(line: str, names: set[str]) -> str:
    """A line is a name, with or without extension; some tools write a number behind it."""
    for text in (line, line.split()[0]):
        for name in (text, _drop_extension(text)):
            if name in names:
                return name
    return line


def _drop_extension(text: str) -> str:
    stem, dot, extension = text.rpartition(".")
    return stem if f"{dot}{extension}".lower() in PICTURE_EXTENSIONS else text


def _count(names: Sequence[str]) -> str:
    shown = ", ".join(map(_show, names[:_NAMES_SHOWN])) + (
        ", ..." if len(names) > _NAMES_SHOWN else ""
    )
    return f"{len(names)} picture{'s are' if len(names) != 1 else ' is'} ({shown})"


def _show(name: str) -> str:
    """A line of a list may be anything, and of any length."""
    text = CONTROL_CHARACTERS.sub(" ", name)
    return text if len(text) <= _CHARACTERS_SHOWN else f"{text[:_CHARACTERS_SHOWN]}..."
