"""Which annotation belongs to which picture: the one of the same name without extension."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from records import faults
from records.listing import Tree, compose, name_of, parent_of, stem_of
from records.types import Finding
from records.voc import AnnotationError, read_origin


class Matches:
    """The annotations of a layout's pictures, gathered folder by folder.

    Attributes:
        findings: Annotations without a picture, and names that fit several pictures.
        ambiguous: Pictures that share an annotation with another, so that neither has it.
    """

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._annotation_of: dict[str, str] = {}
        self.findings: list[Finding] = []
        self.ambiguous: set[str] = set()

    def get(self, picture: str) -> str | None:
        """The picture's annotation, or None."""
        return self._annotation_of.get(picture)

    def match(self, pictures: Iterable[str], folder: str | None, *, labelled: bool) -> None:
        """Gives each annotation in `folder` to the picture of its name.

        Where several pictures have the name, the annotation's own `<folder>` and `<filename>`
        decide; where these leave it open, none gets it.

        Args:
            pictures: Which pictures the annotations may be for.
            folder: Where the annotations are; None when there is no such folder.
            labelled: Whether the pictures have a class from their folder, and can do without.
        """
        if folder is None:
            return
        by_name = defaultdict(list)
        for picture in pictures:
            by_name[stem_of(picture)].append(picture)
        listing = self._tree.list(folder)
        self.findings.extend(listing.findings)
        for annotation in listing.annotations:
            self._give(annotation, by_name[stem_of(annotation)], labelled)

    def _give(self, annotation: str, namesakes: list[str], labelled: bool) -> None:
        free = [picture for picture in namesakes if picture not in self._annotation_of]
        if not free:
            reason = "another annotation is nearer to the picture of this name"
            if not namesakes:
                reason = "there is no picture of this name"
            self._report(faults.ORPHAN_ANNOTATION, annotation, reason)
            return
        if len(free) > 1:
            free = _narrow_down(self._tree, annotation, free)
        if len(free) == 1:
            self._annotation_of[free[0]] = annotation
        else:
            self._leave_open(annotation, free, labelled)

    def _leave_open(self, annotation: str, pictures: list[str], labelled: bool) -> None:
        self.ambiguous.update(pictures)
        if labelled:
            names = ", ".join(pictures)
            reason = f"it could be for any of {names}; they are used without boxes"
            self._report(faults.DUPLICATE_NAME, annotation, reason)
            return
        for picture in pictures:
            reason = f"{annotation} could be for this or another of the same name"
            self._report(faults.NAME_WITHOUT_LABEL, picture, reason)

    def _report(self, fault: faults.Fault, path: str, reason: str) -> None:
        self.findings.append(fault.found(path, reason))


def _narrow_down(tree: Tree, annotation: str, pictures: list[str]) -> list[str]:
    try:
        folder, filename = read_origin(tree.root / annotation)
    except AnnotationError:
        return pictures
    pictures = [
        path for path in pictures if compose(name_of(parent_of(path))) == folder
    ] or pictures
    return [path for path in pictures if compose(name_of(path)) == filename] or pictures
