from __future__ import annotations

import json
import re
from pathlib import Path

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
from pipeline.evaluation import digest_evaluation
from pipeline.overlay import blend_heatmap
from pipeline.predictions import Predictions, write_predictions
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


@pytest.fixture
def evaluated(tmp_path: Path) -> RunDir:
    """A run directory as `records`, `train` and `eval` leave it: ten test pictures, two errors."""
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


def test_maps_sheets_and_index_are_written_and_old_ones_removed(evaluated: RunDir) -> None:
    evaluated.explain.mkdir()
    (evaluated.explain / "old.png").touch()
    (evaluated.explain / "localization.csv").touch()
    assert write_maps(evaluated) == 10
    index = json.loads((evaluated.explain / "maps.json").read_text())
    # Errors first, of them the escape; "test 1.png" is nio.
    assert [(item["true"], item["predicted"]) for item in index[:2]] == [
        ("nio", "io"),
        ("io", "nio"),
    ]
    assert index[0]["source_id"] == "test 1.png"
    assert {item["probability"] for item in index} == {0.75}
    expected = {item["file"] for item in index}
    expected |= {"sheet_io.png", "sheet_nio.png", "maps.json", "localization.csv"}
    assert {path.name for path in evaluated.explain.iterdir()} == expected
    with Image.open(evaluated.explain / index[0]["file"]) as figure:
        # 60 x 30 pixels six times enlarged, in two columns.
        assert figure.width == 2 * (6 * 60 + 10) + 10


@pytest.mark.parametrize("resize", RESIZES)
def test_a_map_lies_where_the_model_saw_the_picture(evaluated: RunDir, resize: str) -> None:
    facts = json.loads(evaluated.config.read_text())
    evaluated.config.write_text(json.dumps(facts | {"resize": resize}))
    write_maps(evaluated)
    source = evaluated.root.parent / "test 1.png"
    image = decode_picture(source.read_bytes(), image_size=32, channels=1, resize=resize)
    # 60 x 30 pixels: 32 x 16 of the 32 x 32 under letterbox.
    rows = slice(8, 24) if resize == "letterbox" else slice(None)
    cam = make_cam("gradcam++", files.load_model(evaluated.weights), "merged")
    heatmap = cam(image[None], [0])[0, rows]
    expected = blend_heatmap(Image.open(source).convert("RGB").resize((360, 180), 0), heatmap)
    with Image.open(evaluated.explain / picture_file(source.name)) as figure:
        # Of the first row the second panel, below its title.
        panel = np.asarray(figure.crop((380, 30, 740, 210)), int)
    # The box is drawn over it as well, left of here.
    difference = np.abs(panel - np.asarray(expected, int))[:, 170:]
    assert heatmap.max() > 0.5
    assert difference.max() <= 2


def test_the_same_run_gives_the_same_maps(evaluated: RunDir) -> None:
    write_maps(evaluated)
    first = {path.name: path.read_bytes() for path in evaluated.explain.iterdir()}
    write_maps(evaluated)
    assert {path.name: path.read_bytes() for path in evaluated.explain.iterdir()} == first


def test_records_made_anew_are_refused(evaluated: RunDir) -> None:
    facts = json.loads(evaluated.config.read_text())
    evaluated.config.write_text(json.dumps(facts | {"records_digest": "0" * 64}))
    with pytest.raises(InputError, match="has changed since"):
        write_maps(evaluated)


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
    caption = format_caption(Judged("a/b.png", true, predicted, 0.8731), ("nio", "crack"))
    assert caption.startswith(f"{verdict}: true {true}, predicted {predicted}")
    assert "87.3%" in caption
    assert f"what speaks for {predicted}" in caption
    assert caption.endswith("a/b.png")
