from __future__ import annotations

import dataclasses
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.checks import (
    Checked,
    check_annotation,
    check_names,
    choose_label,
    choose_vocabulary,
)
from records.pictures import PictureFacts
from records.types import AnnotatedObject, Annotation, BoundingBox, Sample

SAMPLE = Sample("nio/a.jpg", "annotations/a.xml", "nio", None)
FACTS = PictureFacts(
    source_format="jpeg",
    image_format="jpeg",
    is_converted=False,
    width=40,
    height=30,
    bit_depth=8,
    is_grey=True,
    size_bytes=900,
    sha256="0" * 64,
    orientation=1,
    remarks=(),
)


def named(name: str, *bounds: float) -> AnnotatedObject:
    return AnnotatedObject(name, BoundingBox(*(bounds or (0, 0, 1, 1))))


def check(*objects: AnnotatedObject, width: int = 0) -> Checked:
    return check_annotation(SAMPLE, FACTS, Annotation("a.jpg", width, 0, 0, objects))


def test_a_good_annotation_is_left_as_it_is() -> None:
    objects = (named("crack", 0, 0, 40, 30), named("void", 39.5, 29, 40, 30))
    assert check(*objects, width=40) == Checked(objects, ())


@pytest.mark.parametrize(
    ("bounds", "clipped"),
    [
        ((-1, -1, 5, 5), (0, 0, 5, 5)),
        ((2, 2, 41, 31), (2, 2, 40, 30)),
        ((-0.25, 3, 40.5, 8), (0, 3, 40, 8)),
    ],
)
def test_boxes_up_to_a_pixel_out_are_clipped(
    bounds: tuple[float, ...], clipped: tuple[float, ...]
) -> None:
    found = check(named("crack", *bounds))
    assert found.objects == (named("crack", *clipped),)
    assert [(finding.code, finding.is_error) for finding in found.findings] == [
        ("box_clipped", False)
    ]


@pytest.mark.parametrize(
    ("bounds", "code"),
    [
        ((-1.5, 0, 5, 5), "box_outside"),
        ((0, 0, 5, 31.25), "box_outside"),
        ((40, 0, 41, 5), "box_outside"),  # Nothing of it would be left.
        ((100, 100, 120, 120), "box_outside"),
        ((5, 5, 5, 9), "empty_box"),
        ((9, 5, 5, 9), "empty_box"),
        ((5, 9, 9, 5), "empty_box"),
    ],
)
def test_boxes_that_cannot_be_used(bounds: tuple[float, ...], code: str) -> None:
    found = check(named("crack", *bounds))
    assert found.objects == ()
    assert [(finding.code, finding.is_error) for finding in found.findings] == [(code, True)]


def test_findings_name_the_picture_the_annotation_and_the_object() -> None:
    bad = named("void", 9, 9, 50, 12)
    (finding,) = check(named("void", 1, 1, 2, 2), bad, bad, bad).findings
    assert finding.path == "nio/a.jpg"
    assert finding.reason == (
        "annotations/a.xml: object 2 (void) reaches 10 px beyond the picture of 40 x 30 px: "
        "xmin=10 ymin=10 xmax=50 ymax=12 in the XML; and 2 more such objects"
    )


@pytest.mark.parametrize(("width", "expected"), [(0, []), (40, []), (41, ["size_mismatch"])])
def test_a_size_that_was_given_must_be_right(width: int, expected: list[str]) -> None:
    assert [finding.code for finding in check(width=width).findings] == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        # EXIF 6: what lies in the file is turned a quarter clockwise to be upright.
        ((30, 40), BoundingBox(40 - 20, 1, 40 - 2, 11)),
        ((40, 30), BoundingBox(1, 2, 11, 20)),
        ((40, 0), BoundingBox(1, 2, 11, 20)),
        ((0, 40), BoundingBox(40 - 20, 1, 40 - 2, 11)),
    ],
)
def test_boxes_of_a_turned_picture_are_where_its_size_says_they_were_drawn(
    size: tuple[int, int], expected: BoundingBox
) -> None:
    turned = dataclasses.replace(FACTS, orientation=6)
    annotation = Annotation("a.jpg", *size, 1, (named("crack", 1, 2, 11, 20),))
    found = check_annotation(SAMPLE, turned, annotation)
    assert [item.box for item in found.objects] == [expected]
    assert found.findings == ()


