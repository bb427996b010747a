"""The layouts whose folders are classes: `split`, `images` and `folders`."""

from __future__ import annotations

from records import faults
from records.listing import SPLIT_NAMES, Listing, Tree, compose, name_of
from records.matching import Matches
from records.types import Finding, Sample, Split

NO_CLASS = frozenset(
    {"annotations", "images", "imagesets", "jpegimages", "segmentationclass", "segmentationobject"}
)


def is_split(tree: Tree) -> bool:
    """Whether there is a folder named after a split with `images` or class folders in it."""
    return any(
        tree.list(folder).find_folder("images") or _list_class_folders(tree, folder)
        for folder, _ in _list_splits(tree)
    )


def find_split(tree: Tree) -> tuple[list[Sample], list[Finding]]:
    """`<split>/images/<class>/*` with `<split>/annotations/*.xml`; `images` may be left out."""
    samples: list[Sample] = []
    findings: list[Finding] = []
    for folder, split in _list_splits(tree):
        parts = tree.list(folder)
        more_samples, more_findings = _find_classes(
            tree, parts.find_folder("images") or folder, parts.find_folder("annotations"), split
        )
        samples += more_samples
        findings += [*parts.findings, *more_findings]
    return samples, findings


def is_images(tree: Tree) -> bool:
    """Whether there is a folder `images` with pictures in folders below it."""
    folder = tree.list().find_folder("images")
    return folder is not None and bool(_list_class_folders(tree, folder))


def find_images(tree: Tree) -> tuple[list[Sample], list[Finding]]:
    """`images/<class>/*`, with or without `annotations/`."""
    parts = tree.list()
    folder = parts.find_folder("images") or ""
    return _find_classes(tree, folder, parts.find_folder("annotations"), None)


def is_folders(tree: Tree) -> bool:
    """Whether a folder that may be a class has pictures directly in it."""
    return bool(_list_class_folders(tree, ""))


def find_folders(tree: Tree) -> tuple[list[Sample], list[Finding]]:
    """`<class>/*`, with annotations beside the pictures or in `annotations/` if there are any."""
    return _find_classes(tree, "", tree.list().find_folder("annotations"), None)


def _list_splits(tree: Tree) -> list[tuple[str, Split]]:
    return [
        (folder, SPLIT_NAMES[name_of(folder).lower()])
        for folder in tree.list().folders
        if name_of(folder).lower() in SPLIT_NAMES
    ]


def _list_class_folders(tree: Tree, folder: str) -> list[str]:
    return [path for path in _list_candidates(tree, folder) if tree.list(path).pictures]


def _list_candidates(tree: Tree, folder: str) -> list[str]:
    reserved = NO_CLASS | SPLIT_NAMES.keys() if not folder else NO_CLASS
    return [path for path in tree.list(folder).folders if name_of(path).lower() not in reserved]


def _find_classes(
    tree: Tree, pictures: str, annotations: str | None, split: Split | None
) -> tuple[list[Sample], list[Finding]]:
    """Finds the samples below one folder of class folders."""
    parts = tree.list(pictures)
    classes = [tree.list(folder) for folder in _list_candidates(tree, pictures)]
    findings = [*parts.findings, *_report_strays(tree, parts)]
    for listing in classes:
        findings += [*listing.findings, *_report_depth(tree, listing)]
    matches = _match(tree, classes, annotations)
    samples = [
        Sample(picture, matches.get(picture), compose(name_of(listing.folder)), split)
        for listing in classes
        for picture in listing.pictures
    ]
    return samples, findings + matches.findings


def _match(tree: Tree, classes: list[Listing], annotations: str | None) -> Matches:
    """Annotations beside the picture come first, then `annotations/<class>`, `annotations`."""
    matches = Matches(tree)
    for listing in classes:
        matches.match(listing.pictures, listing.folder, labelled=True)
    if annotations is None:
        return matches
    for listing in classes:
        nested = tree.list(annotations).find_folder(name_of(listing.folder).lower())
        matches.match(listing.pictures, nested, labelled=True)
    everything = [picture for listing in classes for picture in listing.pictures]
    matches.match(everything, annotations, labelled=True)
    return matches


def _report_strays(tree: Tree, parts: Listing) -> list[Finding]:
    reason = "it lies beside the class folders, so that it has no class"
    return [faults.UNLABELLED_PICTURE.found(picture, reason) for picture in parts.pictures]


def _report_depth(tree: Tree, listing: Listing) -> list[Finding]:
    """Says which folders of a class hold pictures too deep, or that it holds none at all."""
    findings = []
    for folder in listing.folders:
        count = tree.count_pictures_below(folder)
        if count:
            reason = f"it lies in a class folder and holds {count} pictures, which are not used"
            findings.append(faults.NESTED_PICTURES.found(folder, reason))
    if not listing.pictures and not findings:
        reason = "the folder holds no pictures, so that there is no such class"
        findings.append(faults.EMPTY_CLASS.found(listing.folder, reason))
    return findings
