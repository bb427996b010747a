"""Paths and URLs: what a text names, and that a URL shows what the folder itself shows."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
import tensorflow as tf

from records.annotation_xml import MAX_XML_BYTES, AnnotationError
from records.errors import InputError
from records.layouts import find_samples
from records.places import Place, is_readable, locate, locate_here, read_at_most, scan, walk
from records.remote import Url
from records.voc import read_annotation
from tests.records.folders import annotate, draw, put, show

REPOSITORY = Path(__file__).resolve().parents[2]


def remote(path: Path) -> Url:
    """A folder of this machine, read by TensorFlow's file systems."""
    return Url(f"file://{path}")


@pytest.fixture
def memory() -> Url:
    """An empty folder in the memory of this process."""
    url = Url(f"ram://{uuid.uuid4().hex}")
    tf.io.gfile.makedirs(url.text)
    return url


def write(url: Url, content: bytes) -> None:
    with tf.io.gfile.GFile(url.text, "wb") as file:
        file.write(content)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a/b", Path("a/b")),
        ("/a//b/", Path("/a/b")),
        ("file:///a/b c%20", Path("/a/b c%20")),
        ("a:/b", Path("a:/b")),
        ("gs://bucket/a/", Url("gs://bucket/a")),
        ("GS://Bucket", Url("gs://Bucket")),
        ("hdfs:///user/a", Url("hdfs:///user/a")),
        ("s3://b/ü ?#%20*.png", Url("s3://b/ü ?#%20*.png")),
    ],
)
def test_a_text_is_a_path_or_a_url(text: str, place: Place) -> None:
    assert locate(text) == place
    assert isinstance(locate(str(place)), type(place))


@pytest.mark.parametrize("text", ["gs://", "gs:///", "file://", "file://host/a"])
def test_a_url_that_names_nothing_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="names no file and no folder"):
        locate(text)


def test_the_parts_of_a_url() -> None:
    url = Url("gs://bucket/a") / "b.tar.png"
    assert (str(url), url.name, url.suffix) == ("gs://bucket/a/b.tar.png", "b.tar.png", ".png")
    assert url.absolute() == url.resolve() == url / "" == Path("/elsewhere") / url
    assert not url.is_symlink()


def test_where_a_run_writes_is_no_url() -> None:
    assert locate_here("file:///a", "work_dir") == Path("/a")
    with pytest.raises(InputError, match="--work_dir=gs://b/run is a URL"):
        locate_here("gs://b/run", "work_dir")


def test_an_unknown_scheme_is_named_with_those_that_are_known() -> None:
    for look in (Url.is_dir, Url.scan, Url.match, Url.exists):
        with pytest.raises(InputError, match=r"no file system for nix:// here. .* gs://, ram://"):
            look(Url("nix://host/a"))
    assert not is_readable(Url("nix://host/a"))


def test_what_is_not_there(tmp_path: Path, memory: Url) -> None:
    for url in (remote(tmp_path), memory):
        absent = url / "absent"
        assert not (absent.exists() or absent.is_dir() or absent.is_file() or is_readable(absent))
        assert is_readable(url)
        assert url.is_dir()
        for look in (absent.stat, absent.scan, lambda absent=absent: read_at_most(absent, 9)):
            with pytest.raises(FileNotFoundError) as caught:
                look()
            assert caught.value.filename == absent.text
        assert [list(walk(absent)), absent.match()] == [[], []]


def test_no_more_is_read_than_asked_for(tmp_path: Path, memory: Url) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    write(memory / "a", b"12345")
    for place in (tmp_path / "a", remote(tmp_path) / "a", memory / "a"):
        assert [read_at_most(place, most) for most in (0, 3, 4, 5, 9)] == [
            b"1", b"1234", b"12345", b"12345", b"12345",
        ]  # fmt: skip
        assert place.stat().st_size == 5


def test_a_large_annotation_is_refused_by_its_size(tmp_path: Path) -> None:
    with (tmp_path / "a.xml").open("wb") as file:
        file.truncate(MAX_XML_BYTES + 1)
    for place in (tmp_path / "a.xml", remote(tmp_path / "a.xml")):
        with pytest.raises(AnnotationError, match="larger than 16 MiB"):
            read_annotation(place)