@pytest.mark.parametrize(
    ("orientation", "side", "expected"),
    [
        (3, 30, ["turned_boxes"]),
        (2, 0, ["turned_boxes"]),
        (6, 0, ["turned_boxes"]),
        (6, 30, []),
        (1, 30, []),
        (1, 0, []),
    ],
)
def test_boxes_are_remarked_on_where_the_size_cannot_tell_how_they_were_drawn(
    orientation: int, side: int, expected: list[str]
) -> None:
    turned = dataclasses.replace(FACTS, orientation=orientation)
    annotation = Annotation("a.jpg", side and 40, side, 1, (named("crack", 1, 2, 11, 20),))
    found = check_annotation(SAMPLE, turned, annotation)
    assert [finding.code for finding in found.findings] == expected
    square = dataclasses.replace(turned, width=30)
    annotation = dataclasses.replace(annotation, width=30, height=30)
    found = check_annotation(SAMPLE, square, annotation)
    assert [item.code for item in found.findings] == ["turned_boxes"] * (orientation != 1)


def test_names_are_held_against_the_vocabulary() -> None:
    names = ("nio", "io", "scratch")
    found = check_names(SAMPLE, names, frozenset({"io", "nio"}))
    assert [(finding.code, finding.is_error) for finding in found] == [
        ("object_of_other_class", False),
        ("unknown_class", True),
    ]
    assert "object 3 (scratch) is of none of the classes io, nio" in found[1].reason
    assert check_names(SAMPLE, names, None) == ()


@pytest.mark.parametrize(
    ("names", "speaks_of_folders"),
    [
        (["a", "b", "a"], True),
        (["a", "crack"], True),
        (["a", "crack", "void"], False),
        (["crack"], False),
        ([], False),
    ],
)
def test_half_of_the_names_make_the_folders_the_vocabulary(
    names: list[str], speaks_of_folders: bool
) -> None:
    folders = frozenset({"a", "b"})
    assert choose_vocabulary(folders, Counter(names)) == (folders if speaks_of_folders else None)


def test_without_folders_any_name_may_be() -> None:
    assert choose_vocabulary(frozenset(), Counter("a")) is None


@pytest.mark.parametrize(
    ("objects", "label"),
    [
        ([], "io"),
        ([named("a", 0, 0, 3, 3), named("b", 0, 0, 2, 5)], "b"),
        ([named("a", 0, 0, 3, 3), named("b", 0, 0, 2, 4), named("b", 5, 5, 6, 7)], "b"),
        ([named("b", 0, 0, 2, 2), named("a", 3, 3, 5, 5)], "a"),
    ],
)
def test_the_label_is_the_class_of_the_largest_area(
    objects: list[AnnotatedObject], label: str
) -> None:
    assert choose_label(objects) == label
    assert choose_label(reversed(objects)) == label


BOUNDS = st.floats(-50, 90)


@given(st.tuples(BOUNDS, BOUNDS, BOUNDS, BOUNDS))
def test_what_is_kept_is_within_the_picture(bounds: tuple[float, ...]) -> None:
    found = check(named("crack", *bounds))
    before = BoundingBox(*bounds)
    assert len(found.objects) + sum(finding.is_error for finding in found.findings) == 1
    for item in found.objects:
        assert item.box.is_within(FACTS.width, FACTS.height)
        assert item.box == before or [f.code for f in found.findings] == ["box_clipped"]
    if before.is_within(FACTS.width, FACTS.height):
        assert found == Checked((named("crack", *bounds),), ())
