from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from models import files
from models.autoencoder import build_autoencoder
from models.cam import make_cam
from models.picture import RESIZES, decode_picture
from pipeline.config import Settings
from pipeline.evaluation.predictions import Predictions, write_predictions
from pipeline.evaluation.result import digest_evaluation
from pipeline.explaining.makers import find_boxes
from pipeline.figures.overlay import blend_heatmap
from pipeline.pages.report import write_report
from pipeline.rundir import RunDir
from pipeline.stages.explain import (
    Judged,
    format_caption,
    picture_file,
    sheet_file,
    write_maps,
)
from records.atomic import write_json
from records.errors import InputError
from records.manifest import file_digest
from records.pictures import probe_bytes
from records.shards import write_records
from records.types import AnnotatedObject, BoundingBox, Example, Split
from tests.pipeline.model_facts import make_facts

CLASSES = ("io", "nio")


def draw_example(folder: Path, number: int, split: Split) -> Example:
    """A picture of noise with one box, of every other class."""
    path = folder / f"{split} {number}.png"
    values = np.random.default_rng([number, len(split)]).integers(0, 256, (30, 60), np.uint8)
    Image.fromarray(values).save(path)
    facts = probe_bytes(path.read_bytes())
    return Example(
        source_id=path.name,
        image_format=facts.image_format,
        is_converted=False,
        width=facts.width,
        height=facts.height,
        is_grey=facts.is_grey,
        size_bytes=facts.size_bytes,
        sha256=facts.sha256,
        label=CLASSES[number % 2],
        objects=(AnnotatedObject("void", BoundingBox(5, 6, 25, 16)),),
        published_split=None,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A run directory as `records`, `train` and `eval` leave it: ten test pictures, two errors."""
    tmp_path = tmp_path_factory.mktemp("evaluated")
    run_dir = RunDir(tmp_path / "run", "autoencoder")
    splits: dict[Split, tuple[Example, ...]] = {
        split: tuple(draw_example(tmp_path, number, split) for number in range(10))
        for split in ("train", "validation", "test")
    }
    manifest = write_records(
        run_dir.records,
        source=tmp_path,
        name="noise",
        layout="flat",
        classes=CLASSES,
        box_classes=("void",),
        splits=splits,
        seed=0,
    )
    keras.utils.set_random_seed(0)
    model = build_autoencoder(image_size=32, channels=1, classes=2, mean=128.0, variance=5000.0)
    run_dir.model_dir.mkdir(parents=True)
    model.save(run_dir.weights)
    make_facts(records_digest=manifest.digest, weights_digest=file_digest(run_dir.weights)).write(
        run_dir.config
    )
    true = np.array([CLASSES.index(example.label) for example in splits["test"]])
    predicted = np.where(np.arange(10) < 2, 1 - true, true)
    write_predictions(
        run_dir.predictions,
        Predictions(
            classes=CLASSES,
            source_ids=tuple(example.source_id for example in splits["test"]),
            digests=tuple(example.sha256 for example in splits["test"]),
            true=true,
            predicted=predicted,
            decisions=tuple("fail" if index else "pass" for index in predicted),
            scores=np.where(predicted == 1, 0.75, 0.25).astype(np.float32),
            probabilities=np.eye(2, dtype=np.float32)[predicted] * 0.5 + 0.25,
        ),
    )
    review = {"budget": 0, "validation_share": 0, "low": 0.5, "high": 0.5}
    rule = {"threshold": 0.5, "temperature": 1, "log_shares": [0, 0], "review": review}
    write_json(run_dir.threshold, rule)
    digests = digest_evaluation(run_dir, weights_digest=file_digest(run_dir.weights))
    write_json(run_dir.metrics, {"digests": digests})
    return run_dir


@pytest.fixture
def evaluated(made: RunDir, tmp_path: Path) -> RunDir:
    """A copy of it, pictures and all."""
    shutil.copytree(made.root.parent, tmp_path, dirs_exist_ok=True)
    return RunDir(tmp_path / "run", made.model)


def explain(run_dir: RunDir, **flags: Any) -> int:
    return write_maps(run_dir, Settings(stage="explain", work_dir=run_dir.root, **flags))


def test_maps_sheets_and_index_are_written_and_old_ones_removed(evaluated: RunDir) -> None:
    evaluated.explain.mkdir()
    (evaluated.explain / "old.png").touch()
    (evaluated.explain / "feature_maps").mkdir()
    assert explain(evaluated) == 10
    index = json.loads((evaluated.explain / "maps.json").read_text())
    # Errors first, of them the escape; "test 1.png" is nio.
    assert [(item["true"], item["predicted"]) for item in index[:2]] == [
        ("nio", "io"),
        ("io", "nio"),
    ]
    assert index[0]["source_id"] == "test 1.png"
    assert {item["probability"] for item in index} == {0.75}
    expected = {item["file"] for item in index}
    expected |= {"sheet_io.png", "sheet_nio.png", "maps.json"}
    expected |= {f"localization.{kind}" for kind in ("csv", "json", "png")}
    assert {path.name for path in evaluated.explain.iterdir()} == expected
    with Image.open(evaluated.explain / index[0]["file"]) as figure:
        # 60 x 30 pixels six times enlarged, the picture and five maps in three columns.
        assert figure.width == 3 * (6 * 60 + 10) + 10


@pytest.mark.parametrize("resize", RESIZES)
def test_a_map_lies_where_the_model_saw_the_picture(evaluated: RunDir, resize: str) -> None:
    facts = json.loads(evaluated.config.read_text())
    evaluated.config.write_text(json.dumps(facts | {"resize": resize}))
    explain(evaluated, cam_methods="gradcam++")
    source = evaluated.root.parent / "test 1.png"
    image = decode_picture(source.read_bytes(), image_size=32, channels=1, resize=resize)
    # 60 x 30 pixels: 32 x 16 of the 32 x 32 under letterbox.
    rows = slice(8, 24) if resize == "letterbox" else slice(None)
    cam = make_cam("gradcam++", files.load_model(evaluated.weights), "gated")
    heatmap = cam(image[None], [0])[0, rows]
    expected = blend_heatmap(Image.open(source).convert("RGB").resize((360, 180), 0), heatmap)
    with Image.open(evaluated.explain / picture_file(source.name)) as figure:
        # Of the only row the second panel, below its title.
        panel = np.asarray(figure.crop((380, 30, 740, 210)), int)
    # The box is drawn over it as well, left of here.
    difference = np.abs(panel - np.asarray(expected, int))[:, 170:]
    assert heatmap.max() > 0.5
    assert difference.max() <= 2


def test_the_same_run_gives_the_same_maps(evaluated: RunDir) -> None:
    explain(evaluated, cam_methods="gradcam,smoothgradcam++")
    first = {path.name: path.read_bytes() for path in evaluated.explain.iterdir()}
    explain(evaluated, cam_methods="gradcam,smoothgradcam++")
    assert {path.name: path.read_bytes() for path in evaluated.explain.iterdir()} == first


def test_records_made_anew_are_refused(evaluated: RunDir) -> None:
    facts = json.loads(evaluated.config.read_text())
    evaluated.config.write_text(json.dumps(facts | {"records_digest": "0" * 64}))
    with pytest.raises(InputError, match="has changed since"):
        explain(evaluated)


def test_scores_are_of_the_boxes_of_what_must_be_found(evaluated: RunDir) -> None:
    explain(evaluated, cam_methods="gradcam,layercam")
    with (evaluated.explain / "localization.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    methods = ["Grad-CAM", "LayerCAM", "centre", "uniform", "reconstruction error"]
    assert [row["method"] for row in rows[::2]] == methods
    assert {row["class"] for row in rows} == {"(mean over classes)", "nio"}
    # 5 of the 10 test pictures are nio, one of them an escape; the box is 20 x 10 of 60 x 30.
    assert {row["pictures"] for row in rows} == {"5"}
    assert {row["right_pictures"] for row in rows} == {"4"}
    uniform = rows[-4]
    assert uniform["method"] == "uniform"
    inside = len(range(3, 13)) * len(range(3, 9))  # of 32 x 16 cells of the letterboxed picture
    for name in ("area", "pointing", "energy"):
        assert float(uniform[name]) == pytest.approx(inside / (32 * 16), abs=0.02)
    assert float(uniform["energy_ratio"]) == pytest.approx(1)


def test_every_convolution_is_shown_of_as_many_pictures_as_asked(evaluated: RunDir) -> None:
    explain(evaluated, cam_methods="gradcam", feature_maps=2)
    folders = sorted((evaluated.explain / "feature_maps").iterdir())
    assert len(folders) == 2
    names = [path.name for path in sorted(folders[0].iterdir())]
    assert names[0] == "01_reduce1_conv.png"
    assert names[-1] == "overview.png"
    assert len(names) == 10


def test_how_far_maps_can_be_believed_is_measured_when_asked(evaluated: RunDir) -> None:
    before = evaluated.weights.read_bytes()
    explain(evaluated, cam_methods="gradcam,xgradcam", faithfulness=True)
    found = json.loads((evaluated.explain / "faithfulness.json").read_text())["methods"]
    assert [one["method"] for one in found] == ["Grad-CAM", "XGrad-CAM", "random", "uniform"]
    assert {one["pictures"] for one in found} == {10}
    sane = json.loads((evaluated.explain / "sanity.json").read_text())
    assert [one["method"] for one in sane] == ["Grad-CAM", "XGrad-CAM"]
    assert {one["pictures"] for one in sane} == {8}
    for name in ("faithfulness", "sanity"):
        assert (evaluated.explain / f"{name}.csv").stat().st_size > 0
        assert (evaluated.explain / f"{name}.png").stat().st_size > 0
    assert evaluated.weights.read_bytes() == before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"cam_methods": "gradcam,cam"}, "cam_methods=cam is unknown"),
        ({"cam_layers": "merged,nothing"}, "no layer 'nothing'"),
        ({"cam_layers": "logits"}, "must give"),
        ({"cam_class": "void"}, "no class of the model"),
    ],
)
def test_what_cannot_be_explained_is_refused(
    evaluated: RunDir, flags: dict[str, str], message: str
) -> None:
    (evaluated.explain).mkdir()
    (evaluated.explain / "kept.png").touch()
    with pytest.raises(InputError, match=message):
        explain(evaluated, **flags)
    assert (evaluated.explain / "kept.png").exists()


def test_the_class_explained_can_be_chosen(evaluated: RunDir) -> None:
    found = {}
    for name in ("predicted", "true", "io", "nio"):
        explain(evaluated, cam_methods="gradcam", cam_class=name)
        found[name] = (evaluated.explain / picture_file("test 1.png")).read_bytes()
    # Is nio, was taken for io.
    assert found["predicted"] == found["io"]
    assert found["true"] == found["nio"]
    assert found["io"] != found["nio"]


def test_boxes_are_those_of_the_class_or_all() -> None:
    boxes = np.array([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]], np.float32)
    record = {"boxes": boxes, "box_names": [b"crack", b"nio"]}
    np.testing.assert_array_equal(find_boxes(record, "nio"), boxes[1:])
    np.testing.assert_array_equal(find_boxes(record, "io"), boxes)


@given(st.lists(st.text(max_size=100), unique=True, max_size=5))
def test_file_names_are_safe_and_of_one_picture_each(source_ids: list[str]) -> None:
    for name_of in (picture_file, sheet_file):
        names = [name_of(source_id) for source_id in source_ids]
        assert len(set(names)) == len(names)
        assert all(re.fullmatch(r"[A-Za-z0-9_.-]{1,100}\.png", name) for name in names)


def test_file_names_can_be_read() -> None:
    assert re.fullmatch(
        r"test_nio_niO_53_jpg-[0-9a-f]{12}\.png", picture_file("test/nio/niO_53.jpg")
    )
    assert sheet_file("rolled-in_scale") == "sheet_rolled-in_scale.png"
    assert re.fullmatch(r"sheet_a_b-[0-9a-f]{12}\.png", sheet_file("a/b"))


@pytest.mark.parametrize(
    ("true", "predicted", "verdict"),
    [
        ("nio", "nio", "Right"),
        ("nio", "io", "ESCAPE"),
        ("io", "nio", "FALSE CALL"),
        ("crack", "nio", "WRONG CLASS"),
    ],
)
def test_captions_name_the_costly_errors(true: str, predicted: str, verdict: str) -> None:
    caption = format_caption(
        Judged("a/b.png", true, predicted, 0.8731), ("nio", "crack"), explained="io"
    )
    assert caption.startswith(f"{verdict}: true {true}, predicted {predicted}")
    assert "87.3%" in caption
    assert "what speaks for io" in caption
    assert caption.endswith("a/b.png")


def test_the_report_shows_scores_and_convolutions(evaluated: RunDir) -> None:
    explain(evaluated, cam_methods="gradcam,layercam", feature_maps=1, faithfulness=True)
    for part in (evaluated.metrics, evaluated.threshold):  # are not whole here
        part.unlink()
    page = write_report(evaluated).read_text(encoding="utf-8")
    for text in (
        "Do the maps find what is boxed?",
        "Do the maps follow the model?",
        "What every convolution gives",
        "LayerCAM: ",
    ):
        assert text in page
    localization = page.split("Do the maps find")[1].split("</table>")[0]
    rows = [row.split("</th>")[0] for row in localization.split('<th scope="row">')[1:]]
    assert rows == ["Grad-CAM", "LayerCAM", "centre", "uniform", "reconstruction error"]