def test_a_folder_shows_the_same_at_its_url(tmp_path: Path) -> None:
    put(tmp_path, "io/1.jpg", "io/deep/2.jpg", "io/.hidden.jpg", "nio.png/3.png", "名 ?#%20.xml")
    for folder in (tmp_path, tmp_path / "io"):
        here, there = (
            sorted((entry.name, entry.is_dir(), entry.is_file()) for entry in scan(place))
            for place in (folder, remote(folder))
        )
        assert here == there
    walked, walked_there = (
        sorted(
            (str(folder).removeprefix("file://"), sorted(folders), sorted(names))
            for folder, folders, names in walk(place)
        )
        for place in (tmp_path, remote(tmp_path))
    )
    assert walked == walked_there
    assert len(walked) == 4


def test_a_key_that_climbs_out_of_its_folder_is_not_listed(
    memory: Url, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No file system at hand holds such names; an object store does.
    names = ["..", ".", "", "/", "../up.png", "a/b.png", "nul\0.png", "in/", "fine.png"]
    monkeypatch.setattr(tf.io.gfile, "listdir", lambda _: names)
    assert [entry.name for entry in memory.scan()] == ["in", "fine.png"]
    assert [(entry.name, entry.is_dir()) for entry in Url("gs://bucket/a").scan()] == [
        ("in", True),
        ("fine.png", False),
    ]


def test_a_name_that_is_no_text_keeps_a_url_from_being_listed(tmp_path: Path) -> None:
    try:
        (tmp_path / os.fsdecode(b"\xff.jpg")).touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with pytest.raises(InputError, match=r"cannot be read: a name in it is no valid UTF-8"):
        find_samples(remote(tmp_path))


def test_a_glob_passes_by_folders_and_hidden_names(memory: Url) -> None:
    for folder in ("a", "b", ".c"):
        tf.io.gfile.makedirs((memory / folder).text)
        for name in ("1.png", ".2.png", "3.txt"):
            write(memory / folder / name, b"")
    tf.io.gfile.makedirs((memory / "a/folder.png").text)
    found = sorted((memory / "*/*.png").match())
    assert found == [memory / "a/1.png", memory / "b/1.png"]
    assert (memory / "a/.*.png").match() == [memory / "a/.2.png"]
    with pytest.raises(InputError, match=r"has \*\*"):
        (memory / "**/*.png").match()


LAYOUTS = {
    "split": ["train/images/io/1.jpg", "train/annotations/1.xml", "validation/images/nio/2.jpg"],
    "voc": ["JPEGImages/1.jpg", "JPEGImages/2.jpg", "Annotations/1.xml", "Annotations/2.xml"],
    "images": ["images/io/1.jpg", "images/nio/2.jpg", "images/nio/deep/3.jpg", "images/4.jpg"],
    "folders": ["io/1.jpg", "nio/2.jpg", "empty/readme.txt", "nio/a/3.jpg"],
    "flat": ["1.jpg", "1.xml", "2.jpg", "2.xml", "3.jpg"],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_found_at_its_url(tmp_path: Path, layout: str) -> None:
    put(tmp_path, *LAYOUTS[layout])
    if layout == "voc":
        lists = tmp_path / "ImageSets/Main"
        lists.mkdir(parents=True)
        (lists / "train.txt").write_bytes(b"\xef\xbb\xbf1\r\n")
        (lists / "test.txt").write_text("2\nabsent\n")
    here, there = find_samples(tmp_path), find_samples(remote(tmp_path))
    assert here.layout == there.layout == layout
    assert (show(here), here.samples, here.findings) == (show(there), there.samples, there.findings)


def test_local_records_need_no_tensorflow(tmp_path: Path) -> None:
    for number, label in itertools.product(range(12), ("io", "nio")):
        draw(tmp_path / "data" / label / f"{number}.png", 2 * number + (label == "io"))
    annotate(tmp_path / "data/nio/0.xml", ("nio", 1, 1, 5, 5))
    code = (
        "import sys; from pathlib import Path; from pipeline.config import Settings\n"
        "from pipeline.stages import records\n"
        "records.run(Settings(stage='records', data_dir=Path('data'), workers=1))\n"
        "sys.exit('tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/records/manifest.json").is_file()
