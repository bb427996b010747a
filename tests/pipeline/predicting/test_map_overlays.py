"""Maps over pictures: which pixels they change, and which they leave."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.figures.overlay import blend_heatmap
from pipeline.predicting.answer_files import Answer
from pipeline.predicting.incoming import Picture
from pipeline.predicting.judging import Outcome
from pipeline.predicting.map_overlays import draw_overlay, format_caption, overlay_name, painting

CLASSES = ("io", "nio")
ANSWER = Answer(
    "line 1/a.png", "ab" * 32, "io", (0.375, 0.625), score=0.625, decision="review", version=1
)
PIXELS = np.random.default_rng(0).integers(0, 256, (31, 47), np.uint8)


def encode(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_a_picture_keeps_its_pixels_and_its_place() -> None:
    picture = Image.fromarray(PIXELS).convert("RGB")
    drawn = draw_overlay(picture, np.zeros([8, 8], np.float32), "io 62.5%: review\na.png")
    assert drawn.width >= 47 and drawn.height > 31
    assert np.array_equal(np.asarray(drawn)[:31, :47, 0], PIXELS)
    heatmap = np.zeros([8, 8], np.float32)
    heatmap[:, :4] = 1
    heatmap[0, 7] = np.nan
    drawn = draw_overlay(picture, heatmap, "")
    expected = np.asarray(blend_heatmap(picture, np.nan_to_num(heatmap)))
    assert np.array_equal(np.asarray(drawn)[:31, :47], expected)
    assert np.array_equal(expected[:, 30:], np.asarray(picture)[:, 30:])
    assert not np.array_equal(expected[:, :20], np.asarray(picture)[:, :20])


def test_the_caption_is_of_the_class_decided_for() -> None:
    assert format_caption(ANSWER, CLASSES) == "io 37.5%: review\nline 1/a.png"


def test_names_are_safe_and_of_one_picture_alone() -> None:
    names = {
        overlay_name(Answer(file, digest))
        for file in ("a/b.png", "a_b.png", "../../x", "é\\xff" * 200)
        for digest in ("12" * 32, "34" * 32)
    }
    assert len(names) == 8
    assert all(name.endswith(".png") and len(name) < 100 and "/" not in name for name in names)


def test_a_painter_crops_and_writes_what_was_judged(tmp_path: Path) -> None:
    pictures = (
        Picture(Path("a.png"), encode(PIXELS)),
        Picture(Path("bad.png"), b"", problem="empty"),
        Picture(Path("b.png"), encode(PIXELS.T)),
    )
    heatmaps = np.random.default_rng(1).random([2, 8, 8]).astype(np.float32)
    outcome = Outcome(pictures, {"heatmap": heatmaps})
    answers = [
        ANSWER, Answer("bad.png", error="empty"), Answer("b.png", "cd" * 32, "nio", (0.25, 0.75))
    ]  # fmt: skip
    seen = []

    def crop(heatmap: np.ndarray, width: int, height: int) -> np.ndarray:
        seen.append((width, height))
        return heatmap[2:6]

    with painting(tmp_path, crop, CLASSES) as painter:
        names = painter.paint(outcome, answers)
        painter.paint(Outcome((), {}), [])
    assert sorted(seen) == [(31, 47), (47, 31)]
    assert names == [overlay_name(answers[0]), "", overlay_name(answers[2])]
    assert {path.name for path in tmp_path.iterdir()} == {names[0], names[2]}
    with Image.open(tmp_path / names[2]) as drawn:
        rgb = Image.fromarray(PIXELS.T).convert("RGB")
        expected = np.asarray(blend_heatmap(rgb, heatmaps[1, 2:6]))
        assert np.array_equal(np.asarray(drawn)[:47, :31], expected)


def test_a_map_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    outcome = Outcome(
        (Picture(Path("a.png"), encode(PIXELS)),), {"heatmap": np.zeros([1, 8, 8], np.float32)}
    )
    with (
        pytest.raises(OSError),
        painting(tmp_path / "file", lambda heatmap, *_: heatmap, CLASSES) as painter,
    ):
        painter.paint(outcome, [ANSWER])
