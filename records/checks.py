"""What an annotation says, held against its picture and against the other annotations."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from records import faults
from records.faults import Fault
from records.orientation import swaps_sides, turn_box
from records.pictures import PictureFacts
from records.types import AnnotatedObject, Annotation, BoundingBox, Finding, Sample

CLIPPED_PX = 1.0
"""How far a box may reach beyond its picture and be cut at the edge. Tools that count from 0, or
round outwards, are one pixel off; what is further out was drawn on another picture or another
size of it."""
NOTHING_FOUND = "io"
"""The class of a picture whose annotation has no objects: inspected, and in order."""

_CLASSES_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Checked:
    """What is left of an annotation.

    Attributes:
        objects: Those whose boxes are good, cut at the picture's edge where need be.
        findings: What was wrong, at most one of each kind.
    """

    objects: tuple[AnnotatedObject, ...]
    findings: tuple[Finding, ...]


def choose_vocabulary(folder_classes: frozenset[str], names: Counter[str]) -> frozenset[str] | None:
    """Which names objects may have: those of the class folders, or None for any.

    Where at least half of all objects have a folder's name, folders and objects speak of the same
    classes and another name is a mistake. Elsewhere they do not: folders may say `io` and `nio`,
    objects which defect it is.

    Args:
        folder_classes: Names of the class folders.
        names: How many objects have each name.
    """
    known = sum(count for name, count in names.items() if name in folder_classes)
    return folder_classes if known and 2 * known >= names.total() else None


def check_annotation(sample: Sample, facts: PictureFacts, annotation: Annotation) -> Checked:
    """Holds an annotation that was read without fault against its picture.

    Boxes drawn on a picture as it lies in its file are turned with it (`PictureFacts.orientation`)
    where `<size>` says so; viewers show it upright, and so most boxes are drawn.

    Args:
        sample: The picture it belongs to.
        facts: What the picture is.
        annotation: What was read.
    """
    problems: dict[Fault, list[str]] = defaultdict(list)
    raw = _raw_size(facts)
    is_upright = _fits(annotation, facts.width, facts.height)
    lies = not is_upright and _fits(annotation, *raw)
    if not (is_upright or lies):
        problems[faults.SIZE_MISMATCH].append(
            f"<size> says {annotation.width} x {annotation.height}, "
            f"the picture has {facts.width} x {facts.height} pixels"
        )
    elif facts.orientation != 1 and annotation.objects and not lies and _fits(annotation, *raw):
        reason = "<size> does not tell whether the boxes were drawn on the picture turned upright"
        problems[faults.TURNED_BOXES].append(f"{reason}; they are taken so")
    objects = []
    for number, item in enumerate(annotation.objects, start=1):
        where = f"object {number} ({item.name})"
        box = turn_box(item.box, facts.orientation, *raw) if lies else item.box
        checked = _check_box(box, where, facts, problems)
        if checked:
            objects.append(item if checked is item.box else dataclasses.replace(item, box=checked))
    return Checked(tuple(objects), _report(sample, problems))


def check_names(
    sample: Sample, names: Sequence[str], vocabulary: frozenset[str] | None
) -> tuple[Finding, ...]:
    """Holds the names of a picture's objects against its folder and against all classes.

    Args:
        sample: The picture.
        names: Of its objects, in the order of the file.
        vocabulary: As `choose_vocabulary` returns it.
    """
    if vocabulary is None:
        return ()
    problems: dict[Fault, list[str]] = defaultdict(list)
    for number, name in enumerate(names, start=1):
        where = f"object {number} ({name})"
        if name not in vocabulary:
            known = ", ".join(sorted(vocabulary)[:_CLASSES_SHOWN])
            known += ", ..." * (len(vocabulary) > _CLASSES_SHOWN)
            reason = f"{where} is of none of the classes {known}"
            problems[faults.UNKNOWN_CLASS].append(reason)
        elif name != sample.label:
            reason = f"{where} is in a picture of class {sample.label}"
            problems[faults.OBJECT_OF_OTHER_CLASS].append(reason)
    return _report(sample, problems)


def choose_label(objects: Iterable[AnnotatedObject]) -> str:
    """The class with the largest box area in all, the first by name of several, or `NOTHING_FOUND`.

    Where boxes of one class overlap, the area is counted twice.
    """
    areas: dict[str, float] = defaultdict(float)
    for item in objects:
        areas[item.name] += item.box.area_px
    return min(areas, key=lambda name: (-areas[name], name), default=NOTHING_FOUND)


def _fits(annotation: Annotation, width: int, height: int) -> bool:
    """Whether what the annotation says of a picture's size, if anything, is this."""
    return annotation.width in (0, width) and annotation.height in (0, height)


def _raw_size(facts: PictureFacts) -> tuple[int, int]:
    """Width and height in pixels before the picture was turned upright."""
    is_across = swaps_sides(facts.orientation)
    return (facts.height, facts.width) if is_across else (facts.width, facts.height)


def _report(sample: Sample, problems: dict[Fault, list[str]]) -> tuple[Finding, ...]:
    return tuple(
        fault.found(sample.source_id, f"{sample.annotation}: {_join(reasons)}")
        for fault, reasons in problems.items()
    )


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
