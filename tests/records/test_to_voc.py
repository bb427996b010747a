from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from records.atomic import locked
from records.errors import InputError
from records.manifest import Manifest
from records.schema import decode_example
from records.tfrecord import read_frames
from records.to_voc import WrittenVoc, write_voc
from records.types import SPLITS, AnnotatedObject, Annotation, BoundingBox, Split
from records.voc import read_annotation
from tests.records.record_files import Picture, draw_picture, write_by_hand

OBJECTS = (
    AnnotatedObject("void", BoundingBox(1, 2, 4, 5), difficult=True),
    AnnotatedObject("bridge", BoundingBox(0, 0.5, 12, 9), truncated=True),
)


def list_files(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    pictures: dict[Split, list[Picture]] = {
        "train": [
            draw_picture("train/images/nio/a 1.png", seed=0, objects=OBJECTS),
            draw_picture("train/images/io/a 1.PNG", seed=1, label="io"),
            draw_picture("train/images/io/ü.jpg", seed=2, label="io", kind="RGB.jpeg"),
        ],
        "validation": [draw_picture("train/images/io/b.tif", seed=3, label="io", kind="I;16.png")],
        "test": [draw_picture("test/images/nio/A 1.bmp", seed=4, kind="RGB.bmp")],
    }
    return write_by_hand(tmp_path / "records", pictures)


def test_every_picture_comes_back_with_its_annotation(tmp_path: Path, manifest: Manifest) -> None:
    voc = tmp_path / "out" / "voc"
    assert write_voc(manifest, voc) == WrittenVoc(
        layout="split", counts={"train": 3, "validation": 1, "test": 1}, renamed={}
    )
    stored = {
        split: [
            decode_example(record).encoded
            for path in manifest.shard_paths(split)
            for record in read_frames(path)
        ]
        for split in SPLITS
    }
    files = list_files(voc)
    assert {name: content for name, content in files.items() if not name.endswith(".xml")} == {
        "train/images/nio/a 1.png": stored["train"][0],
        "train/images/io/a 1-2.PNG": stored["train"][1],
        "train/images/io/ü.jpg": stored["train"][2],
        "validation/images/io/b.png": stored["validation"][0],
        "test/images/nio/A 1-3.bmp": stored["test"][0],
    }
    annotations = {
        name: read_annotation(voc / name) for name in sorted(files) if name.endswith(".xml")
    }
    assert annotations == {
        "test/annotations/A 1-3.xml": Annotation("A 1-3.bmp", 12, 9, 3, ()),
        "train/annotations/a 1-2.xml": Annotation("a 1-2.PNG", 12, 9, 1, ()),
        "train/annotations/a 1.xml": Annotation("a 1.png", 12, 9, 1, OBJECTS),
        "train/annotations/ü.xml": Annotation("ü.jpg", 12, 9, 3, ()),
        "validation/annotations/b.xml": Annotation("b.png", 12, 9, 1, ()),
    }
    assert [path.name for path in voc.parent.iterdir()] == ["voc"]
    write_voc(manifest, tmp_path / "again")
    assert list_files(tmp_path / "again") == files


def test_a_devkit_where_the_classes_came_from_the_objects(tmp_path: Path) -> None:
    pictures: dict[Split, list[Picture]] = {
        "train": [
            draw_picture("JPEGImages/1.png", label="bridge", objects=OBJECTS),
            draw_picture("JPEGImages/2.png", seed=1, label="io"),
        ],
        "test": [draw_picture("other/1.png", seed=2, label="io")],
    }
    manifest = write_by_hand(tmp_path / "records", pictures, layout="flat")
    written = write_voc(manifest, tmp_path / "voc")
    assert (written.layout, written.count, written.renamed) == ("voc", 3, {})
    files = list_files(tmp_path / "voc")
    assert {name: text.decode() for name, text in files.items() if name.endswith(".txt")} == {
        "ImageSets/Main/train.txt": "1\n2\n",
        "ImageSets/Main/val.txt": "",
        "ImageSets/Main/test.txt": "1-2\n",
    }
    pairs = [(f"JPEGImages/{stem}.png", f"Annotations/{stem}.xml") for stem in ("1", "2", "1-2")]
    assert {name for name in files if not name.endswith(".txt")} == {*sum(pairs, ())}


def test_no_name_leads_out_of_the_folder(tmp_path: Path) -> None:
    names = ["..", "..\\..\\x.png", ".hidden.png", "con.png", "ü" * 300, "a\x00\nb", "", "a:b*.png"]
    pictures = [draw_picture(f"x/{name}", seed=seed) for seed, name in enumerate(names)]
    pictures += [
        (dataclasses.replace(example, label=label), encoded)
        for label in ("../../evil", "..", "/root", "nul", "a:b", "a?b")
        for example, encoded in [draw_picture(f"{len(label)}.png", seed=len(label) + 50)]
    ]
    written = write_voc(
        write_by_hand(tmp_path / "records", {"train": pictures}), tmp_path / "out" / "voc"
    )
    assert {path.name for path in tmp_path.iterdir()} == {"records", "out"}
    files = list_files(tmp_path / "out")
    assert len(files) == 2 * len(pictures)
    assert all(name.startswith(("voc/train/images/", "voc/train/annotations/")) for name in files)
    assert written.renamed == {
        "../../evil": "__.._evil",
        "..": "_",
        "/root": "_root",
        "nul": "_nul",
        "a:b": "a_b",
        "a?b": "a_b-2",
    }


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path, manifest: Manifest) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    for taken in (folder, folder / "notes.txt"):
        with pytest.raises(InputError, match=r"is there already") as caught:
            write_voc(manifest, taken)
        assert str(taken) in caught.value.problem
    assert list_files(tmp_path / "mine") == {"notes.txt": b"mine"}
    (folder / "notes.txt").unlink()
    assert write_voc(manifest, folder).count == 5, "an empty folder may be there"


