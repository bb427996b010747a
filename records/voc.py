"""Pascal-VOC XML to `Annotation` and back.

The one place that knows VOC's pixel numbers: 1-based and inclusive there, 0-based and half-open
everywhere else in this project. VOC's box `xmin=1, xmax=10` covers the columns 0 to 9, which are
`xmin=0, xmax=10` here.

Source: M. Everingham et al., "The PASCAL Visual Object Classes Challenge 2007 (VOC2007) Development
Kit", section "Annotations".
"""

from __future__ import annotations

import math
import re

from lxml import etree

from records.annotation_xml import AnnotationError as AnnotationError
from records.annotation_xml import UnsafeAnnotationError as UnsafeAnnotationError
from records.annotation_xml import list_fields, parse_root, read_text, read_xml
from records.listing import CONTROL_CHARACTERS
from records.places import Place
from records.types import AnnotatedObject, Annotation, BoundingBox

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_DIGITS_OF_ANY_FLOAT = 300
MAX_NAME_CHARACTERS = 255
"""Of an object's class: as many as a class that is a folder can have."""
_LENGTHS = ("width", "height", "depth")
_FIELDS = ("name", "bndbox", "difficult", "truncated")
_BOUNDS = ("xmin", "ymin", "xmax", "ymax")
_SAYS_SOMETHING = frozenset({"filename", "size", "object"})
_HOLD_NO_BOX = frozenset(
    {"folder", "filename", "path", "source", "owner", "size", "segmented", "object"}
)
_FLAGS = {
    **dict.fromkeys(("1", "true", "yes"), True),
    **dict.fromkeys(("", "0", "false", "no", "unspecified"), False),
}


def parse_annotation(xml: bytes) -> Annotation:
    """Reads a VOC annotation.

    Elements may come in any order, and elements this project does not use (`<pose>`, `<part>`,
    `<segmented>`) are passed over, unless they hold a box: a picture whose boxes are overlooked
    would count as one without defects. Boxes are not held against `<size>`, which published data
    sets have wrong; `records.audit` holds them against the picture.

    Args:
        xml: The document in any encoding it declares.

    Returns:
        The annotation. Names are in Unicode's composed form (NFC), because a folder name and an XML
        name that look the same may be encoded differently; an object's name with line breaks or
        other control characters has single blanks instead. Box numbers may be fractions.

    Raises:
        UnsafeAnnotationError: The XML has a DOCTYPE, and may have entities in it.
        AnnotationError: The XML is malformed, or an element that is needed is missing, doubled,
            empty or no finite number; a name has more than `MAX_NAME_CHARACTERS`; a box is not in
            an `<object>` directly in the annotation; or nothing at all is said of a picture.
    """
    root = parse_root(xml)
    fields = list_fields(root, ("filename", "size"), "the annotation")
    if fields.keys().isdisjoint(_SAYS_SOMETHING):
        raise AnnotationError("it names no picture, no size and no object")
    if fields.keys() - _HOLD_NO_BOX:
        _require_no_other_box(root)
    size = fields.get("size")
    lengths = {} if size is None else list_fields(size, _LENGTHS, "<size>")
    return Annotation(
        filename=read_text(fields, "filename", "the annotation"),
        width=_parse_length(lengths, "width"),
        height=_parse_length(lengths, "height"),
        depth=_parse_length(lengths, "depth"),
        objects=tuple(
            _parse_object(element, f"object {number}")
            for number, element in enumerate(root.iterchildren("object"), start=1)
        ),
    )


def read_annotation(path: Place) -> Annotation:
    """Reads a VOC annotation from a file.

    Raises:
        AnnotationError: As `parse_annotation`, or the file cannot be read or is too large.
    """
    return parse_annotation(read_xml(path))


def read_origin(path: Place) -> tuple[str, str]:
    """What a file says its picture is called: `<folder>` and `<filename>`, NFC, empty when absent.

    Only these two are read, so that an annotation broken elsewhere can still be matched.

    Raises:
        AnnotationError: The file cannot be read, or is no XML of an annotation.
    """
    root = parse_root(read_xml(path))
    fields = list_fields(root, ("folder", "filename"), "the annotation")
    return (
        read_text(fields, "folder", "the annotation"),
        read_text(fields, "filename", "the annotation"),
    )


