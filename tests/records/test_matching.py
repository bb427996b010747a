from __future__ import annotations

from pathlib import Path

import pytest

from records.layouts import find_samples
from tests.records.folders import put, show, summarise


def test_differently_encoded_names_that_look_the_same_match(tmp_path: Path) -> None:
    put(tmp_path, "images/Lo\u0308t/u\u0308.jpg", "images/io/1.jpg", "annotations/\u00fc.xml")
    samples = {sample.label: sample for sample in find_samples(tmp_path).samples}
    annotation = samples["L\u00f6t"].annotation
    assert annotation == "annotations/\u00fc.xml"


def test_annotations_without_pictures_are_reported(tmp_path: Path) -> None:
    put(tmp_path, "images/io/1.jpg", "images/nio/2.jpg", "annotations/2.xml", "annotations/3.xml")
    put(tmp_path, "images/nio/2.xml")
    found = find_samples(tmp_path)
    assert show(found)[1][2] == "images/nio/2.xml"
    assert [(finding.path, finding.reason) for finding in found.findings] == [
        ("annotations/2.xml", "another annotation is nearer to the picture of this name"),
        ("annotations/3.xml", "there is no picture of this name"),
    ]


@pytest.mark.parametrize(
    ("origin", "owner"),
    [
        ("<folder>nio</folder>", "images/nio/1.jpg"),
        ("<folder>io</folder><filename>1.png</filename>", "images/io/1.png"),
        ("<filename>1.png</filename>", "images/io/1.png"),
        ("<folder>io</folder>", None),
        ("<folder>line 3</folder><filename>1.jpg</filename>", None),
        ("<filename>1</filename>", None),
    ],
)
def test_of_several_namesakes_the_annotation_names_its_own(
    tmp_path: Path, origin: str, owner: str | None
) -> None:
    put(tmp_path, "images/io/1.jpg", "images/io/1.png", "images/nio/1.jpg", "annotations/1.xml")
    (tmp_path / "annotations/1.xml").write_text(f"<annotation>{origin}</annotation>")
    found = find_samples(tmp_path)
    assert len(found.samples) == 3
    assert [source for source, _, annotation in show(found) if annotation] == (
        [owner] if owner else []
    )
    expected = [] if owner else [("duplicate_name", "annotations/1.xml", False)]
    assert summarise(found.findings) == expected


def test_annotations_in_class_folders_belong_to_their_class(tmp_path: Path) -> None:
    put(tmp_path, "images/io/1.jpg", "images/nio/1.jpg", "annotations/nio/1.xml")
    assert show(find_samples(tmp_path)) == [
        ("images/io/1.jpg", "io", None),
        ("images/nio/1.jpg", "nio", "annotations/nio/1.xml"),
    ]


def test_namesakes_without_a_class_folder_are_set_aside(tmp_path: Path) -> None:
    put(tmp_path, "1.jpg", "1.png", "1.xml", "2.jpg", "2.xml")
    found = find_samples(tmp_path)
    assert [sample.source_id for sample in found.samples] == ["2.jpg"]
    assert summarise(found.findings) == [
        ("duplicate_name", "1.jpg", True),
        ("duplicate_name", "1.png", True),
    ]
