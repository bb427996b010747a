"""Predict on a tiny SavedModel: what it answers, and what it leaves alone."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipeline.evaluation.predictions import Predictions, read_predictions, write_predictions
from pipeline.predicting.incoming import Picture, find_pictures, read_picture
from pipeline.predicting.judging import judge
from pipeline.predicting.output_folder import holding
from pipeline.predicting.sorted_copies import class_folder
from pipeline.provenance import digest_files, join_digests
from pipeline.rundir import RunDir
from pipeline.serving import saved_model
from records.places import Place
from tests.pipeline.stages.predict_bench import (
    THREE,
    TWO,
    Bench,
    draw,
    export_tiny,
    make_bench,
    read_lines,
    read_rejects,
    read_table,
    tree,
)


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Export folders with one version, by the number of classes."""
    folder = tmp_path_factory.mktemp("exports")
    return {
        len(facts.classes): export_tiny(folder / str(len(facts.classes)) / "1", facts).parent
        for facts in (TWO, THREE)
    }


@pytest.fixture
def bench(tmp_path: Path, exports: dict[int, Path]) -> Bench:
    return make_bench(tmp_path, exports[2])


@pytest.fixture
def unloadable(bench: Bench) -> Bench:
    """As `bench`, with a SavedModel that cannot be loaded: what is refused before is told apart."""
    bench.export.unlink()
    (bench.export / "1").mkdir(parents=True)
    (bench.export / "1" / "saved_model.pb").write_bytes(b"no graph")
    return bench


def names(paths: Sequence[Place | str]) -> list[str]:
    return [Path(str(path)).name for path in paths]


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


@pytest.mark.parametrize(
    "name",
    ["copies.json", "Predictions.csv", "predictions.jsonl", "rejects.csv", "Overlays", "../up",
     ".."],
)  # fmt: skip
def test_a_class_folder_is_none_of_our_files(name: str) -> None:
    folder = class_folder(name)
    assert folder.casefold() not in {*OURS, "predictions.jsonl", "overlays", "..", ""}
    assert "/" not in folder
    assert class_folder("io") == "io"


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
    # The last is thirteen in Arabic digits, which a server takes for no number.
    for name in ("2", "10", "9", ".candidate-11", "x12", "\u0661\u0663"):
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
        data.write_bytes(data.read_bytes()[:-1])
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
    assert found == ["0.png", "1.png", "2.png", "a.JPE", "b.jfif", "c.dib", "x.png", "d.png"]


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
    rejects = read_rejects(bench.sorted)
    assert list(rejects) == ["folder.png", "loop.png", "nowhere.png", "pipe.png"]
    assert rejects["folder.png"] == "it is a folder, no picture"
    assert rejects["pipe.png"] == "it is a pipe, a socket or a device, no picture"
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
    serve = saved_model.load_served(bench.export / "1").answer
    whole = [read_picture(bench.pictures / f"{number}.png") for number in range(3)]
    expected = judge(serve, whole)
    bad = Picture(Path("bad.png"), b"\x89PNG\r\n\x1a\n and no more", "12")
    outcome = judge(serve, [whole[0], bad, *whole[1:]])
    assert outcome.judged == expected.judged == whole
    refused = outcome.pictures[1]
    assert (refused.path, refused.encoded, refused.sha256) == (Path("bad.png"), b"", "")
    assert refused.problem.startswith("the model cannot decode it")
    assert "\n" not in refused.problem
    np.testing.assert_allclose(
        outcome.outputs["probabilities"], expected.outputs["probabilities"], atol=1e-5
    )
    assert judge(serve, [bad]).judged == []
    assert judge(serve, []).pictures == ()


