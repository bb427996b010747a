"""Annotations that were written to do harm."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from records.annotation_xml import MAX_TEXT_CHARACTERS
from records.types import BoundingBox
from records.voc import (
    MAX_NAME_CHARACTERS,
    AnnotationError,
    UnsafeAnnotationError,
    parse_annotation,
)

LAUGHS = '<!ENTITY e0 "xxxxxxxxxx">' + "".join(
    f'<!ENTITY e{n} "{f"&e{n - 1};" * 30}">' for n in range(1, 12)
)


def declare(subset: str, text: str = "&e;", attribute: str = "") -> str:
    named = f"<filename a='{attribute}'>{text}</filename>"
    return f"<!DOCTYPE annotation [{subset}]><annotation>{named}</annotation>"


def hide(document: str) -> bytes:
    """In UTF-7, in which no tag begins with the byte that one looks for."""
    plain = document.replace("<!", "+ADwAIQ-").replace("<", "+ADw-")
    return b'<?xml version="1.0" encoding="UTF-7"?>' + plain.encode()


def refuse(xml: bytes) -> str:
    with pytest.raises(AnnotationError) as caught:
        parse_annotation(xml)
    reason = str(caught.value)
    assert len(reason) < 400 and len(reason.splitlines()) == 1 and reason.isprintable()
    return reason


@pytest.mark.timeout(20)
def test_entities_that_grow_are_never_expanded() -> None:
    block = f"<!ENTITY e '{'x' * 100_000}'>"
    for document in (
        declare(LAUGHS, "&e11;"),
        declare(LAUGHS, "", "&e11;"),
        declare(block, "&e;" * 100_000),
        declare(block, "", "&e;" * 10_000),
    ):
        assert "DOCTYPE" in refuse(document.encode())
        refuse(hide(document))


def test_entities_from_elsewhere_are_never_fetched(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("<!ENTITY e 'swordfish'>")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/x.dtd"
        for place in (secret.as_uri(), address, str(secret)):
            documents = (
                declare(f"<!ENTITY e SYSTEM '{place}'>"),
                declare(f"<!ENTITY % p SYSTEM '{place}'> %p;"),
                f"<!DOCTYPE annotation SYSTEM '{place}'>"
                "<annotation><filename>&e;</filename></annotation>",
                f"<!DOCTYPE annotation PUBLIC '-//x' '{place}'><annotation/>",
            )
            for xml in (write(text) for text in documents for write in (str.encode, hide)):
                with pytest.raises(AnnotationError) as caught:
                    parse_annotation(xml)
                assert "swordfish" not in str(caught.value)
                assert isinstance(caught.value, UnsafeAnnotationError) or b"&e;" in xml
        with pytest.raises(BlockingIOError):
            server.accept()


def test_nothing_is_included_and_no_style_sheet_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("swordfish")
    include = (
        f"<xi:include xmlns:xi='http://www.w3.org/2001/XInclude' href='{secret.as_uri()}' "
        "parse='text'/>"
    )
    inside = f"<annotation><filename>{include}</filename></annotation>"
    assert "holds an element instead of text" in refuse(inside.encode())
    beside = (
        f"<?xml-stylesheet type='text/xsl' href='{secret.as_uri()}'?>"
        f"<annotation><filename>a</filename>{include}</annotation>"
    )
    assert parse_annotation(beside.encode()).filename == "a"


@pytest.mark.timeout(20)
def test_what_is_many_takes_no_longer_than_it_is_long() -> None:
    tags = b"".join(b"<t%x/>" % number for number in range(400_000))
    assert parse_annotation(b"<annotation><filename>a</filename>" + tags + b"</annotation>")
    item = b"<object><name>a</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax>"
    item += b"<ymax>2</ymax></bndbox></object>"
    found = parse_annotation(b"<annotation>" + 10_000 * item + b"</annotation>")
    assert {entry.box for entry in found.objects} == {BoundingBox(0, 0, 2, 2)}
    assert len(found.objects) == 10_000
    # Composed, they would be sorted one by one.
    marks = "\u0301\u0327" * 500_000
    for tag in ("filename", "name"):
        inner = f"<object><name>a{marks}</name></object>"
        document = f"<annotation><filename>a{marks}</filename></annotation>"
        text = document if tag == "filename" else f"<annotation>{inner}</annotation>"
        assert f"up to {MAX_TEXT_CHARACTERS} are read" in refuse(text.encode())
    for depth in (300, 100_000):
        refuse(b"<annotation>" + b"<a>" * depth + b"</a>" * depth + b"</annotation>")
    attributes = b" ".join(b"a%d=''" % number for number in range(100_000))
    assert parse_annotation(b"<annotation " + attributes + b"><filename>a</filename></annotation>")


def test_names_are_no_longer_than_a_folder_s() -> None:
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox>"
    for length in (MAX_NAME_CHARACTERS, MAX_NAME_CHARACTERS + 1, 10_000):
        xml = f"<annotation><object><name>{'n' * length}</name>{box}</object></annotation>"
        if length == MAX_NAME_CHARACTERS:
            assert len(parse_annotation(xml.encode()).objects[0].name) == length
        else:
            assert f"{length} characters" in refuse(xml.encode())


def test_reasons_are_short_whatever_the_file_holds() -> None:
    long = b"a" * 40_000
    refuse(b"<" + long + b"/>")
    refuse(b"<annotation><" + long + b"></b></annotation>")
    refuse("<annotation><a\u202e\x9b31m></annotation>".encode())
    refuse(
        b"<annotation><filename>a</filename><" + long + b"><bndbox/></" + long + b"></annotation>"
    )
    refuse(b"<annotation><size><width>" + b"9" * 500 + b"x</width></size></annotation>")
    refuse(b"<annotation><filename>a\0b</filename></annotation>")


def test_minus_nothing_is_nothing() -> None:
    box = "<xmin>-0</xmin><ymin>-0.0</ymin><xmax>1</xmax><ymax>1e0</ymax>"
    xml = f"<annotation><object><name>a</name><bndbox>{box}</bndbox></object></annotation>"
    assert parse_annotation(xml.encode()).objects[0].box == BoundingBox(-1, -1, 1, 1)
