from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from pipeline.figures import overlay
from pipeline.figures.overlay import (
    Explanation,
    blend_heatmap,
    decode_original,
    draw_boxes,
    draw_explanation,
    set_contact_sheet,
    write_png,
)
from pipeline.figures.typeset import LINE_PX, MARGIN_PX
from records.types import AnnotatedObject, BoundingBox
from records.voc import read_annotation

BLACK, CYAN, GREY = (0, 0, 0), (0, 229, 255), (120, 120, 120)
METHODS = ("Grad-CAM++", "Smooth Grad-CAM++", "XGrad-CAM")


def grey_picture(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), GREY)


def noise_picture(width: int, height: int) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(values)


def box(*corners: float, name: str = "void") -> AnnotatedObject:
    return AnnotatedObject(name, BoundingBox(*corners))


def pixels(image: Image.Image) -> npt.NDArray[np.int64]:
    return np.asarray(image).astype(np.int64)


def explanation(picture: Image.Image, *objects: AnnotatedObject) -> Explanation:
    ramp = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
    return Explanation(picture, dict.fromkeys(METHODS, ramp), objects, "Right\nname.png")


def encoded(picture: Image.Image, image_format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format=image_format)
    return buffer.getvalue()


def test_blending_is_as_opaque_as_the_heatmap_is_strong() -> None:
    heatmap = np.array([[0.0, 0.5, 1.0]], np.float32)
    blended = pixels(blend_heatmap(grey_picture(3, 1), heatmap))[0]
    # inferno at 0, 0.5 (entry 128) and 1, as Matplotlib publishes it.
    inferno = np.array([[0, 0, 4], [188, 55, 84], [252, 255, 164]])
    opacity = overlay.OPACITY * heatmap.T
    np.testing.assert_allclose(blended, (1 - opacity) * np.array(GREY) + opacity * inferno, atol=2)
    np.testing.assert_array_equal(blended[0], GREY)


def test_a_heatmap_covers_the_whole_picture_whatever_its_size() -> None:
    heatmap = np.zeros([8, 8], np.float32)
    heatmap[:, 4:] = 1
    blended = pixels(blend_heatmap(grey_picture(90, 30), heatmap))
    changed = (blended != GREY).any(axis=2)
    assert not changed[:, :39].any()
    assert changed[:, 51:].all()


def test_an_empty_heatmap_leaves_the_picture_and_is_named_so() -> None:
    picture = noise_picture(30, 20)
    blended = blend_heatmap(picture, np.zeros([4, 4], np.float32))
    np.testing.assert_array_equal(pixels(blended), pixels(picture))


def test_a_box_is_drawn_around_its_pixels_not_over_them() -> None:
    image = grey_picture(60, 50)
    draw_boxes(image, [box(10, 12, 30, 25)], named=False)
    drawn = pixels(image)
    assert (drawn[12:25, 10:30] == GREY).all()
    # Outwards from the last row above the box: dark, two light, dark, then the picture.
    np.testing.assert_array_equal(drawn[7:12, 20], [GREY, BLACK, CYAN, CYAN, BLACK])
    np.testing.assert_array_equal(drawn[25:30, 20], [BLACK, CYAN, CYAN, BLACK, GREY])
    np.testing.assert_array_equal(drawn[18, 5:10], [GREY, BLACK, CYAN, CYAN, BLACK])
    np.testing.assert_array_equal(drawn[18, 30:35], [BLACK, CYAN, CYAN, BLACK, GREY])


def test_boxes_follow_the_scale() -> None:
    image = grey_picture(120, 100)
    draw_boxes(image, [box(10, 12, 30, 25)], scale=2, named=False)
    assert (pixels(image)[24:50, 20:60] == GREY).all()
    np.testing.assert_array_equal(pixels(image)[20:24, 40], [BLACK, CYAN, CYAN, BLACK])


@pytest.mark.parametrize(
    "corners",
    [(0, 0, 40, 30), (0, 0, 1, 1), (39, 29, 40, 30), (0, 10, 40, 11), (5.2, 5.7, 5.9, 6.1)],
)
def test_a_box_at_the_edge_or_of_a_pixel_is_seen(corners: tuple[float, ...]) -> None:
    image = grey_picture(40, 30)
    draw_boxes(image, [box(*corners)], named=True)
    assert (pixels(image) == CYAN).all(axis=2).any()


