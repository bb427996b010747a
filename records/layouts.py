"""Finds the pictures of a data folder, their classes, annotations and published splits.

Names alone are looked at here; `records.audit` opens the files. What each layout looks like is in
`records.layout_classes` (classes are folders) and `records.layout_voc` (classes are in the XML).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from records import faults, layout_classes, layout_voc
from records.errors import InputError
from records.listing import Tree
from records.places import Place
from records.types import Finding, Sample

_NAMES_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Discovery:
    """What was found in a data folder.

    Attributes:
        source: The data folder.
        layout: Which layout it has: `split`, `voc`, `images`, `folders` or `flat`.
        samples: The pictures, ordered by `source_id`.
        findings: What is wrong with the folder, ordered by path.
    """

    source: Place
    layout: str
    samples: tuple[Sample, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class _Layout:
    name: str
    shape: str
    matches: Callable[[Tree], bool]
    find: Callable[[Tree], tuple[list[Sample], list[Finding]]]


_FOLDERS = _Layout("folders", "<class>/*", layout_classes.is_folders, layout_classes.find_folders)
_DISTINCT = (
    _Layout(
        "split",
        "train/images/<class>/* (train, validation, test)",
        layout_classes.is_split,
        layout_classes.find_split,
    ),
    _Layout("voc", "JPEGImages/* with Annotations/*.xml", layout_voc.is_voc, layout_voc.find_voc),
    _Layout("images", "images/<class>/*", layout_classes.is_images, layout_classes.find_images),
    _Layout("flat", "*.jpg and *.xml side by side", layout_voc.is_flat, layout_voc.find_flat),
)
_LAYOUTS = {layout.name: layout for layout in (*_DISTINCT, _FOLDERS)}


def find_samples(data_dir: Place, layout: str = "auto") -> Discovery:
    """Finds the pictures of a data folder.

    A published validation split is called `test` when no test split was published with it: it is
    what others report their figures on, and a validation split can be drawn from the training
    pictures.

    Args:
        data_dir: The folder.
        layout: `auto`, or one of `split`, `voc`, `images`, `folders`, `flat`.

    Raises:
        InputError: The folder is missing, cannot be read, is laid out in none or several of these
            ways, or has no picture where the layout has them.
    """
    if not data_dir.is_dir():
        problem = "is a file, not a folder" if data_dir.is_file() else "does not exist"
        raise InputError(f"The data folder {data_dir} {problem}.", "Give --data_dir=FOLDER.")
    tree = Tree(data_dir)
    chosen = _detect(tree) if layout == "auto" else _LAYOUTS[layout]
    if not chosen.matches(tree):
        raise _refuse(tree, (chosen,), "Give --layout=auto, or arrange the pictures like this.")
    samples, findings = chosen.find(tree)
    findings += [*tree.list().findings, *_report_unused(tree, samples)]
    if not samples:
        raise _refuse(tree, (chosen,), "Put pictures there, or give another --layout.", findings)
    return Discovery(
        source=data_dir,
        layout=chosen.name,
        samples=_publish_test(sorted(samples, key=lambda sample: sample.source_id)),
        findings=faults.order_findings(findings),
    )


def format_discovery(discovery: Discovery, *, is_detected: bool) -> str:
    """Says what was found in a data folder, and among which layouts it was looked for."""
    chosen = _LAYOUTS[discovery.layout]
    annotated = sum(sample.annotation is not None for sample in discovery.samples)
    text = (
        f"{discovery.source} is laid out as {chosen.name}: {chosen.shape}. "
        f"{len(discovery.samples)} pictures, {annotated} with an annotation."
    )
    others = ", ".join(name for name in _LAYOUTS if name != chosen.name)
    return f"{text} Looked for as well: {others}." if is_detected else text


def _report_unused(tree: Tree, samples: list[Sample]) -> list[Finding]:
    """Names the folders, directly in the data folder, whose pictures are all unused."""
    used = {sample.source_id.partition("/")[0] for sample in samples}
    findings = []
    for folder in tree.list().folders:
        count = 0
        if folder not in used and folder.lower() not in layout_classes.NO_CLASS:
            count = tree.count_pictures_below(folder)
        if count:
            reason = f"the layout has no pictures there; the {count} in it are not used"
            findings.append(faults.UNUSED_FOLDER.found(folder, reason))
    return findings


def _detect(tree: Tree) -> _Layout:
    found = [layout for layout in _DISTINCT if layout.matches(tree)]
    # Class folders are in every layout; they tell something only when no other sign is there, or
    # when pictures lie both in them and beside them.
    if _FOLDERS.matches(tree) and all(layout.name == "flat" for layout in found):
        found.append(_FOLDERS)
    if len(found) == 1:
        return found[0]
    if not found:
        raise _refuse(tree, tuple(_LAYOUTS.values()), _advise(tree))
    names = " and ".join(layout.name for layout in found)
    raise InputError(
        f"The data folder {tree.root} could be laid out as {names}. {_describe(tree)}",
        f"Say which: --layout={found[0].name}.",
    )


def _refuse(
    tree: Tree, layouts: tuple[_Layout, ...], remedy: str, findings: list[Finding] | None = None
) -> InputError:
    shapes = "; ".join(f"{layout.shape} (--layout={layout.name})" for layout in layouts)
    reasons = "".join(f" {finding.path}: {finding.reason}." for finding in (findings or [])[:1])
    return InputError(
        f"No pictures were found in {tree.root} where they should be. Looked for: {shapes}. "
        f"{_describe(tree)}{reasons}",
        remedy,
    )


def _advise(tree: Tree) -> str:
    for folder in tree.list().folders:
        inner = Tree(tree.root / folder)
        if any(layout.matches(inner) for layout in _LAYOUTS.values()):
            return f"Give the folder that holds these: --data_dir={tree.root / folder}, for one."
    return "Give the folder that holds these, or arrange the pictures like one of them."


def _describe(tree: Tree) -> str:
    parts = tree.list()
    names = list(parts.folders)
    shown = ", ".join(names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "")
    return (
        f"Found directly in it: {len(parts.pictures)} picture(s), {len(parts.annotations)} XML "
        f"file(s), {len(names)} folder(s)" + (f": {shown}." if names else ".")
    )


def _publish_test(samples: list[Sample]) -> tuple[Sample, ...]:
    if any(sample.published_split == "test" for sample in samples):
        return tuple(samples)
    return tuple(
        dataclasses.replace(sample, published_split="test")
        if sample.published_split == "validation"
        else sample
        for sample in samples
    )
