"""What an XML may hold that is no annotation, or worse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.voc import AnnotationError, UnsafeAnnotationError, parse_annotation


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-8-sig"])
@pytest.mark.parametrize(
    "doctype",
    [
        '<!DOCTYPE annotation [<!ENTITY e "x">]>',
        '<!DOCTYPE annotation [<!ENTITY e SYSTEM "file:///etc/hostname">]>',
        '<!DOCTYPE annotation SYSTEM "a">',
        "<!DOCTYPE annotation [<!ENTITY",
        "\n<!-- <a> --><?b c?> <!DOCTYPE annotation>",
        "<?xml version='1.0'?><!DOCTYPE annotation>",
    ],
)
def test_a_doctype_is_a_fault_of_its_own(doctype: str, encoding: str) -> None:
    xml = f"{doctype}<annotation><filename>&e;</filename></annotation>"
    with pytest.raises(UnsafeAnnotationError, match="DOCTYPE"):
        parse_annotation(xml.encode(encoding))


@pytest.mark.parametrize(
    "xml",
    [
        b"<annotation><filename>&e;</filename></annotation>",
        b"<annotation><!DOCTYPE annotation></annotation>",
        b"<annotation/><!DOCTYPE annotation>",
        b"a<!DOCTYPE annotation><annotation/>",
        b"<!-- <!DOCTYPE annotation> --><annotation>",
    ],
)
def test_an_entity_that_nobody_declared_is_just_malformed(xml: bytes) -> None:
    with pytest.raises(AnnotationError, match="malformed XML") as caught:
        parse_annotation(xml)
    assert type(caught.value) is AnnotationError


def test_the_word_doctype_in_a_comment_is_none() -> None:
    xml = b"<!-- <!DOCTYPE a> --><annotation><filename>&lt;!DOCTYPE a></filename></annotation>"
    assert parse_annotation(xml).filename == "<!DOCTYPE a>"


@pytest.mark.timeout(20)
def test_documents_made_to_exhaust_are_refused_at_once() -> None:
    entities = '<!ENTITY e0 "xxxxxxxxxx">' + "".join(
        f'<!ENTITY e{n} "{f"&e{n - 1};" * 30}">' for n in range(1, 12)
    )
    laughs = f"<!DOCTYPE annotation [{entities}]><annotation>{{}}</annotation>"
    documents = [
        laughs.format("<filename>&e11;</filename>"),
        laughs.format('<filename a="&e11;"/>'),
        "<annotation>" + "<a>" * 100_000 + "</a>" * 100_000 + "</annotation>",
        "<?a?>" * 1_000_000,
        "<!---->" * 1_000_000 + "<!DOCTYP",
    ]
    for xml in documents:
        with pytest.raises(AnnotationError):
            parse_annotation(xml.encode())


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(xml: bytes) -> None:
    with pytest.raises(AnnotationError):
        parse_annotation(xml)