def test_damaged_records_are_not_written_back(tmp_path: Path, manifest: Manifest) -> None:
    [path] = manifest.shard_paths("train")
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="record 1 of 3 has damaged data"):
        write_voc(manifest, tmp_path / "voc")
    assert {item.name for item in tmp_path.iterdir()} == {"records"}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"width": -1}, r"Record 2 of .*x_ray-train.* is none of ours: image/width"),
        (
            {"objects": (AnnotatedObject("a\x00", BoundingBox(0, 0, 1, 1)),)},
            r"record of b\.png cannot",
        ),
    ],
)
def test_what_fails_in_the_middle_leaves_nothing(
    tmp_path: Path, change: dict[str, object], complaint: str
) -> None:
    example, encoded = draw_picture("b.png", seed=1)
    pictures = [draw_picture("a.png"), (dataclasses.replace(example, **change), encoded)]  # type: ignore[arg-type]
    manifest = write_by_hand(tmp_path / "records", {"train": pictures})
    with pytest.raises(InputError, match=complaint):
        write_voc(manifest, tmp_path / "out" / "voc")
    assert list((tmp_path / "out").iterdir()) == []


def test_what_a_killed_run_left_is_removed(tmp_path: Path, manifest: Manifest) -> None:
    (tmp_path / "out/.draft-voc/train").mkdir(parents=True)
    (tmp_path / "out/.draft-voc/train/half.png").touch()
    write_voc(manifest, tmp_path / "out" / "voc")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["voc"]
    assert not list(tmp_path.rglob("half.png"))


def test_two_processes_do_not_write_one_folder(tmp_path: Path, manifest: Manifest) -> None:
    draft = tmp_path / "out" / ".draft-voc"
    draft.mkdir(parents=True)
    with locked(draft), pytest.raises(InputError, match="Another process writes to"):
        write_voc(manifest, tmp_path / "out" / "voc")
    assert draft.is_dir()


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_read_only_folder_is_said_to_be_one(tmp_path: Path, manifest: Manifest) -> None:
    parent = tmp_path / "locked"
    parent.mkdir(mode=0o555)
    with pytest.raises(InputError, match=r"cannot be written to .*Permission denied"):
        write_voc(manifest, parent / "voc")


def test_a_folder_that_cannot_be_made_is_said_to_be_one(tmp_path: Path, manifest: Manifest) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written to"):
        write_voc(manifest, tmp_path / "file" / "voc")


NAMES = st.sampled_from(["bridge", "void", "kalte Lötstelle", "a & <b>"])
EIGHTHS = st.lists(st.integers(0, 72), min_size=4, max_size=4, unique=True)


@st.composite
def draw_objects(draw: st.DrawFn) -> tuple[AnnotatedObject, ...]:
    """Objects in a picture of 9 x 9 pixels, with boxes of eighths of a pixel."""

    def draw_box() -> BoundingBox:
        xmin, xmax, ymin, ymax = (value / 8 for value in draw(EIGHTHS))
        (xmin, xmax), (ymin, ymax) = sorted((xmin, xmax)), sorted((ymin, ymax))
        return BoundingBox(xmin, ymin, xmax, ymax)

    return tuple(
        AnnotatedObject(name, draw_box(), draw(st.booleans()), draw(st.booleans()))
        for name in draw(st.lists(NAMES, max_size=3))
    )


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(draw_objects(), st.sampled_from(SPLITS)), min_size=1, max_size=6))
def test_boxes_and_flags_are_read_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: list[tuple[tuple[AnnotatedObject, ...], Split]],
) -> None:
    folder = tmp_path_factory.mktemp("round")
    pictures: dict[Split, list[Picture]] = {split: [] for split in SPLITS}
    for seed, (objects, split) in enumerate(drawn):
        pictures[split].append(draw_picture("p.png", seed=seed, size=(9, 9), objects=objects))
    write_voc(write_by_hand(folder / "records", pictures), folder / "voc")
    for split, held in pictures.items():
        read = {
            path.read_bytes(): read_annotation(
                folder / "voc" / split / "annotations" / f"{path.stem}.xml"
            ).objects
            for path in (folder / "voc").glob(f"{split}/images/nio/*")
        }
        assert read == {encoded: example.objects for example, encoded in held}
