from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.layouts import find_samples
from tests.records.folders import put, summarise


def test_names_of_all_kinds(tmp_path: Path) -> None:
    put(tmp_path, "images/i.o. ü/Bild 1 (2).v2.JPG", "images/nio/-=1.PnG", "images/nio/名.jpeg")
    put(tmp_path, "annotations/Bild 1 (2).v2.xml", "annotations/名.xml")
    put(tmp_path, "images/nio/.hidden.jpg", "images/.cache/x.jpg", "images/__MACOSX/nio/1.jpg")
    put(tmp_path, "images/nio/Thumbs.db", "annotations/._名.xml")
    found = find_samples(tmp_path)
    stems = [sample.annotation and Path(sample.annotation).stem for sample in found.samples]
    assert list(zip([sample.source_id for sample in found.samples], stems, strict=True)) == [
        ("images/i.o. ü/Bild 1 (2).v2.JPG", "Bild 1 (2).v2"),
        ("images/nio/-=1.PnG", None),
        ("images/nio/名.jpeg", "名"),
    ]
    assert not found.findings


def test_what_nobody_looks_at_is_not_counted_either(tmp_path: Path) -> None:
    put(tmp_path, "io/1.jpg", "nio/1.jpg")
    put(tmp_path, "io/notes/.cache/1.jpg", "io/notes/__MACOSX/2.jpg", "io/notes/._3.jpg")
    assert not find_samples(tmp_path).findings
    put(tmp_path, "io/notes/far/down/4.jpg")
    (finding,) = find_samples(tmp_path).findings
    assert finding.code == "nested_pictures"
    assert "holds 1 pictures" in finding.reason


def test_a_name_that_is_no_utf8_is_reported(tmp_path: Path) -> None:
    put(tmp_path, "io/1.jpg", "nio/1.jpg")
    try:
        (tmp_path / os.fsdecode(b"io/\xff.jpg")).touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert summarise(find_samples(tmp_path).findings) == [("bad_name", "io/\\udcff.jpg", True)]


def test_names_with_control_characters_are_set_aside(tmp_path: Path) -> None:
    put(tmp_path, "io/1.jpg", "nio/1.jpg", "io/a\nb.jpg", "nio/\x07\u2028.png", "n\rio/1.jpg")
    put(tmp_path, "n\rio/2.jpg", "io/\x85.xml")
    found = find_samples(tmp_path)
    assert [sample.source_id for sample in found.samples] == ["io/1.jpg", "nio/1.jpg"]
    assert summarise(found.findings) == [
        ("bad_name", path, True)
        for path in ("io/\\x85.xml", "io/a\\nb.jpg", "n\\rio", "nio/\\x07\\u2028.png")
    ]
    assert "the 2 pictures in it are not used" in found.findings[2].reason


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    outside = put(tmp_path / "outside", "secret.jpg", "class/2.jpg")
    data = put(tmp_path / "data", "io/1.jpg", "nio/2.jpg", "nio/2.xml")
    (data / "io/link.jpg").symlink_to(outside / "secret.jpg")
    (data / "io/broken.jpg").symlink_to(data / "absent.jpg")
    (data / "io/loop.jpg").symlink_to(data / "io/loop.jpg")
    (data / "linked class").symlink_to(outside / "class")
    (data / "io/inside.jpg").symlink_to(data / "nio/2.jpg")
    (tmp_path / "alias").symlink_to(data)
    for folder in (data, tmp_path / "alias"):
        found = find_samples(folder)
        assert [sample.source_id for sample in found.samples] == [
            "io/1.jpg",
            "io/inside.jpg",
            "nio/2.jpg",
        ]
        assert summarise(found.findings) == [
            ("bad_link", path, True)
            for path in ("io/broken.jpg", "io/link.jpg", "io/loop.jpg", "linked class")
        ]


@given(st.sets(st.text("ab .-ü", min_size=1, max_size=4).filter(str.strip), min_size=1, max_size=6))
def test_every_picture_is_found_once(names: set[str]) -> None:
    names = {name for name in names if not name.startswith(".")}
    with tempfile.TemporaryDirectory() as name:
        folder = put(Path(name), "io/0.jpg", *[f"n i o/{stem}.jpg" for stem in names])
        samples = find_samples(folder).samples
    expected = sorted(["io/0.jpg", *[f"n i o/{stem}.jpg" for stem in names]])
    assert [sample.source_id for sample in samples] == expected