def test_an_answer_that_is_no_number_is_a_problem_of_its_picture_alone(bench: Bench) -> None:
    pictures = [read_picture(bench.pictures / f"{number}.png") for number in range(3)]
    broken = Picture(Path("broken"), b"", problem="empty")

    def answer(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        shares = tf.constant([[0.25, 0.75], [float("nan"), 0.5], [1.0, 0.0]])
        return {"probabilities": shares, "label_index": tf.constant([1, 1, 0])}

    outcome = judge(answer, [pictures[0], broken, *pictures[1:]])
    assert [picture.problem for picture in outcome.pictures] == [
        "", "empty", "the model's answer is not a number", "",
    ]  # fmt: skip
    assert outcome.judged == [pictures[0], pictures[2]]
    assert outcome.outputs["probabilities"].tolist() == [[0.25, 0.75], [1.0, 0.0]]
    assert outcome.outputs["label_index"].tolist() == [1, 0]


def test_a_signature_that_monitors_is_taken_where_there_is_one() -> None:
    def plain(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"score": image_bytes}

    def monitor(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"score": image_bytes, "statistics": image_bytes}

    def explain(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"score": image_bytes, "heatmap": image_bytes}

    both = {"serving_default": plain, "explain": explain}
    for signatures, heatmaps, expected in (
        (both, False, {"score"}),
        (both, True, {"score", "heatmap"}),
        ({**both, "monitor": monitor}, False, {"score", "statistics"}),
        ({**both, "monitor": monitor}, True, {"score", "statistics", "heatmap"}),
    ):
        answer = saved_model.choose_signature(signatures, heatmaps=heatmaps)
        assert answer(image_bytes=tf.constant(["a"])).keys() == expected


# What is answered


OURS = {"predictions.csv", "predictions.jsonl", "rejects.csv", "copies.json"}


def test_table_and_lines_say_the_same_of_every_picture(bench: Bench) -> None:
    (bench.pictures / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    bench.run()
    rows, lines = read_table(bench.answers), read_lines(bench.answers)
    assert names([row["source_id"] for row in rows]) == ["0.png", "1.png", "2.png"]
    assert [line["file"] for line in lines] == [row["source_id"] for row in rows]
    served = bench.export / "1"
    for row, line in zip(rows, lines, strict=True):
        assert list(line) == [
            "file", "sha256", "label", "probabilities", "score", "decision",
            "reconstruction_error", "version", "model", "error",
        ]  # fmt: skip
        if row["error"]:
            assert "PNG" in row["error"] and line["error"] == row["error"]
            assert {row[name] for name in row} == {"", row["source_id"], row["error"]}
            assert {str(line[name]) for name in line} == {"None", line["file"], line["error"]}
            continue
        content = Path(row["source_id"]).read_bytes()
        assert row["sha256"] == line["sha256"] == hashlib.sha256(content).hexdigest()
        assert (row["predicted"], row["decision"]) == (line["label"], line["decision"])
        assert (row["version"], line["version"]) == ("1", 1)
        assert row["model"] == line["model"] == join_digests(digest_files(served))
        for name in ("score", "reconstruction_error"):
            assert float(row[name]) == line[name]
        assert {name: float(row[f"p_{name}"]) for name in TWO.classes} == line["probabilities"]
    assert [bool(row["error"]) for row in rows] == [False, True, False]
    assert list(read_rejects(bench.answers)) == ["1.png"]


def test_the_same_pictures_get_the_same_bytes(bench: Bench) -> None:
    for number in range(3, 40):
        draw(bench.pictures / f"{number:02d}.png", number)
    bench.run()
    first = tree(bench.answers)
    bench.run()
    assert tree(bench.answers) == first
    found = names([row["source_id"] for row in read_table(bench.answers)])
    assert found == names(find_pictures(str(bench.pictures))) and len(found) == 40


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\0"])
def test_a_list_on_standard_input_is_judged_in_its_order(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, end: bytes
) -> None:
    odd = draw(bench.pictures / ("a\nb.png" if end == b"\0" else "a b.png"))
    paths = [bench.pictures / "2.png", odd, bench.pictures / "0.png", bench.pictures / "2.png"]
    content = b"".join(os.fsencode(path) + end for path in paths)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    bench.run("-", bench.sorted)
    found = [line["file"] for line in read_lines(bench.sorted)]
    assert found == [str(path) for path in paths[:3]]
    assert [row["source_id"] for row in read_table(bench.sorted)] == found


def test_an_empty_list_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\n\n")))
    bench.refuse("--images=-", "standard input", images="-")


def test_pictures_are_sorted_by_decision(bench: Bench) -> None:
    bench.run(output=bench.sorted)
    by_class = set(json.loads((bench.sorted / "copies.json").read_text()))
    bench.run(output=bench.sorted, sort_by="decision")
    copies = json.loads((bench.sorted / "copies.json").read_text())
    expected = [
        f"{line['decision']}/{Path(line['file']).name}" for line in read_lines(bench.sorted)
    ]
    assert copies == expected
    assert set(tree(bench.sorted)) == {*OURS, *copies}
    assert by_class.isdisjoint(copies)


def test_maps_are_drawn_over_the_pictures(bench: Bench) -> None:
    (bench.pictures / "1.png").write_bytes(b"")
    bench.run(overlays=True)
    lines = read_lines(bench.answers)
    assert [("overlay" in line) for line in lines] == [True, False, True]
    drawn = {line["overlay"] for line in lines if "overlay" in line}
    assert drawn == {name for name in tree(bench.answers) if name.startswith("overlays/")}
    for name in drawn:
        with Image.open(bench.answers / name) as picture:
            assert picture.format == "PNG"
            assert picture.width == 200 and picture.height > 20  # 30 x 20, and a caption below
    plain = bench.root / "plain"
    bench.run(output=plain)
    for line, other in zip(lines, read_lines(plain), strict=True):
        line.pop("overlay", None)
        assert line.keys() == other.keys()
        if not line["error"]:
            assert line["label"] == other["label"]
            assert line["score"] == pytest.approx(other["score"], abs=1e-5)


def test_earlier_maps_go_and_other_files_stay(bench: Bench) -> None:
    bench.run(overlays=True)
    first = {name for name in tree(bench.answers) if name.startswith("overlays/")}
    (bench.answers / "overlays" / "mine.png").write_bytes(b"mine")
    draw(bench.pictures / "0.png", 10)
    bench.run(overlays=True)
    second = {name for name in tree(bench.answers) if name.startswith("overlays/")}
    assert len(first - second) == 1 and len(second - first) == 2
    bench.run()
    left = {name for name in tree(bench.answers) if name not in OURS}
    assert left == {"overlays/mine.png"}


def test_maps_do_not_go_among_the_pictures(unloadable: Bench) -> None:
    unloadable.refuse("--output_dir", images=unloadable.root, overlays=True)


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
    assert set(tree(bench.sorted)) == {*listed, *mine, *OURS}


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
    assert set(copies) == set(tree(bench.sorted)) - OURS
    same = sorted(Path(copy).name for copy in copies if Path(copy).name.startswith("0"))
    assert same == ["0-2.png", "0-3.png", "0-4.png", "0.png"]


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


def test_when_nothing_can_be_judged_every_picture_has_its_row(bench: Bench) -> None:
    bench.run(output=bench.sorted)
    for picture in bench.pictures.iterdir():
        picture.write_bytes(b"broken")
    bench.refuse("0.png", "None of the 3", "rejects.csv", output=bench.sorted)
    assert set(tree(bench.sorted)) == OURS
    assert len(read_rejects(bench.sorted)) == 3
    assert [bool(row["error"]) for row in read_table(bench.sorted)] == [True] * 3
    assert len(read_predictions(bench.sorted / "predictions.csv").source_ids) == 0
    draw(bench.pictures / "0.png")
    bench.run(output=bench.sorted)
    assert len(read_predictions(bench.sorted / "predictions.csv").source_ids) == 1


def test_a_run_that_is_cut_short_leaves_the_earlier_answer(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.run(output=bench.sorted, overlays=True)
    before = tree(bench.sorted)
    (bench.pictures / "1.png").write_bytes(b"")
    bench.refuse("1.png", "--strict", output=bench.sorted, overlays=True, strict=True)
    assert tree(bench.sorted) == before

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.stages.predict.make_answers", end)
    with pytest.raises(KeyboardInterrupt):
        bench.run(output=bench.sorted, overlays=True)
    assert tree(bench.sorted) == before


def test_drafts_of_a_killed_run_go_and_hidden_files_stay(bench: Bench) -> None:
    bench.run(output=bench.sorted)
    (copy,) = (bench.sorted / name for name in copies_of(bench, "0.png"))
    for path in (bench.sorted / ".draft-ab12_9xy.jsonl", copy.parent / ".draft-ab12_9xy.png"):
        path.write_bytes(b"half")
    (bench.sorted / ".draft-overlays").mkdir()
    (bench.sorted / ".draft-overlays" / "x.png").write_bytes(b"half")
    (bench.sorted / ".draft-of-mine.txt").write_bytes(b"mine")
    bench.run(output=bench.sorted)
    left = {name for name in tree(bench.sorted) if "draft" in name}
    assert left == {".draft-of-mine.txt"}


def test_two_runs_do_not_write_to_one_folder(bench: Bench) -> None:
    bench.answers.mkdir()
    with holding(bench.answers):
        bench.refuse(str(bench.answers), "Another run")
    bench.run()


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
