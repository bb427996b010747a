from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from records import faults
from records.audit import Audit, audit, require_usable, write_audit
from records.errors import InputError
from records.layouts import Discovery, find_samples
from records.types import AnnotatedObject, BoundingBox, Finding
from records.workers import Workers
from tests.records.folders import annotate, draw, summarise


def run(folder: Path, workers: int = 1) -> Audit:
    return audit(find_samples(folder), workers=Workers(workers))


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """20 `io` and 20 `nio` pictures, the latter with an object of class `void` each."""
    folder = tmp_path / "data"
    for index in range(20):
        draw(folder / f"images/io/io_{index:02d}.png", index)
        draw(folder / f"images/nio/nio_{index:02d}.png", 100 + index)
        annotate(folder / f"annotations/nio_{index:02d}.xml", ("void", 1, 2, 5, 6))
    return folder


def test_a_sound_data_set(good: Path) -> None:
    found = run(good)
    assert (found.layout, found.classes, found.box_classes) == ("images", ("io", "nio"), ("void",))
    assert found.findings == ()
    assert [example.source_id for example in found.examples] == sorted(
        path.relative_to(good).as_posix() for path in good.rglob("*.png")
    )
    last = found.examples[-1]
    assert (last.image_format, last.width, last.height, last.is_grey) == ("png", 30, 20, True)
    assert last.objects == (AnnotatedObject("void", BoundingBox(1, 2, 5, 6)),)
    assert found.examples[0].objects == ()
    require_usable(found)


def plant_every_fault(folder: Path) -> None:
    """One picture of each fault, named after it."""
    images, annotations = folder / "images/nio", folder / "annotations"
    (images / "empty.png").touch()
    (images / "cut.png").write_bytes((images / "nio_00.png").read_bytes()[:200])
    Image.new("P", (30, 20), 7).save(images / "moves.png", "GIF")
    Image.new("L", (30, 20), 8).save(images / "lies.png", "JPEG")
    shutil.copy(images / "nio_01.png", images / "zz_copy.png")
    for index, name in enumerate(("both", "io")):
        draw(folder / f"images/{('io', 'nio')[index]}/contradiction_{name}.png", 300)
    for index, name in enumerate(("xml", "size", "outside", "clipped", "empty_box")):
        draw(images / f"{name}.png", 200 + index)
    (annotations / "xml.xml").write_text("<annotation><object></annotation>")
    annotate(annotations / "size.xml", ("void", 1, 1, 2, 2), width=31)
    annotate(annotations / "outside.xml", ("void", 1, 1, 2, 25))
    annotate(annotations / "clipped.xml", ("void", 29, 1, 31, 5))
    annotate(annotations / "empty_box.xml", ("void", 3, 3, 3, 9))
    for name in ("orphan", "empty", "cut", "moves", "lies", "zz_copy", "contradiction_io"):
        annotate(annotations / f"{name}.xml")


PLANTED = [
    ("orphan_annotation", "annotations/orphan.xml", False),
    ("exact_duplicate", "images/io/contradiction_both.png", True),
    ("box_clipped", "images/nio/clipped.png", False),
    ("exact_duplicate", "images/nio/contradiction_io.png", True),
    ("unreadable_picture", "images/nio/cut.png", True),
    ("empty_file", "images/nio/empty.png", True),
    ("empty_box", "images/nio/empty_box.png", True),
    ("wrong_extension", "images/nio/lies.png", False),
    ("unsupported_picture", "images/nio/moves.png", True),
    ("box_outside", "images/nio/outside.png", True),
    ("size_mismatch", "images/nio/size.png", False),
    ("broken_annotation", "images/nio/xml.png", True),
    ("exact_duplicate", "images/nio/zz_copy.png", False),
]


def test_every_fault_is_reported_in_one_run(good: Path) -> None:
    plant_every_fault(good)
    found = run(good)
    assert summarise(found.findings) == PLANTED
    kept = {example.source_id for example in found.examples}
    set_aside = {path for _, path, is_error in PLANTED if is_error} | {"images/nio/zz_copy.png"}
    assert kept.isdisjoint(set_aside)
    assert {path for code, path, is_error in PLANTED if not is_error} - kept == {
        "annotations/orphan.xml",
        "images/nio/zz_copy.png",
    }
    clipped = next(item for item in found.examples if item.source_id.endswith("clipped.png"))
    assert clipped.objects[0].box == BoundingBox(29, 1, 30, 5)
    assert all(finding.reason and finding.remedy for finding in found.findings)


def test_the_result_does_not_depend_on_the_number_of_processes(good: Path) -> None:
    plant_every_fault(good)
    for index in range(100):
        draw(good / f"images/io/more_{index:03d}.png", 1000 + index)
    assert run(good, workers=3) == run(good)


