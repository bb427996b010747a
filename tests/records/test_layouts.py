from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from records.errors import InputError
from records.layouts import Discovery, find_samples
from tests.records.folders import put, show, summarise


def splits(discovery: Discovery) -> dict[str, str | None]:
    return {sample.source_id: sample.published_split for sample in discovery.samples}


def test_split_folders(tmp_path: Path) -> None:
    put(tmp_path, "Train/images/nio/2.JPG", "Train/images/io/1.bmp", "Train/annotations/2.xml")
    put(tmp_path, "validation/images/io/1.jpg", "validation/annotations/1.XML")
    found = find_samples(tmp_path)
    assert found.layout == "split"
    assert show(found) == [
        ("Train/images/io/1.bmp", "io", None),
        ("Train/images/nio/2.JPG", "nio", "Train/annotations/2.xml"),
        ("validation/images/io/1.jpg", "io", "validation/annotations/1.XML"),
    ]
    assert not found.findings


@pytest.mark.parametrize("name", ["validation", "val", "valid", "Valid"])
def test_a_published_validation_split_tests_when_nothing_else_does(
    tmp_path: Path, name: str
) -> None:
    put(tmp_path, "train/images/io/1.jpg", f"{name}/images/io/2.jpg")
    found = splits(find_samples(tmp_path))
    assert found == {"train/images/io/1.jpg": "train", f"{name}/images/io/2.jpg": "test"}
    put(tmp_path, "test/images/io/3.jpg")
    assert sorted(map(str, splits(find_samples(tmp_path)).values())) == [
        "test",
        "train",
        "validation",
    ]


def test_split_folders_may_hold_the_classes_themselves(tmp_path: Path) -> None:
    put(
        tmp_path, "train/ok/1.png", "train/defect/2.png", "test/ok/3.png", "train/annotations/2.xml"
    )
    found = find_samples(tmp_path)
    assert found.layout == "split"
    assert show(found)[1:] == [
        ("train/defect/2.png", "defect", "train/annotations/2.xml"),
        ("train/ok/1.png", "ok", None),
    ]


def test_images_with_and_without_annotations(tmp_path: Path) -> None:
    put(tmp_path, "images/io/a.jpg", "images/nio/b.png")
    assert show(find_samples(tmp_path)) == [
        ("images/io/a.jpg", "io", None),
        ("images/nio/b.png", "nio", None),
    ]
    put(tmp_path, "annotations/b.xml")
    found = find_samples(tmp_path)
    assert found.layout == "images"
    assert show(found)[1] == ("images/nio/b.png", "nio", "annotations/b.xml")
    assert {sample.published_split for sample in found.samples} == {None}


def test_plain_class_folders(tmp_path: Path) -> None:
    put(tmp_path, "nio/a.jpeg", "io/b.jpg", "nio/a.xml", "readme.txt", "notes/readme.txt")
    found = find_samples(tmp_path)
    assert found.layout == "folders"
    assert show(found) == [("io/b.jpg", "io", None), ("nio/a.jpeg", "nio", "nio/a.xml")]
    assert summarise(found.findings) == [("empty_class", "notes", False)]


def test_flat_as_labelimg_writes_it(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "a.xml", "b.png", "c.xml", "classes.txt")
    found = find_samples(tmp_path)
    assert found.layout == "flat"
    assert show(found) == [("a.jpg", None, "a.xml"), ("b.png", None, None)]
    assert summarise(found.findings) == [("orphan_annotation", "c.xml", False)]


def test_voc_devkit_and_its_lists(tmp_path: Path) -> None:
    root = tmp_path / "VOCdevkit/VOC2007"
    names = [f"00{number}" for number in range(6)]
    put(root, *[f"JPEGImages/{name}.jpg" for name in names], "Annotations/000.xml")
    put(root, "ImageSets/Main/io_train.txt", "SegmentationClass/000.png")
    lists = root / "ImageSets/Main"
    (lists / "train.txt").write_text("\ufeff000\r\n001.jpg\n\n", encoding="utf-8")
    (lists / "val.txt").write_text("002  1\n")
    (lists / "trainval.txt").write_text("000\n001\n002\n003\n")
    found = find_samples(tmp_path)
    assert found.layout == "voc"
    assert list(splits(found).values()) == ["train", "train", "test", "train", None, None]
    assert found.samples[0].source_id == "VOCdevkit/VOC2007/JPEGImages/000.jpg"
    assert found.samples[0].label is None
    assert not found.findings
    # With a test list the validation list is what it says; a picture in both is for testing.
    (lists / "test.txt").write_text("002\n004\nabsent\n")
    found = find_samples(root)
    assert list(splits(found).values()) == ["train", "train", "test", "train", "test", None]
    assert summarise(found.findings) == [
        ("listed_twice", "ImageSets/Main", False),
        ("listed_missing", "ImageSets/Main/test.txt", False),
    ]
    assert "1 picture is (absent) named in it" in found.findings[1].reason


def test_several_years_and_plain_image_folders_are_voc(tmp_path: Path) -> None:
    put(tmp_path / "a", "VOC2007/JPEGImages/1.jpg", "VOC2012/JPEGImages/1.jpg")
    assert len(find_samples(tmp_path / "a").samples) == 2
    put(tmp_path / "b", "images/1.png", "annotations/1.xml")
    found = find_samples(tmp_path / "b")
    assert (found.layout, show(found)) == (
        "voc",
        [("images/1.png", None, "annotations/1.xml")],
    )