def format_annotation(annotation: Annotation) -> bytes:
    """Writes the VOC XML that `parse_annotation` reads back.

    Args:
        annotation: Names without surrounding blanks or control characters. Whole numbers are
            written as such, fractions with as many digits as bring the same float back; adding
            VOC's 1 to a corner rounds like any sum of floats.

    Returns:
        UTF-8, indented, with a line end.

    Raises:
        ValueError: A name holds a character that XML has no way to write, such as NUL.
    """
    root = etree.Element("annotation")
    _append(root, "filename", annotation.filename)
    size = etree.SubElement(root, "size")
    _append(size, "width", str(annotation.width))
    _append(size, "height", str(annotation.height))
    _append(size, "depth", str(annotation.depth))
    _append(root, "segmented", "0")
    for item in annotation.objects:
        _append_object(root, item)
    return etree.tostring(root, encoding="utf-8", pretty_print=True)


def _parse_object(element: etree._Element, where: str) -> AnnotatedObject:
    fields = list_fields(element, _FIELDS, where)
    name = read_text(fields, "name", where)
    # A line break would become one in lists of classes. Blanks alone are left as a folder has them.
    if CONTROL_CHARACTERS.search(name):
        name = " ".join(CONTROL_CHARACTERS.sub(" ", name).split())
    if not name:
        raise AnnotationError(f"{where} has no <name>")
    if len(name) > MAX_NAME_CHARACTERS:
        raise AnnotationError(
            f"{where} has a name of {len(name)} characters; up to {MAX_NAME_CHARACTERS} are read"
        )
    where = f"{where} ({name})"
    if "bndbox" not in fields:
        raise AnnotationError(f"{where} has no <bndbox>")
    return AnnotatedObject(
        name,
        _parse_box(fields["bndbox"], where),
        _parse_flag(fields, "difficult", where),
        _parse_flag(fields, "truncated", where),
    )


def _parse_box(element: etree._Element, where: str) -> BoundingBox:
    bounds = list_fields(element, _BOUNDS, where)
    xmin, ymin, xmax, ymax = [
        _parse_number(read_text(bounds, side, where), side, where) for side in _BOUNDS
    ]
    return BoundingBox(xmin - 1, ymin - 1, xmax, ymax)


def _require_no_other_box(root: etree._Element) -> None:
    # In one pass: of a file made to exhaust every element may have a name of its own.
    for element in root:
        if element.tag in _HOLD_NO_BOX:
            continue
        if any(str(inner.tag).lower() == "bndbox" for inner in element.iter()):
            raise AnnotationError(
                f"<{_shortened(str(element.tag))}> holds a <bndbox>; boxes are read from <object> "
                "elements directly in <annotation>"
            )


def _parse_length(lengths: dict[str, etree._Element], tag: str) -> int:
    text = read_text(lengths, tag, "<size>")
    if not text:
        return 0
    value = _parse_number(text, tag, "<size>")
    if not 0 <= value < 2**31 or value != int(value):
        raise AnnotationError(
            f"<{tag}> of <size> is {_shortened(text)!r}, which is no number of pixels"
        )
    return int(value)


def _parse_number(text: str, tag: str, where: str) -> float:
    if text.isdigit() and text.isascii() and len(text) < _DIGITS_OF_ANY_FLOAT:
        return float(text)
    if not text:
        raise AnnotationError(f"{where} has no <{tag}> in its <bndbox>")
    # float() would also take "nan", "1_000" and digits of other scripts.
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise AnnotationError(
            f"<{tag}> of {where} is {_shortened(text)!r}, which is no finite number"
        )
    return value


def _parse_flag(fields: dict[str, etree._Element], tag: str, where: str) -> bool:
    text = read_text(fields, tag, where)
    value = _FLAGS.get(text.lower())
    if value is None:
        raise AnnotationError(f"<{tag}> of {where} is {_shortened(text)!r} instead of 0 or 1")
    return value


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."


def _append_object(root: etree._Element, item: AnnotatedObject) -> None:
    element = etree.SubElement(root, "object")
    _append(element, "name", item.name)
    _append(element, "pose", "Unspecified")
    _append(element, "truncated", str(int(item.truncated)))
    _append(element, "difficult", str(int(item.difficult)))
    bounds = etree.SubElement(element, "bndbox")
    _append(bounds, "xmin", _format_number(item.box.xmin + 1))
    _append(bounds, "ymin", _format_number(item.box.ymin + 1))
    _append(bounds, "xmax", _format_number(item.box.xmax))
    _append(bounds, "ymax", _format_number(item.box.ymax))


def _append(parent: etree._Element, tag: str, text: str) -> None:
    etree.SubElement(parent, tag).text = text


def _format_number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
