from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.types import AnnotatedObject, Annotation, BoundingBox
from records.voc import (
    AnnotationError,
    format_annotation,
    parse_annotation,
    read_annotation,
    read_origin,
)

OBJECT = """<object><name>crack</name><pose>Left</pose><truncated>1</truncated>
<difficult>0</difficult><bndbox>{box}</bndbox></object>"""
BOX = "<xmin>1</xmin><ymin>2</ymin><xmax>10</xmax><ymax>20</ymax>"


def document(inner: str = "", *, box: str = BOX) -> bytes:
    return (
        "<annotation><folder>nio</folder><filename>a.jpg</filename>"
        "<size><width>40</width><height>30</height><depth>1</depth></size>"
        f"{OBJECT.format(box=box)}{inner}</annotation>"
    ).encode()


def test_one_based_inclusive_becomes_zero_based_half_open() -> None:
    assert parse_annotation(document()) == Annotation(
        filename="a.jpg",
        width=40,
        height=30,
        depth=1,
        objects=(AnnotatedObject("crack", BoundingBox(0, 1, 10, 20), truncated=True),),
    )


def test_a_box_of_one_pixel_has_area_one() -> None:
    box = "<xmin>7</xmin><ymin>3</ymin><xmax>7</xmax><ymax>3</ymax>"
    assert parse_annotation(document(box=box)).objects[0].box.area_px == 1


def test_bounds_may_come_in_any_order_and_be_fractions() -> None:
    box = "<ymax>20.5</ymax><xmax> 1e1 </xmax><ymin>+2.25</ymin><xmin>1.5</xmin>"
    assert parse_annotation(document(box=box)).objects[0].box == BoundingBox(0.5, 1.25, 10, 20.5)


def test_what_is_not_needed_may_be_absent_and_parts_are_passed_over() -> None:
    xml = f"""<?xml version="1.0"?><!-- a tool --><annotation><object>
        <part><name>head</name><bndbox>{BOX}</bndbox></part>
        <bndbox>{BOX}</bndbox><name> person </name></object></annotation>"""
    assert parse_annotation(xml.encode()) == Annotation(
        "", 0, 0, 0, (AnnotatedObject("person", BoundingBox(0, 1, 10, 20)),)
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1", "windows-1252"])
def test_the_declared_encoding_counts(encoding: str) -> None:
    body = "<annotation><filename>Lötung</filename></annotation>"
    xml = f'<?xml version="1.0" encoding="{encoding}"?>{body}'
    assert parse_annotation(xml.encode(encoding)).filename == "Lötung"


def test_names_are_composed() -> None:
    xml = document().replace(b"crack", "Lo\u0308tung".encode())
    assert parse_annotation(xml).objects[0].name == "L\u00f6tung"


def test_an_object_s_name_is_one_line() -> None:
    for name in ("cold\n \n joint", " cold\tjoint ", "cold\u2028joint", "cold\x9b&#13;joint"):
        xml = document().replace(b"crack", name.encode())
        assert parse_annotation(xml).objects[0].name == "cold joint"
    for name in ("cold  joint", "冷\u3000焊"):
        assert parse_annotation(document().replace(b"crack", name.encode())).objects[0].name == name


def drop(tag: str) -> str:
    return "".join(f"<{t}>1</{t}>" for t in ("xmin", "ymin", "xmax", "ymax") if t != tag)


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        (b"", "the file is empty"),
        (b" \n", "the file is empty"),
        (b"<annotation><object></annotation>", "malformed XML: .*object.*annotation"),
        (document()[:-5], "malformed XML"),
        (b"<annotation>\x00</annotation>", "malformed XML"),
        (b"<annotation><filename>&nbsp;</filename></annotation>", "malformed XML: .*nbsp"),
        (b"<annotations/>", "outermost element is <annotations> instead of <annotation>"),
        (b"<object/>", "outermost element is <object>"),
        (document("<object><name>a</name></object>"), r"object 2 \(a\) has no <bndbox>"),
        (document("<object/>"), "object 2 has no <name>"),
        (document("<object><name> </name></object>"), "object 2 has no <name>"),
        (document("<size/>"), "the annotation has 2 <size> instead of one"),
        (document("<filename>b.jpg</filename>"), "2 <filename> instead of one"),
        (document("<size/><size/>"), "the annotation has 3 <size> instead of one"),
        (document().replace(b"<name>", b"<name/><name>"), "object 1 has 2 <name> instead of one"),
        (document().replace(b"<depth>", b"<width/><depth>"), "<size> has 2 <width> instead of one"),
        (document(box=BOX + BOX), r"object 1 \(crack\) has 2 <xmin> instead of one"),
        (document(box=drop("ymax")), r"object 1 \(crack\) has no <ymax> in its <bndbox>"),
        (document(box=drop("xmin")), r"object 1 \(crack\) has no <xmin> in its <bndbox>"),
        (document(box=BOX.replace("10", "<b>1</b>")), "<xmax> of object 1 .* holds an element"),
        (document().replace(b"<width>40", b"<width>-40"), "<width> of <size> is '-40'"),
        (document().replace(b"<width>40", b"<width>4.5"), "<width> of <size> is '4.5'"),
        (document().replace(b"<truncated>1", b"<truncated>maybe"), "<truncated> of .* 'maybe'"),
    ],
)
def test_what_is_wrong_is_named(xml: bytes, reason: str) -> None:
    with pytest.raises(AnnotationError, match=reason):
        parse_annotation(xml)


