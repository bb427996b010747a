"""What an annotation says, held against its picture and against the other annotations."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from records import faults
from records.faults import Fault
from records.pictures import PictureFacts
from records.types import AnnotatedObject, Annotation, BoundingBox, Finding, Sample

CLIPPED_PX = 1.0
"""How far a box may reach beyond its picture and be cut at the edge. Tools that count from 0, or
round outwards, are one pixel off; what is further out was drawn on another picture or another
size of it."""
NOTHING_FOUND = "io"
"""The class of a picture whose annotation has no objects: inspected, and in order."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What is left of an annotation.

    Attributes:
        objects: Those whose boxes are good, cut at the picture's edge where need be.
        findings: What was wrong, at most one of each kind.
    """

    objects: tuple[AnnotatedObject, ...]
    findings: tuple[Finding, ...]


def choose_vocabulary(
    folder_classes: frozenset[str], annotations: Iterable[Annotation]
) -> frozenset[str] | None:
    """Which names objects may have: those of the class folders, or None for any.

    Where at least half of all objects have a folder's name, folders and objects speak of the same
    classes and another name is a mistake. Elsewhere they do not: folders may say `io` and `nio`,
    objects which defect it is.
    """
    names = Counter(item.name for annotation in annotations for item in annotation.objects)
    known = sum(count for name, count in names.items() if name in folder_classes)
    return folder_classes if known and 2 * known >= names.total() else None


def check_annotation(
    sample: Sample,
    facts: PictureFacts,
    annotation: Annotation,
    *,
    vocabulary: frozenset[str] | None,
) -> Checked:
    """Looks for what is wrong with an annotation that was read without fault.

    Args:
        sample: The picture it belongs to.
        facts: What the picture is.
        annotation: What was read.
        vocabulary: As `choose_vocabulary` returns it.
    """
    problems: dict[Fault, list[str]] = defaultdict(list)
    if _sizes_differ(annotation, facts):
        problems[faults.SIZE_MISMATCH].append(
            f"<size> says {annotation.width} x {annotation.height}, "
            f"the picture has {facts.width} x {facts.height} pixels"
        )
    objects = []
    for number, item in enumerate(annotation.objects, start=1):
        where = f"object {number} ({item.name})"
        _check_name(item.name, where, sample.label, vocabulary, problems)
        box = _check_box(item.box, where, facts, problems)
        if box:
            objects.append(dataclasses.replace(item, box=box))
    findings = [
        fault.found(sample.source_id, f"{locate_annotation(sample)}: {_join(reasons)}")
        for fault, reasons in problems.items()
    ]
    return Checked(tuple(objects), tuple(findings))


def choose_label(objects: Iterable[AnnotatedObject]) -> str:
    """The class with the largest box area in all, the first by name of several, or `NOTHING_FOUND`.

    Where boxes of one class overlap, the area is counted twice.
    """
    areas: dict[str, float] = defaultdict(float)
    for item in objects:
        areas[item.name] += item.box.area_px
    return min(areas, key=lambda name: (-areas[name], name), default=NOTHING_FOUND)


def locate_annotation(sample: Sample) -> str:
    """The annotation's path below the data folder, or its name if it is elsewhere."""
    if sample.annotation_path is None:
        return ""
    root = sample.image_path.parents[sample.source_id.count("/")]
    if sample.annotation_path.is_relative_to(root):
        return sample.annotation_path.relative_to(root).as_posix()
    return sample.annotation_path.name


def _sizes_differ(annotation: Annotation, facts: PictureFacts) -> bool:
    # 0 stands for a size that was not given.
    return (annotation.width or facts.width, annotation.height or facts.height) != (
        facts.width,
        facts.height,
    )


def _check_name(
    name: str,
    where: str,
    label: str | None,
    vocabulary: frozenset[str] | None,
    problems: dict[Fault, list[str]],
) -> None:
    if vocabulary is None:
        return
    if name not in vocabulary:
        known = ", ".join(sorted(vocabulary))
        problems[faults.UNKNOWN_CLASS].append(f"{where} is of none of the classes {known}")
    elif name != label:
        problems[faults.OBJECT_OF_OTHER_CLASS].append(f"{where} is in a picture of class {label}")


def _check_box(
    box: BoundingBox, where: str, facts: PictureFacts, problems: dict[Fault, list[str]]
) -> BoundingBox | None:
    """Returns the box as it can be used, or None."""
    if box.area_px == 0:
        problems[faults.EMPTY_BOX].append(f"{where} has a box without area, {_format(box)}")
        return None
    if box.is_within(facts.width, facts.height):
        return box
    clipped = BoundingBox(
        max(box.xmin, 0.0),
        max(box.ymin, 0.0),
        min(box.xmax, float(facts.width)),
        min(box.ymax, float(facts.height)),
    )
    beyond = max(
        abs(before - after)
        for before, after in zip(
            dataclasses.astuple(box), dataclasses.astuple(clipped), strict=True
        )
    )
    text = f"{where} reaches {beyond:g} px beyond the picture of {facts.width} x {facts.height} px"
    if beyond > CLIPPED_PX or clipped.area_px == 0:
        problems[faults.BOX_OUTSIDE].append(f"{text}: {_format(box)}")
        return None
    problems[faults.BOX_CLIPPED].append(f"{text}; it was cut at the edge")
    return clipped


def _format(box: BoundingBox) -> str:
    # As the file has it, so that a person finds it there.
    corner = f"xmin={box.xmin + 1:g} ymin={box.ymin + 1:g}"
    return f"{corner} xmax={box.xmax:g} ymax={box.ymax:g} in the XML"


def _join(reasons: list[str]) -> str:
    more = len(reasons) - 1
    return reasons[0] + (f"; and {more} more such object{'s' * (more > 1)}" if more else "")
