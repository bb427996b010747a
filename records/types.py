"""What a picture and its annotation are, in memory.

Boxes are 0-based, half-open pixel intervals: the pixel columns `xmin <= x < xmax`. VOC's 1-based
inclusive numbers exist in `records.voc` alone, fractions of the picture in `records.schema` alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Split = Literal["train", "validation", "test"]
FlatObject = tuple[str, float, float, float, float, bool, bool]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class BoundingBox:
    """An axis-aligned box in pixels, 0-based and half-open.

    Attributes:
        xmin: First column inside the box.
        ymin: First row inside the box.
        xmax: First column right of the box.
        ymax: First row below the box.
    """

    xmin: float
    ymin: float
    xmax: float
    ymax: float

    @property
    def area_px(self) -> float:
        """Area in square pixels; 0 for an empty or reversed box."""
        return max(self.xmax - self.xmin, 0.0) * max(self.ymax - self.ymin, 0.0)

    def is_within(self, width: int, height: int) -> bool:
        """Whether the box holds at least a sliver of area and none of it is outside the picture."""
        return 0 <= self.xmin < self.xmax <= width and 0 <= self.ymin < self.ymax <= height


@dataclass(frozen=True, slots=True)
class AnnotatedObject:
    """One `<object>` of a VOC annotation: a class name, where it is, and VOC's two flags."""

    name: str
    box: BoundingBox
    difficult: bool = False
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Annotation:
    """A VOC annotation: what it says of its picture, and the objects in it.

    Attributes:
        filename: The `<filename>` element as written; may be empty or lack its extension.
        width: `<size><width>` in pixels, 0 when absent.
        height: `<size><height>` in pixels, 0 when absent.
        depth: `<size><depth>`, 0 when absent. Published data sets often have it wrong.
        objects: In the order of the file.
    """

    filename: str
    width: int
    height: int
    depth: int
    objects: tuple[AnnotatedObject, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture found on disk, not yet opened. All paths are below the data folder.

    Attributes:
        source_id: The picture's path, with forward slashes. Unique.
        annotation: The path of its XML, likewise, or None when it has none.
        label: The class its folder gives, or None when the layout takes the class from the objects.
        published_split: The split its folder or list gives, or None when nothing was published.
    """

    source_id: str
    annotation: str | None
    label: str | None
    published_split: Split | None


@dataclass(frozen=True, slots=True)
class Example:
    """A picture that was opened, checked and given a class: what one record will hold.

    The bytes themselves stay on disk until the record is written, so that a data set of any size
    fits in memory; `sha256` then proves that they are still the same.

    Attributes:
        source_id: As in `Sample`.
        image_format: `jpeg`, `png` or `bmp`: what the record will hold, whatever the file's name
            says.
        is_converted: Whether the record holds another encoding than the file: a lossless PNG of
            what `jpeg`, `png` and `bmp` readers would not decode, or not upright.
        width: In pixels, as the record decodes.
        height: In pixels, likewise.
        is_grey: Whether the decoded picture holds no colour.
        size_bytes: Of the file.
        sha256: Of the file's bytes, in hexadecimal.
        label: Class name of the whole picture.
        objects: The boxes, inside the picture and of known classes.
        published_split: As in `Sample`.
        bit_depth: Of a channel of what the record holds, 8 or 16.
    """

    source_id: str
    image_format: str
    is_converted: bool
    width: int
    height: int
    is_grey: bool
    size_bytes: int
    sha256: str
    label: str
    objects: tuple[AnnotatedObject, ...]
    published_split: Split | None
    bit_depth: int = 8

    def __reduce__(self) -> tuple[Any, ...]:
        # What goes to another process goes flat: five times as fast as frozen classes nested.
        fields = [getattr(self, name) for name in self.__slots__]
        fields[_OBJECTS_AT] = flatten_objects(self.objects)
        return _build_example, tuple(fields)


_OBJECTS_AT = Example.__slots__.index("objects")


def flatten_objects(objects: Iterable[AnnotatedObject]) -> tuple[FlatObject, ...]:
    """Objects as plain tuples: name, xmin, ymin, xmax, ymax, difficult, truncated."""
    return tuple(
        (
            *(item.name, item.box.xmin, item.box.ymin, item.box.xmax, item.box.ymax),
            *(item.difficult, item.truncated),
        )
        for item in objects
    )


def build_objects(flat: Iterable[FlatObject]) -> tuple[AnnotatedObject, ...]:
    """The objects that `flatten_objects` was given."""
    return tuple(
        AnnotatedObject(name, BoundingBox(xmin, ymin, xmax, ymax), difficult, truncated)
        for name, xmin, ymin, xmax, ymax, difficult, truncated in flat
    )


def _build_example(*fields: Any) -> Example:
    values = list(fields)
    values[_OBJECTS_AT] = build_objects(values[_OBJECTS_AT])
    return Example(*values)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with a data set: a code a program can count, and a text a person can act on.

    Attributes:
        code: Short name of the kind of fault, in snake_case.
        path: The file it is about, below the data folder, with forward slashes.
        reason: What is wrong with it.
        remedy: What to do about it.
        is_error: True when the picture is set aside; False when it is used all the same.
        other: The second file it is about, likewise below the data folder: what a duplicate is a
            duplicate of. Empty when there is none.
    """

    code: str
    path: str
    reason: str
    remedy: str
    is_error: bool
    other: str = ""