def test_a_box_is_named_where_it_was_asked_for() -> None:
    plain, named = grey_picture(200, 200), grey_picture(200, 200)
    draw_boxes(plain, [box(50, 60, 150, 150)], named=False)
    draw_boxes(named, [box(50, 60, 150, 150)], named=True)
    label = (pixels(plain) != pixels(named)).any(axis=2)
    rows, columns = np.flatnonzero(label.any(axis=1)), np.flatnonzero(label.any(axis=0))
    assert (rows[0], columns[0]) == (60 - LINE_PX, 50)
    assert rows[-1] < 60


@pytest.mark.parametrize(
    ("size", "factor", "columns"),
    [
        ((200, 200), 2, 4),
        ((64, 64), 6, 4),
        ((500, 500), 1, 4),
        ((100, 300), 1, 4),
        ((40, 120), 3, 4),
        ((450, 150), 1, 2),
        ((623, 483), 1, 2),
    ],
)
def test_panels_keep_every_pixel_and_the_aspect_ratio(
    size: tuple[int, int], factor: int, columns: int
) -> None:
    picture = noise_picture(*size)
    figure = draw_explanation(explanation(picture))
    enlarged = pixels(picture).repeat(factor, axis=0).repeat(factor, axis=1)
    height, width = enlarged.shape[:2]
    top, left = MARGIN_PX + LINE_PX, MARGIN_PX
    np.testing.assert_array_equal(pixels(figure)[top : top + height, left : left + width], enlarged)
    rows = len(METHODS) // columns + 1
    assert figure.width >= columns * (width + MARGIN_PX)
    assert rows * height < figure.height < rows * (height + 40) + 120


def test_small_panels_for_a_sheet_are_bounded() -> None:
    figure = draw_explanation(explanation(noise_picture(1000, 500)), panel_px=200)
    assert figure.width < 2 * 200 + 60
    sheet = set_contact_sheet([figure] * 5, title="True class void")
    assert sheet.width == 2 * (figure.width + MARGIN_PX) + MARGIN_PX
    assert sheet.height == 3 * (figure.height + MARGIN_PX) + MARGIN_PX + LINE_PX
    top, left = LINE_PX + MARGIN_PX, MARGIN_PX
    np.testing.assert_array_equal(
        pixels(sheet)[top : top + figure.height, left : left + figure.width], pixels(figure)
    )


def test_a_long_caption_is_broken_not_cut() -> None:
    short = explanation(noise_picture(50, 150))
    long = Explanation(short.picture, short.heatmaps, (), "word " * 200)
    wide, high = draw_explanation(short), draw_explanation(long)
    assert high.width == wide.width
    assert high.height > wide.height + 5 * LINE_PX


def test_the_same_explanation_gives_the_same_file(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        drawn = draw_explanation(explanation(noise_picture(40, 30), box(3, 3, 9, 9)))
        write_png(tmp_path / name, drawn)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_sixteen_bit_pictures_keep_their_range() -> None:
    values = np.array([[0, 257, 257 * 128, 65535]], np.uint16)
    decoded = decode_original(encoded(Image.fromarray(values)))
    assert decoded.mode == "RGB"
    np.testing.assert_array_equal(pixels(decoded)[0, :, 0], [0, 1, 128, 255])


@pytest.mark.parametrize("image_format", ["PNG", "BMP"])
@pytest.mark.parametrize("mode", ["L", "RGB", "P", "1"])
def test_pictures_of_every_mode_become_rgb(mode: str, image_format: str) -> None:
    decoded = decode_original(encoded(grey_picture(5, 4).convert(mode), image_format))
    assert (decoded.mode, decoded.size) == ("RGB", (5, 4))


def test_the_camera_s_rotation_flag_is_left_alone_as_in_the_model() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    grey_picture(30, 20).save(buffer, format="JPEG", exif=exif)
    assert decode_original(buffer.getvalue()).size == (30, 20)


def test_real_pictures_with_their_boxes(real_data: Path) -> None:
    folder = real_data / "neu-det" / "validation"
    picture = decode_original((folder / "images/scratches/scratches_241.jpg").read_bytes())
    objects = read_annotation(folder / "annotations/scratches_241.xml").objects
    with_boxes = draw_explanation(explanation(picture, *objects))
    without = draw_explanation(explanation(picture))
    assert with_boxes.size == without.size == (4 * 410 + 10, 510)
    changed = (pixels(with_boxes) != pixels(without)).any(axis=2)
    for panel in range(4):
        assert changed[:, 10 + 410 * panel : 410 * (panel + 1)].any()
