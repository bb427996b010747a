"""XML that others wrote, read without trusting it: one document, its elements, their texts.

What `records.voc` reads an annotation with. Nothing here knows what the elements mean.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection

from lxml import etree

from records.listing import CONTROL_CHARACTERS
from records.places import Place, read_at_most

MAX_XML_BYTES = 16 * 1024 * 1024
"""About 50,000 boxes; what is larger is no annotation of one picture."""
MAX_TEXT_CHARACTERS = 512
"""Of a text that is read: twice as many as a file's name can have. Composing takes time with the
square of the length."""

_DOCTYPE = re.compile(
    rb"(?:\xef\xbb\xbf|\xff\xfe|\xfe\xff)?(?>\s+|<\?.*?\?>|<!--.*?-->)*+<!DOCTYPE", re.DOTALL
)
"""What may stand before a document's DOCTYPE. Atomic groups: time grows with the length alone."""
_SHOWN_CHARACTERS = 200
_HAS_DOCTYPE = "the XML has a DOCTYPE; annotations need none, and it can do harm"


class AnnotationError(ValueError):
    """An annotation cannot be read; the text says which element is at fault."""


class UnsafeAnnotationError(AnnotationError):
    """An annotation was not read because its XML has a DOCTYPE."""


def read_xml(path: Place) -> bytes:
    """Reads a file of at most `MAX_XML_BYTES`.

    Raises:
        AnnotationError: It cannot be read, or is larger.
    """
    try:
        xml = read_at_most(path, MAX_XML_BYTES)
    except OSError as error:
        raise AnnotationError(f"the file cannot be read: {error.strerror}") from error
    if len(xml) > MAX_XML_BYTES:
        raise AnnotationError(f"the file is larger than {MAX_XML_BYTES // 2**20} MiB")
    return xml


def parse_root(xml: bytes) -> etree._Element:
    """Parses a document whose outermost element is `<annotation>`. Comments are left out.

    Raises:
        UnsafeAnnotationError: It has a DOCTYPE.
        AnnotationError: It is empty, malformed, or has another outermost element.
    """
    if not xml.strip():
        raise AnnotationError("the file is empty")
    # Before parsing, so that no entity is ever looked at; without NULs UTF-16 reads like ASCII.
    if _DOCTYPE.match(xml.replace(b"\0", b"") if b"\0" in xml else xml):
        raise UnsafeAnnotationError(_HAS_DOCTYPE)
    # A parser is not to be shared between threads; making one costs half a microsecond.
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
        raise AnnotationError(f"malformed XML: {_quote(error.msg)}") from error
    if root.getroottree().docinfo.internalDTD is not None:
        raise UnsafeAnnotationError(_HAS_DOCTYPE)
    if root.tag != "annotation":
        raise AnnotationError(
            f"the outermost element is <{_quote(root.tag)}> instead of <annotation>"
        )
    return root


def list_fields(
    parent: etree._Element, single: Collection[str], where: str
) -> dict[str, etree._Element]:
    """The elements directly in `parent` by name, the last of several of one name.

    Args:
        parent: Where to look.
        single: Names of which there may be one at most.
        where: What `parent` is, for the error.

    Raises:
        AnnotationError: There are two of a name in `single`.
    """
    fields: dict[str, etree._Element] = {}
    for child in parent:
        tag = child.tag
        if tag in fields and tag in single:
            raise AnnotationError(f"{where} has {len(parent.findall(tag))} <{tag}> instead of one")
        fields[tag] = child
    return fields


def read_text(fields: dict[str, etree._Element], tag: str, where: str) -> str:
    """The text of a field without surrounding blanks, in NFC; empty when there is no such field.

    Raises:
        AnnotationError: The field holds an element, or more than `MAX_TEXT_CHARACTERS`.
    """
    element = fields.get(tag)
    if element is None:
        return ""
    if len(element):
        raise AnnotationError(f"<{tag}> of {where} holds an element instead of text")
    text = (element.text or "").strip()
    if len(text) > MAX_TEXT_CHARACTERS:
        raise AnnotationError(
            f"<{tag}> of {where} has {len(text)} characters; up to {MAX_TEXT_CHARACTERS} are read"
        )
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _quote(text: str) -> str:
    """Text of the document on one line that a person can read: a name may be as long as a file."""
    line = " ".join(CONTROL_CHARACTERS.sub(" ", text).split())
    return line if len(line) <= _SHOWN_CHARACTERS else f"{line[:_SHOWN_CHARACTERS]}..."
