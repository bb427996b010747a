"""Records and predictions of pictures at URLs are those of the pictures themselves."""

from __future__ import annotations

import io
import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipeline.config import Settings
from pipeline.predicting.judging import judge_pictures
from pipeline.serving.saved_model import load_served
from pipeline.stages import records
from records.manifest import read_manifest, verify_shards
from records.places import Place
from records.remote import Url
from tests.clusters import running
from tests.in_process import answer
from tests.pipeline.stages.predict_bench import TWO, Bench, export_tiny, make_bench, tree
from tests.records.folders import annotate, draw

in_other_processes = pytest.mark.skipif(
    not os.environ.get("NIOSCOPE_URLS"),
    reason="NIOSCOPE_URLS=1 reads URLs by other processes; each loads TensorFlow",
)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with boxes, near-duplicates, and some that cannot be used."""
    folder = tmp_path_factory.mktemp("urls") / "pictures"
    for number in range(70):
        label = ("io", "nio")[number % 2]
        draw(folder / "images" / label / f"{number}.png", number)
        if label == "nio":
            annotate(folder / f"annotations/{number}.xml", (label, 1, 2, 20, 15))
    draw(folder / "images/io/a copy.png", 0)
    draw(folder / "images/io/ü ?#%20.bmp", 5000)
    (folder / "images/nio/cut.png").write_bytes((folder / "images/nio/1.png").read_bytes()[:-30])
    (folder / "images/nio/empty.png").touch()
    (folder / "annotations/3.xml").write_text("<annotation>")
    return folder


@pytest.fixture(scope="module")
def expected(pictures: Path) -> dict[str, bytes]:
    work_dir = pictures.with_name("here")
    written = write_records(pictures, work_dir, workers=1)
    verify_shards(read_manifest(work_dir / "records"))
    return written


def write_records(data_dir: Place, work_dir: Path, **flags: int | str) -> dict[str, bytes]:
    """Runs the stage; returns all files it leaves, the audit and its page among them."""
    records.run(Settings(stage="records", data_dir=data_dir, work_dir=work_dir, **flags))  # type: ignore[arg-type]
    return {
        path.relative_to(work_dir).as_posix(): path.read_bytes()
        for path in work_dir.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


@pytest.fixture
def memory(pictures: Path) -> Iterator[Url]:
    """A copy of the pictures in the memory of this process."""
    root = f"ram://{uuid.uuid4().hex}"
    copy_to(pictures, f"{root}/pictures")
    yield Url(f"{root}/pictures")
    tf.io.gfile.rmtree(root)


def copy_to(folder: Path, url: str) -> None:
    for path in (path for path in folder.rglob("*") if path.is_file()):
        target = f"{url}/{path.relative_to(folder).as_posix()}"
        tf.io.gfile.makedirs(target.rpartition("/")[0])
        with tf.io.gfile.GFile(target, "wb") as file:
            file.write(path.read_bytes())


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=in_other_processes)])
def test_records_of_a_url_are_those_of_the_folder(
    pictures: Path, expected: dict[str, bytes], tmp_path: Path, workers: int
) -> None:
    assert write_records(Url(f"file://{pictures}"), tmp_path, workers=workers) == expected


def test_records_of_what_is_in_memory(
    memory: Url, expected: dict[str, bytes], tmp_path: Path
) -> None:
    assert write_records(memory, tmp_path, workers=1) == expected


def test_records_of_a_file_url_on_the_command_line(
    pictures: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    flags = ("--stage=records", f"--data_dir=file://{pictures}", f"--work_dir=file://{tmp_path}")
    assert answer(*flags, "--workers=1")[0] == 0
    assert {name: (tmp_path / name).read_bytes() for name in expected} == expected


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("bench")
    bench = make_bench(folder, export_tiny(folder / "exports/1", TWO).parent, pictures=3)
    draw(bench.pictures / "deep/3.png", 3)
    (bench.pictures / "broken.png").write_bytes(b"no picture")
    (bench.pictures / ".hidden.png").write_bytes(b"no picture")
    return bench


@in_other_processes
def test_the_cluster_reads_urls(
    pictures: Path, expected: dict[str, bytes], bench: Bench, tmp_path: Path
) -> None:
    with running(1) as dask:
        address = dask.scheduler_address
        assert write_records(Url(f"file://{pictures}"), tmp_path, scheduler=address) == expected
        served = load_served(bench.export / "1")
        names = ["0.png", "1.png", "broken.png", "absent.png", "2.png"]
        here, there = (
            list(judge_pictures(served, [place / name for name in names], scheduler=scheduler))
            for place, scheduler in (
                (bench.pictures, ""), (Url(f"file://{bench.pictures}"), address),
            )
        )  # fmt: skip
    for mine, other in zip(here, there, strict=True):
        for one, two in zip(mine.pictures, other.pictures, strict=True):
            assert (one.sha256, one.problem) == (two.sha256, two.problem)
            assert f"file://{one.path}" == str(two.path)
        np.testing.assert_array_equal(mine.outputs["probabilities"], other.outputs["probabilities"])


def test_predictions_of_urls_are_those_of_the_files(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"ram://{uuid.uuid4().hex}"
    copy_to(bench.pictures, url)
    bench.run(output=bench.sorted)
    expected = rename(tree(bench.sorted), bench.pictures.as_posix(), url)
    assert len(expected["predictions.csv"].splitlines()) == 6
    assert sum(path.endswith(".png") for path in expected) == 4
    bench.run(f"{url}/", bench.root / "folder")
    assert tree(bench.root / "folder") == expected

    bench.run(bench.pictures / "*.png", bench.root / "glob")
    expected = rename(tree(bench.root / "glob"), bench.pictures.as_posix(), url)
    bench.run(f"{url}/*.png", bench.root / "glob of urls")
    assert tree(bench.root / "glob of urls") == expected

    names = ["2.png", "absent.png", "0.png", "2.png"]
    for place in (bench.pictures.as_posix(), url):
        lines = "\n".join(f"{place}/{name}" for name in names)
        standard_input = io.TextIOWrapper(io.BytesIO(lines.encode()))
        monkeypatch.setattr(sys, "stdin", standard_input)
        bench.run("-", bench.root / f"list {place[:3]}")
    expected = rename(tree(bench.root / "list ram"), url, bench.pictures.as_posix())
    assert tree(bench.root / f"list {bench.pictures.as_posix()[:3]}") == expected


def rename(files: dict[str, bytes], old: str, new: str) -> dict[str, bytes]:
    """The answers with other paths in them."""
    return {
        name: content.replace(old.encode(), new.encode())
        if name.endswith((".csv", ".jsonl"))
        else content
        for name, content in files.items()
    }


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--stage=records", "--data_dir=nix://host/a"], ["nix://", "It knows: ", "Mount it"]),
        (["--stage=predict", "--images=nix://host/a"], ["nix://", "It knows: "]),
        (["--stage=predict", "--images=nix://host/*.png"], ["nix://", "It knows: "]),
        (["--stage=records", "--data_dir=ram://absent"], ["--data_dir=ram://absent is no folder"]),
        (["--stage=predict", "--images=ram://absent"], ["names no picture"]),
        (["--stage=predict", "--images=ram://a", "--watch"], ["--watch looks at", "is a URL"]),
        (["--stage=sample", "--data_dir=gs://a/b"], ["--data_dir=gs://a/b is a URL"]),
        (["--stage=records", "--data_dir=gs://"], ["gs:// names no file and no folder"]),
        (["--stage=train", "--work_dir=gs://a/b"], ["--work_dir=gs://a/b is a URL", "mounted"]),
        (["--stage=predict", "--images=a", "--output_dir=s3://a"], ["--output_dir=s3://a is a"]),
        (["--stage=eval", "--eval_records=gs://a"], ["--eval_records=gs://a is a URL"]),
    ],
)
def test_what_cannot_be_a_url_is_one_message(
    flags: list[str], words: list[str], bench: Bench
) -> None:
    if not any(flag.startswith("--work_dir") for flag in flags):
        flags = [*flags, f"--work_dir={bench.root / 'run'}"]
    status, printed = answer(*flags)
    assert status == 2, printed
    assert "Traceback" not in printed
    assert "Remedy: " in printed
    for word in words:
        assert word in printed
