"""Predict on a tiny SavedModel: what it answers, and what it leaves alone."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from models.autoencoder import build_autoencoder
from models.serving import ServingFacts, write_saved_model
from pipeline import saved_model
from pipeline.config import Settings
from pipeline.incoming import Picture, find_pictures
from pipeline.predictions import Predictions, read_predictions, write_predictions
from pipeline.rundir import RunDir
from pipeline.stages import predict
from records.errors import InputError

TWO = ServingFacts(("io", "nio"), ("nio",), "nio", 0.5, "gated", "letterbox")
THREE = ServingFacts(
    ("copies.json", "../up", "io"), ("copies.json", "../up"), "", 0.0, "gated", "stretch"
)


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Export folders with one version, by the number of classes."""
    folder = tmp_path_factory.mktemp("exports")
    for facts in (TWO, THREE):
        keras.utils.set_random_seed(0)
        count = len(facts.classes)
        model = build_autoencoder(
            image_size=32, channels=1, classes=count, mean=120.0, variance=900.0
        )
        write_saved_model(folder / str(count) / "1", model, facts)
    return {count: folder / str(count) for count in (2, 3)}


@dataclass(frozen=True)
class Bench:
    """A run directory that holds a SavedModel and nothing else, and a folder of pictures."""

    root: Path

    @property
    def pictures(self) -> Path:
        return self.root / "pictures"

    @property
    def export(self) -> Path:
        return self.root / "run" / "autoencoder" / "export"

    @property
    def sorted(self) -> Path:
        return self.root / "sorted"

    def run(
        self, images: Path | str = "", output: Path | None = None, *, strict: bool = False
    ) -> None:
        predict.run(
            Settings(
                stage="predict",
                work_dir=self.root / "run",
                images=str(images or self.pictures),
                output_dir=output,
                strict=strict,
            )
        )

    def refuse(self, *words: str, images: Path | str = "", output: Path | None = None) -> None:
        with pytest.raises(InputError) as caught:
            self.run(images, output)
        for word in words:
            assert word in str(caught.value)


@pytest.fixture
def bench(tmp_path: Path, exports: dict[int, Path]) -> Bench:
    bench = Bench(tmp_path)
    bench.export.parent.mkdir(parents=True)
    bench.export.symlink_to(exports[2])
    for number in range(3):
        draw(bench.pictures / f"{number}.png", number)
    return bench


@pytest.fixture
def unloadable(bench: Bench) -> Bench:
    """As `bench`, with a SavedModel that cannot be loaded: what is refused before is told apart."""
    bench.export.unlink()
    (bench.export / "1").mkdir(parents=True)
    (bench.export / "1" / "saved_model.pb").write_bytes(b"no graph")
    return bench


def draw(path: Path, seed: int = 0, image_format: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (20, 30), np.uint8)
    Image.fromarray(values).save(path, image_format)
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def read_rejects(folder: Path) -> dict[str, str]:
    with (folder / "rejects.csv").open(encoding="utf-8") as file:
        return {Path(row["path"]).name: row["reason"] for row in csv.DictReader(file)}


def names(paths: Sequence[Path | str]) -> list[str]:
    return [Path(path).name for path in paths]


# The SavedModel speaks for itself


@pytest.mark.parametrize("config", [None, "{", '{"classes": ["x", "y", "z"]}'])
def test_a_savedmodel_needs_no_config_of_a_training(bench: Bench, config: str | None) -> None:
    if config is not None:
        (bench.export.parent / "config.json").write_text(config)
    bench.run()
    answers = read_predictions(bench.export.parent / "predict" / "predictions.csv")
    assert answers.classes == ("io", "nio")
    assert names(answers.source_ids) == ["0.png", "1.png", "2.png"]
    assert answers.scores is not None
    np.testing.assert_array_equal(answers.scores, answers.probabilities[:, 1])
    expected = np.where(answers.probabilities[:, 1] >= 0.5, 1, 0)
    assert answers.predicted.tolist() == expected.tolist()
    assert [value == "fail" for value in answers.decisions] == (expected == 1).tolist()


def test_more_classes_have_no_score_and_cannot_take_our_names(
    bench: Bench, exports: dict[int, Path]
) -> None:
    bench.export.unlink()
    bench.export.symlink_to(exports[3])
    bench.run(output=bench.sorted)
    answers = read_predictions(bench.sorted / "predictions.csv")
    assert answers.classes == THREE.classes
    assert answers.scores is None
    copies = json.loads((bench.sorted / "copies.json").read_text())
    assert names(copies) == ["0.png", "1.png", "2.png"]
    for copy, picture in zip(copies, sorted(bench.pictures.iterdir()), strict=True):
        assert (bench.sorted / copy).read_bytes() == picture.read_bytes()


