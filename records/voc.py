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
import unicodedata
from pathlib import Path

from lxml import etree

from records.listing import CONTROL_CHARACTERS
from records.types import AnnotatedObject, Annotation, BoundingBox

MAX_XML_BYTES = 16 * 1024 * 1024
"""About 50,000 boxes; what is larger is no annotation of one picture."""

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_TRUE = ("1", "true", "yes")
_FALSE = ("", "0", "false", "no", "unspecified")


class AnnotationError(ValueError):
    """An annotation cannot be read; the text says which element is at fault."""


def parse_annotation(xml: bytes) -> Annotation:
    """Reads a VOC annotation.

    Elements may come in any order, and elements this project does not use (`<pose>`, `<part>`,
    `<segmented>`) are passed over. Boxes are not held against `<size>`, which published data sets
    have wrong; `records.audit` holds them against the picture.

    Args:
        xml: The document in any encoding it declares.

    Returns:
        The annotation. Names are in Unicode's composed form (NFC), because a folder name and an XML
        name that look the same may be encoded differently; an object's name with line breaks or
        other control characters has single blanks instead. Box numbers may be fractions.

    Raises:
        AnnotationError: The XML is malformed, has a DOCTYPE, or an element that is needed is
            missing, doubled, empty or no finite number.
    """
    root = _parse_root(xml)
    size = _at_most_one(root, "size", "the annotation")
    objects = tuple(
        _parse_object(element, f"object {number}")
        for number, element in enumerate(root.findall("object"), start=1)
    )
    return Annotation(
        filename=_optional_text(root, "filename", "the annotation"),
        width=_parse_length(size, "width"),
        height=_parse_length(size, "height"),
        depth=_parse_length(size, "depth"),
        objects=objects,
    )


def read_annotation(path: Path) -> Annotation:
    """Reads a VOC annotation from a file.

    Raises:
        AnnotationError: As `parse_annotation`, or the file cannot be read or is too large.
    """
    return parse_annotation(_read_bytes(path))


def read_origin(path: Path) -> tuple[str, str]:
    """What a file says its picture is called: `<folder>` and `<filename>`, NFC, empty when absent.

    Only these two are read, so that an annotation broken elsewhere can still be matched.

    Raises:
        AnnotationError: The file cannot be read, or is no XML of an annotation.
    """
    root = _parse_root(_read_bytes(path))
    return (
        _optional_text(root, "folder", "the annotation"),
        _optional_text(root, "filename", "the annotation"),
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


def _read_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            xml = file.read(MAX_XML_BYTES + 1)
    except OSError as error:
        raise AnnotationError(f"the file cannot be read: {error.strerror}") from error
    if len(xml) > MAX_XML_BYTES:
        raise AnnotationError(f"the file is larger than {MAX_XML_BYTES // 2**20} MiB")
    return xml


def _parse_root(xml: bytes) -> etree._Element:
    if not xml.strip():
        raise AnnotationError("the file is empty")
    # A parser is not to be shared between threads; making one costs microseconds.
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(xml, parser)
    except etree.XMLSyntaxError as error:
        raise AnnotationError(f"malformed XML: {' '.join(error.msg.split())}") from error
    if root.getroottree().docinfo.internalDTD is not None:
        raise AnnotationError("the XML has a DOCTYPE; annotations need none, and it can do harm")
    if root.tag != "annotation":
        raise AnnotationError(f"the outermost element is <{root.tag}> instead of <annotation>")
    return root


def _parse_object(element: etree._Element, where: str) -> AnnotatedObject:
    name = _optional_text(element, "name", where)
    # A line break would become one in lists of classes. Blanks alone are left as a folder has them.
    if CONTROL_CHARACTERS.search(name):
        name = " ".join(CONTROL_CHARACTERS.sub(" ", name).split())
    if not name:
        raise AnnotationError(f"{where} has no <name>")
    where = f"{where} ({name})"
    bounds = _at_most_one(element, "bndbox", where)
    if bounds is None:
        raise AnnotationError(f"{where} has no <bndbox>")
    return AnnotatedObject(
        name=name,
        box=BoundingBox(
            xmin=_parse_coordinate(bounds, "xmin", where) - 1,
            ymin=_parse_coordinate(bounds, "ymin", where) - 1,
            xmax=_parse_coordinate(bounds, "xmax", where),
            ymax=_parse_coordinate(bounds, "ymax", where),
        ),
        difficult=_parse_flag(element, "difficult", where),
        truncated=_parse_flag(element, "truncated", where),
    )


def _parse_coordinate(bounds: etree._Element, tag: str, where: str) -> float:
    text = _optional_text(bounds, tag, where)
    if not text:
        raise AnnotationError(f"{where} has no <{tag}> in its <bndbox>")
    return _parse_number(text, f"<{tag}> of {where}")


def _parse_length(size: etree._Element | None, tag: str) -> int:
    text = "" if size is None else _optional_text(size, tag, "<size>")
    if not text:
        return 0
    value = _parse_number(text, f"<{tag}> of <size>")
    if value < 0 or value != int(value):
        raise AnnotationError(f"<{tag}> of <size> is {text!r}, which is no number of pixels")
    return int(value)


def _parse_number(text: str, what: str) -> float:
    # float() would also take "nan", "1_000" and digits of other scripts.
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise AnnotationError(f"{what} is {_shortened(text)!r}, which is no finite number")
    return value


def _parse_flag(element: etree._Element, tag: str, where: str) -> bool:
    text = _optional_text(element, tag, where).lower()
    if text not in _TRUE and text not in _FALSE:
        raise AnnotationError(f"<{tag}> of {where} is {_shortened(text)!r} instead of 0 or 1")
    return text in _TRUE


def _at_most_one(parent: etree._Element, tag: str, where: str) -> etree._Element | None:
    found = parent.findall(tag)
    if len(found) > 1:
        raise AnnotationError(f"{where} has {len(found)} <{tag}> instead of one")
    return found[0] if found else None


def _optional_text(parent: etree._Element, tag: str, where: str) -> str:
    element = _at_most_one(parent, tag, where)
    if element is None:
        return ""
    if len(element):
        raise AnnotationError(f"<{tag}> of {where} holds an element instead of text")
    return unicodedata.normalize("NFC", (element.text or "").strip())


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