def test_pictures_too_high_or_too_deep_are_reported(tmp_path: Path) -> None:
    put(tmp_path, "images/a.jpg", "images/io/b.jpg", "images/nio/run 1/x/c.jpg", "images/x/d.txt")
    found = find_samples(tmp_path)
    assert [sample.source_id for sample in found.samples] == ["images/io/b.jpg"]
    assert summarise(found.findings) == [
        ("unlabelled_picture", "images/a.jpg", True),
        ("nested_pictures", "images/nio/run 1", True),
        ("empty_class", "images/x", False),
    ]


def refuse(folder: Path, layout: str = "auto") -> str:
    with pytest.raises(InputError) as caught:
        find_samples(folder, layout)
    return str(caught.value)


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    assert f"{tmp_path / 'absent'} does not exist" in refuse(tmp_path / "absent")
    file = put(tmp_path, "a.jpg") / "a.jpg"
    assert "is a file, not a folder" in refuse(file)
    (tmp_path / "empty").mkdir()
    message = refuse(tmp_path / "empty")
    assert "0 picture(s), 0 XML file(s), 0 folder(s)." in message
    for shape in ("train/images/<class>/*", "JPEGImages/*", "images/<class>/*", "side by side"):
        assert shape in message
    assert "1 picture(s), 0 XML file(s), 1 folder(s): empty." in refuse(tmp_path)


def test_a_folder_without_pictures(tmp_path: Path) -> None:
    put(tmp_path, "io/readme.txt", "nio/list.csv")
    assert "2 folder(s): io, nio." in refuse(tmp_path)
    put(tmp_path / "b", "train/images/readme.txt")
    assert "No pictures were found" in refuse(tmp_path / "b")
    put(tmp_path / "c", "JPEGImages/readme.txt", "Annotations/1.xml")
    message = refuse(tmp_path / "c")
    assert "JPEGImages/* with Annotations/*.xml" in message
    assert "Annotations/1.xml: there is no picture of this name" in message


def test_one_folder_too_high_names_the_right_one(tmp_path: Path) -> None:
    put(tmp_path, "sets/steel/train/images/io/1.jpg")
    assert f"--data_dir={tmp_path / 'sets/steel'}" in refuse(tmp_path / "sets")


def test_an_ambiguous_folder_asks_which(tmp_path: Path) -> None:
    put(tmp_path, "images/io/1.jpg", "JPEGImages/2.jpg", "Annotations/2.xml")
    message = refuse(tmp_path)
    assert "could be laid out as voc and images" in message
    assert "--layout=voc" in message
    assert len(find_samples(tmp_path, "voc").samples) == 1
    assert find_samples(tmp_path, "images").samples[0].label == "io"
    put(tmp_path / "b", "1.jpg", "1.xml", "old/1.jpg")
    assert "could be laid out as flat and folders" in refuse(tmp_path / "b")


@pytest.mark.parametrize("layout", ["split", "voc", "images", "flat"])
def test_a_named_layout_that_is_not_there(tmp_path: Path, layout: str) -> None:
    put(tmp_path, "io/1.jpg")
    message = refuse(tmp_path, layout)
    assert f"(--layout={layout}). Found directly in it: 0 picture(s), " in message


def test_published_data_sets(real_data: Path) -> None:
    neu = find_samples(real_data / "neu-det")
    assert neu.layout == "split"
    assert Counter(sample.published_split for sample in neu.samples) == {"train": 1440, "test": 360}
    assert set(Counter(sample.label for sample in neu.samples).values()) == {300}
    assert all(sample.annotation is not None for sample in neu.samples)
    tiles = find_samples(real_data / "magnetic-tile")
    assert tiles.layout == "images"
    assert Counter((sample.label, sample.annotation is not None) for sample in tiles.samples) == {
        ("io", False): 952,
        ("nio", True): 392,
    }
    assert not neu.findings + tiles.findings


def test_folders_whose_pictures_are_all_unused_are_named(tmp_path: Path) -> None:
    put(tmp_path / "a", "train/io/1.png", "train/nio/2.png", "testing/io/3.png", "extra/x/4.png")
    put(tmp_path / "b", "valid/1.png", "scratch/2.png", "dent/3.png", "annotations/4.png")
    assert summarise(find_samples(tmp_path / "a").findings) == [
        ("unused_folder", "extra", False),
        ("unused_folder", "testing", False),
    ]
    found = find_samples(tmp_path / "b", "folders")
    assert summarise(found.findings) == [("unused_folder", "valid", False)]
    assert found.findings[0].reason == "the layout has no pictures there; the 1 in it are not used"


def test_lists_that_are_links_out_of_the_folder_are_reported(tmp_path: Path) -> None:
    put(tmp_path / "data", "JPEGImages/1.jpg", "Annotations/1.xml", "ImageSets/Main/val.txt")
    put(tmp_path, "train.txt")
    (tmp_path / "data/ImageSets/Main/train.txt").symlink_to(tmp_path / "train.txt")
    assert summarise(find_samples(tmp_path / "data").findings) == [
        ("bad_link", "ImageSets/Main/train.txt", True)
    ]