@pytest.mark.parametrize("name", ["copies.json", "Predictions.csv", "rejects.csv", "../up", ".."])
def test_a_class_folder_is_none_of_our_files(name: str) -> None:
    folder = predict.class_folder(name)
    assert folder.casefold() not in {"copies.json", "predictions.csv", "rejects.csv", "..", ""}
    assert "/" not in folder
    assert predict.class_folder("io") == "io"


@pytest.mark.parametrize("content", [[], ["variables"], ["assets/x"]])
def test_a_version_without_a_graph_is_passed_over(
    bench: Bench, exports: dict[int, Path], content: list[str]
) -> None:
    bench.export.unlink()
    shutil.copytree(exports[2], bench.export)
    (bench.export / "7").mkdir()
    for name in content:
        (bench.export / "7" / name).mkdir(parents=True)
    (bench.export / "notes.txt").write_text("mine")
    bench.run()
    assert (bench.export.parent / "predict" / "predictions.csv").is_file()


def test_the_highest_version_counts_as_a_number(bench: Bench) -> None:
    bench.export.unlink()
    for name in ("2", "10", "9", ".candidate-11", "x12"):
        (bench.export / name).mkdir(parents=True)
        (bench.export / name / "saved_model.pb").touch()
    assert saved_model.find_newest_version(RunDir(bench.root / "run", "autoencoder")).name == "10"


@pytest.mark.parametrize("state", ["missing", "empty", "a file", "version without graph"])
def test_no_savedmodel_is_told_with_its_remedy(bench: Bench, state: str) -> None:
    bench.export.unlink()
    if state == "a file":
        bench.export.touch()
    elif state != "missing":
        (bench.export / ("7" if state.startswith("version") else "")).mkdir(parents=True)
    bench.refuse(str(bench.export), "--stage=export")


@pytest.mark.parametrize("damage", ["junk", "empty graph", "no variables", "variables cut short"])
def test_a_damaged_savedmodel_is_told_with_its_remedy(
    bench: Bench, exports: dict[int, Path], damage: str
) -> None:
    bench.export.unlink()
    shutil.copytree(exports[2], bench.export)
    version = bench.export / "1"
    if damage == "no variables":
        shutil.rmtree(version / "variables")
    elif damage == "variables cut short":
        (data,) = version.glob("variables/*.data*")
        data.write_bytes(data.read_bytes()[:1000])
    else:
        (version / "saved_model.pb").write_bytes(b"junk" if damage == "junk" else b"")
    bench.refuse(str(version), "--stage=export")


def test_a_savedmodel_of_another_kind_is_told(bench: Bench) -> None:
    bench.export.unlink()
    tf.saved_model.save(tf.Module(), str(bench.export / "1"))
    bench.refuse(str(bench.export / "1"), "--stage=export")


# What a picture is


def test_only_what_records_would_look_at_is_looked_at(bench: Bench) -> None:
    for name in ("a.JPE", "b.jfif", "c.dib", "sub/x.png/d.png"):
        draw(bench.pictures / name, image_format={"c.dib": "BMP"}.get(name, "JPEG"))
    for name in (".hidden.png", ".thumbs/e.png", "__MACOSX/f.png"):
        draw(bench.pictures / name)
    (bench.pictures / "notes.txt").write_text("no picture")
    found = names(find_pictures(str(bench.pictures)))
    assert found == ["0.png", "1.png", "2.png", "a.JPE", "b.jfif", "c.dib", "d.png"]