@pytest.mark.parametrize(
    "text",
    [
        "9" * 400,
        "1e400",
        "\xb2",
        "nan",
        "inf",
        "-Infinity",
        "1e999",
        "1_0",
        "0x1f",
        "12,5",
        "abc",
        "१",
        "1 2",
        "--1",
    ],
)
def test_no_finite_number_no_box(text: str) -> None:
    with pytest.raises(AnnotationError, match=r"<xmax> of object 1 \(crack\) is .* no finite"):
        parse_annotation(document(box=BOX.replace("10", text)))


def test_files_that_cannot_be_read_are_annotation_errors(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="cannot be read: No such file"):
        read_annotation(tmp_path / "absent.xml")
    large = tmp_path / "large.xml"
    with large.open("wb") as file:
        file.truncate(20 * 2**20)
    with pytest.raises(AnnotationError, match="larger than 16 MiB"):
        read_annotation(large)


def test_the_origin_can_be_read_from_an_annotation_broken_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_bytes(document(box=""))
    assert read_origin(path) == ("nio", "a.jpg")


# Whole numbers and eighths: taking VOC's 1 away and adding it again is exact for them.
COORDINATES = st.integers(-(2**40), 2**40).map(lambda eighths: eighths / 8)
NAMES = (
    st.text(st.characters(codec="utf-8", categories=("L", "M", "N", "P", "S", "Z")), min_size=1)
    .map(lambda text: parse_annotation(format_annotation(Annotation(text, 0, 0, 0, ()))).filename)
    .filter(bool)
)
OBJECTS = st.builds(
    AnnotatedObject,
    NAMES.filter(lambda text: len(text.splitlines()) == 1),
    st.builds(BoundingBox, COORDINATES, COORDINATES, COORDINATES, COORDINATES),
    st.booleans(),
    st.booleans(),
)
SIZES = st.integers(0, 10**6)
ANNOTATIONS = st.builds(
    Annotation, NAMES, SIZES, SIZES, SIZES, st.lists(OBJECTS, max_size=4).map(tuple)
)


@given(ANNOTATIONS)
def test_what_was_written_is_read_back(annotation: Annotation) -> None:
    assert parse_annotation(format_annotation(annotation)) == annotation


@given(st.tuples(*[st.floats(-1e6, 1e6)] * 4))
def test_any_box_is_read_back_to_its_last_bit(bounds: tuple[float, float, float, float]) -> None:
    box = BoundingBox(*bounds)
    written = format_annotation(Annotation("", 0, 0, 0, (AnnotatedObject("a", box),)))
    read = parse_annotation(written).objects[0].box
    assert (read.xmax, read.ymax) == (box.xmax, box.ymax)
    assert read.xmin == pytest.approx(box.xmin, rel=1e-15, abs=3e-16)
    assert read.ymin == pytest.approx(box.ymin, rel=1e-15, abs=3e-16)


def test_names_are_escaped() -> None:
    name = """<b>"R&D"</b> ]]> 'x'"""
    written = format_annotation(
        Annotation(name, 1, 1, 1, (AnnotatedObject(name, BoundingBox(0, 0, 1, 1)),))
    )
    assert b"<b>" not in written
    assert parse_annotation(written).objects[0].name == name


def test_names_xml_cannot_hold_are_refused() -> None:
    with pytest.raises(ValueError, match="XML compatible"):
        format_annotation(Annotation("a\x00", 0, 0, 0, ()))


def test_published_annotations_are_read(real_data: Path) -> None:
    paths = sorted((real_data / "neu-det").rglob("*.xml"))
    read = [read_annotation(path) for path in paths]
    assert len(read) == 1800
    assert {(item.width, item.height, item.depth) for item in read} == {(200, 200, 1)}
    assert sum(not item.filename.endswith(".jpg") for item in read) == 174
    boxes = [entry.box for item in read for entry in item.objects]
    assert all(box.is_within(200, 200) for box in boxes)


@pytest.mark.parametrize(
    "hidden",
    [
        "<objects><object><name>void</name><bndbox/></object></objects>",
        "<Object><name>void</name><bndbox><xmin>1</xmin></bndbox></Object>",
        "<bndbox><xmin>1</xmin></bndbox>",
        "<results><item><BNDBOX/></item></results>",
    ],
)
def test_a_box_that_would_be_overlooked_is_an_error(hidden: str) -> None:
    xml = f"<annotation><filename>a.jpg</filename>{hidden}</annotation>".encode()
    with pytest.raises(AnnotationError, match=r"holds a <bndbox>; boxes are read from <object>"):
        parse_annotation(xml)


def test_an_annotation_that_says_nothing_is_no_proof_that_nothing_was_found() -> None:
    for xml in (b"<annotation/>", b"<annotation><segmented>0</segmented></annotation>"):
        with pytest.raises(AnnotationError, match="names no picture, no size and no object"):
            parse_annotation(xml)
    assert parse_annotation(b"<annotation><filename>a</filename></annotation>").objects == ()


def test_a_size_beyond_any_picture_is_an_error() -> None:
    xml = b"<annotation><size><width>1e300</width></size></annotation>"
    with pytest.raises(AnnotationError, match="'1e300', which is no number of pixels"):
        parse_annotation(xml)