def test_unknown_classes_and_objects_of_another_class(tmp_path: Path) -> None:
    for index, (label, name) in enumerate(
        [("a", "a"), ("a", "b"), ("b", "b"), ("b", "b"), ("b", "scratsch")]
    ):
        draw(tmp_path / f"images/{label}/{index}.png", index)
        annotate(tmp_path / f"annotations/{index}.xml", (name, 1, 1, 5, 5))
    found = run(tmp_path)
    assert summarise(found.findings) == [
        ("class_too_small", "a", False),
        ("class_too_small", "b", False),
        ("object_of_other_class", "images/a/1.png", False),
        ("unknown_class", "images/b/4.png", True),
    ]
    assert len(found.examples) == 4
    assert found.box_classes == ("a", "b")


def test_classes_from_objects(tmp_path: Path) -> None:
    for index in range(5):
        draw(tmp_path / f"{index}.png", index)
    annotate(tmp_path / "0.xml", ("void", 0, 0, 3, 3), ("crack", 0, 0, 9, 9))
    annotate(tmp_path / "1.xml", ("void", 0, 0, 3, 3))
    annotate(tmp_path / "2.xml")
    (tmp_path / "3.xml").write_text("no XML")
    found = run(tmp_path)
    assert found.layout == "flat"
    assert [(item.source_id, item.label) for item in found.examples] == [
        ("0.png", "crack"),
        ("1.png", "void"),
        ("2.png", "io"),
    ]
    assert summarise(found.findings) == [
        ("broken_annotation", "3.png", True),
        ("unlabelled_picture", "4.png", True),
        ("class_too_small", "crack", False),
        ("class_too_small", "io", False),
        ("class_too_small", "void", False),
    ]


def refuse(folder: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        require_usable(run(folder))
    return caught.value


def test_one_class_only(tmp_path: Path) -> None:
    for index in range(3):
        draw(tmp_path / f"io/{index}.png", index)
    error = refuse(tmp_path)
    assert error.problem == "All 3 usable pictures are of one class, io."
    assert "a folder of their own" in error.remedy
    (tmp_path / "nio").mkdir()
    (tmp_path / "nio/3.png").touch()
    assert refuse(tmp_path).problem == "All 3 usable pictures are of one class, io."


def test_one_class_only_in_annotations(tmp_path: Path) -> None:
    draw(tmp_path / "0.png", 0)
    annotate(tmp_path / "0.xml", ("void", 0, 0, 3, 3))
    assert "or with none (class io)" in refuse(tmp_path).remedy


def test_no_usable_picture(tmp_path: Path) -> None:
    for name in ("io/1.png", "io/2.png", "nio/3.png", "nio/4.png", "nio/5.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    error = refuse(tmp_path)
    assert error.problem == "None of the pictures can be used."
    assert error.remedy == faults.EMPTY_FILE.remedy
    with pytest.raises(InputError, match="--data_dir"):
        require_usable(audit(Discovery(Path(), "folders", (), ())))


def test_the_files_of_an_audit(good: Path, tmp_path: Path) -> None:
    plant_every_fault(good)
    found = run(good)
    write_audit(found, tmp_path / "records")
    written = json.loads((tmp_path / "records/audit.json").read_text(encoding="utf-8"))
    assert written["layout"] == "images"
    assert written["classes"] == ["io", "nio"]
    assert written["box_classes"] == ["void"]
    assert written["pictures_per_class"] == {"io": 20, "nio": 23}
    assert written["findings_per_code"] == Counter(code for code, _, _ in PLANTED)
    assert written["findings"] == [dataclasses.asdict(finding) for finding in found.findings]
    with (tmp_path / "records/rejects.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    rejected = [row for row in PLANTED if row[2] or row[1].endswith("zz_copy.png")]
    assert [(row["code"], row["path"]) for row in rows] == [
        (code, path) for code, path, _ in rejected
    ]
    assert list(rows[0]) == ["path", "code", "reason", "remedy"]


@pytest.mark.parametrize("name", ["=1+1.png", "+1", "-1", "@SUM(A1)", "\t1", "\r1"])
def test_a_spreadsheet_takes_no_cell_for_a_formula(good: Path, tmp_path: Path, name: str) -> None:
    finding = Finding("empty_file", name, 'a "reason", with commas\nand lines', "=remedy", True)
    write_audit(dataclasses.replace(run(good), findings=(finding,)), tmp_path)
    with (tmp_path / "rejects.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[1] == ["'" + name, "empty_file", finding.reason, "'=remedy"]