def test_pictures_of_other_formats_are_set_aside_with_a_reason(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(bench.pictures / "a.GIF")
    (bench.pictures / "b.tif").write_bytes(b"II+\0" + b"\0" * 40)
    (bench.pictures / "d.dcm").write_bytes(b"\0" * 128 + b"DICM")
    bench.run(output=bench.sorted)
    rejects = read_rejects(bench.sorted)
    assert {name: reason.split()[3] for name, reason in rejects.items()} == {
        "a.GIF": "GIF", "b.tif": "BigTIFF", "d.dcm": "DICOM",
    }  # fmt: skip
    assert "set aside  3" in capsys.readouterr().out
    assert len(read_predictions(bench.sorted / "predictions.csv").source_ids) == 3


def test_links_and_odd_files_are_set_aside(bench: Bench) -> None:
    (bench.pictures / "loop.png").symlink_to("loop.png")
    (bench.pictures / "nowhere.png").symlink_to("missing.png")
    (bench.pictures / "round").symlink_to(".")
    os.mkfifo(bench.pictures / "pipe.png")
    (bench.pictures / "folder.png").mkdir()
    bench.run(output=bench.sorted)
    assert list(read_rejects(bench.sorted)) == ["loop.png", "nowhere.png", "pipe.png"]
    assert len(read_predictions(bench.sorted / "predictions.csv").source_ids) == 3


def test_a_glob_gives_every_picture_once(bench: Bench) -> None:
    (bench.pictures / "round").symlink_to(".")
    (bench.pictures / "folder.png").mkdir()
    found = find_pictures(f"{bench.pictures}/**/*.png")
    assert found == [bench.pictures / f"{number}.png" for number in range(3)]


@pytest.mark.parametrize("images", ["missing", "missing/*.png", "x" * 5000, "empty"])
def test_no_picture_is_told(bench: Bench, images: str) -> None:
    (bench.root / "empty").mkdir()
    bench.refuse("--images=", images=f"{bench.root}/{images}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("place", ["", "sub"])
def test_a_folder_that_cannot_be_read_is_told(bench: Bench, place: str) -> None:
    locked = bench.pictures / place
    locked.mkdir(exist_ok=True)
    locked.chmod(0)
    try:
        bench.refuse(str(locked), "permissions")
        bench.refuse(str(locked), "permissions", images=locked / "0.png" if not place else locked)
    finally:
        locked.chmod(0o755)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_picture_that_cannot_be_read_is_set_aside(bench: Bench) -> None:
    (bench.pictures / "1.png").chmod(0)
    bench.run(output=bench.sorted)
    assert list(read_rejects(bench.sorted)) == ["1.png"]


def test_a_picture_that_only_the_graph_refuses_is_set_aside_alone(bench: Bench) -> None:
    serve = saved_model.load_signature(bench.export / "1")
    whole = [
        Picture(bench.pictures / f"{number}.png", (bench.pictures / f"{number}.png").read_bytes())
        for number in range(3)
    ]
    expected = predict.judge(serve, whole)
    bad = Picture(Path("bad.png"), b"\x89PNG\r\n\x1a\n and no more")
    outcome = predict.judge(serve, [whole[0], bad, *whole[1:]])
    assert outcome.judged == expected.judged == [(item.path, item.sha256) for item in whole]
    assert [path for path, _ in outcome.rejects] == [Path("bad.png")]
    assert "\n" not in outcome.rejects[0][1]
    np.testing.assert_allclose(
        np.concatenate([answer["probabilities"] for answer in outcome.answers]),
        expected.answers[0]["probabilities"],
        atol=1e-5,
    )
    assert predict.judge(serve, [bad]).judged == []


# What is written, and what never is


@pytest.mark.parametrize(
    ("images", "output"),
    [
        ("pictures", "pictures"), ("pictures", "pictures/sorted"), ("pictures", "."),
        ("pictures/0.png", "pictures"), ("pictures/0.png", "pictures/a/b"),
        ("pictures/*.png", "pictures"), ("pictures/*.png", "pictures/sorted"),
        ("pict*/**/*.png", "."), ("pictures", "link"), ("link", "pictures/sorted"),
        ("pictures", "link/../pictures"), ("linked", "pictures"),
    ],
)  # fmt: skip
def test_the_users_pictures_are_never_written_over(
    unloadable: Bench, images: str, output: str
) -> None:
    root = unloadable.root
    (root / "link").symlink_to("pictures")
    (root / "linked").mkdir()
    (root / "linked" / "0.png").symlink_to("../pictures/0.png")
    before = tree(root)
    unloadable.refuse("--output_dir", images=root / images, output=root / output)
    assert tree(root) == before


def test_pictures_below_the_default_folder_are_not_judged_into_it(unloadable: Bench) -> None:
    folder = unloadable.export.parent / "predict"
    draw(folder / "io" / "0.png")
    unloadable.refuse("--output_dir", images=folder / "io")


def foreign_folder(folder: Path, kind: str) -> None:
    folder.mkdir()
    if kind == "a picture":
        draw(folder / "io" / "0.png")
    elif kind == "a table of theirs":
        (folder / "predictions.csv").write_text("day,rain\nMonday,3\n")
    elif kind == "an evaluation":
        ones = np.ones([1], np.int64)
        scores = np.ones([1], np.float32)
        write_predictions(
            folder / "predictions.csv",
            Predictions(
                ("io", "nio"),
                ("a",),
                ("",),
                ones,
                ones,
                ("fail",),
                scores,
                np.eye(2, dtype=np.float32)[1:],
            ),
        )
    else:
        (folder / "copies.json").write_text(kind)


@pytest.mark.parametrize(
    "kind",
    ["a picture", "a table of theirs", "an evaluation", "no json", "{}", "[1]", '["../a/b"]',
     '["/etc/hosts"]', '["../pictures/0.png"]', '["../0.png"]', '["io/../../pictures/0.png"]',
     '["a/.."]', '["predictions.csv"]', '["out/0.png"]'],
)  # fmt: skip
def test_a_folder_of_another_is_refused(unloadable: Bench, kind: str) -> None:
    foreign_folder(unloadable.sorted, kind)
    (unloadable.sorted / "out").symlink_to(unloadable.pictures)
    before = tree(unloadable.root)
    unloadable.refuse(
        str(unloadable.sorted), "give a new or empty folder", output=unloadable.sorted
    )
    assert tree(unloadable.root) == before


def test_an_earlier_answer_is_replaced_and_nothing_else(bench: Bench) -> None:
    bench.run(output=bench.sorted)
    (copy,) = (bench.sorted / name for name in copies_of(bench, "0.png"))
    class_of_0 = copy.parent
    draw(class_of_0 / "mine.png", 9)
    (class_of_0 / "3.png").write_bytes(b"theirs")
    (bench.pictures / "0.png").rename(bench.pictures / "3.png")
    bench.run(output=bench.sorted)
    assert not copy.exists()
    assert (class_of_0 / "3.png").read_bytes() == b"theirs"
    assert (class_of_0 / "3-2.png").read_bytes() == (bench.pictures / "3.png").read_bytes()
    listed = json.loads((bench.sorted / "copies.json").read_text())
    assert sorted(names(listed)) == ["1.png", "2.png", "3-2.png"]
    mine = {f"{class_of_0.name}/mine.png", f"{class_of_0.name}/3.png"}
    ours = {"predictions.csv", "rejects.csv", "copies.json"}
    assert set(tree(bench.sorted)) == {*listed, *mine, *ours}


def copies_of(bench: Bench, name: str) -> list[str]:
    listed = json.loads((bench.sorted / "copies.json").read_text())
    return [copy for copy in listed if Path(copy).name == name]


def test_pictures_of_one_name_are_all_copied(bench: Bench) -> None:
    content = (bench.pictures / "0.png").read_bytes()
    for folder in ("a", "b"):
        (bench.pictures / folder).mkdir()
        (bench.pictures / folder / "0.png").write_bytes(content)
    draw(bench.pictures / "0-2.png", 0)
    bench.run(output=bench.sorted)
    copies = json.loads((bench.sorted / "copies.json").read_text())
    assert len(copies) == len(set(copies)) == 6
    assert set(copies) == set(tree(bench.sorted)) - {"predictions.csv", "rejects.csv", copies_name}
    same = sorted(Path(copy).name for copy in copies if Path(copy).name.startswith("0"))
    assert same == ["0-2.png", "0-3.png", "0-4.png", "0.png"]


copies_name = "copies.json"


def test_a_file_in_the_place_of_a_class_folder_is_left_alone(bench: Bench) -> None:
    bench.run(output=bench.sorted)
    first = json.loads((bench.sorted / "copies.json").read_text())
    folder = bench.sorted / Path(first[0]).parent
    shutil.rmtree(folder)
    folder.symlink_to(bench.root / "elsewhere")
    (bench.root / "elsewhere").mkdir()
    bench.refuse(str(bench.sorted), output=bench.sorted)
    (bench.sorted / "copies.json").write_text("[]")
    bench.refuse(str(folder), output=bench.sorted)
    assert tree(bench.root / "elsewhere") == {}
    folder.unlink()
    folder.write_text("theirs")
    bench.refuse(str(folder), output=bench.sorted)
    assert folder.read_text() == "theirs"


def test_old_answers_do_not_outlive_a_run_that_judges_nothing(bench: Bench) -> None:
    bench.run(output=bench.sorted)
    for picture in bench.pictures.iterdir():
        picture.write_bytes(b"broken")
    bench.refuse("0.png", "rejects.csv", output=bench.sorted)
    assert set(tree(bench.sorted)) == {"rejects.csv", "copies.json"}
    assert len(read_rejects(bench.sorted)) == 3
    draw(bench.pictures / "0.png")
    bench.run(output=bench.sorted)
    assert len(read_predictions(bench.sorted / "predictions.csv").source_ids) == 1


def test_strict_leaves_no_old_answer(bench: Bench) -> None:
    bench.run()
    (bench.pictures / "1.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"1\.png"):
        bench.run(strict=True)
    assert tree(bench.export.parent / "predict") == {}


def test_an_output_folder_that_is_a_file_is_told(unloadable: Bench) -> None:
    unloadable.sorted.touch()
    for output in (unloadable.sorted, unloadable.sorted / "below"):
        unloadable.refuse(str(output), "--output_dir", output=output)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_an_output_folder_that_cannot_be_written_is_told(unloadable: Bench) -> None:
    unloadable.sorted.mkdir()
    unloadable.sorted.chmod(0o555)
    for output in (unloadable.sorted, unloadable.sorted / "below"):
        unloadable.refuse(str(output), "--output_dir", output=output)
