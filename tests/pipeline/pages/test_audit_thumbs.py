"""Thumbnails of the audit's page: the right way up, boxes in place, nothing stops the page."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.pages.audit_thumbs import THUMBNAIL_PX, Thumbnail, Wanted, make_thumbnails
from records.types import AnnotatedObject, BoundingBox

_GROUND, _PART = (230, 230, 230), (200, 40, 40)
# Orientation to what turns an upright picture into the one that is stored with it (EXIF 2.32).
_STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def _pixels(thumbnail: Thumbnail | None) -> np.ndarray:
    """RGB of a thumbnail, int `[height, width, 3]`."""
    assert thumbnail is not None
    kind, content = thumbnail.uri.split(",")
    assert kind == "data:image/jpeg;base64"
    picture = Image.open(io.BytesIO(base64.b64decode(content)))
    assert picture.size == (thumbnail.width, thumbnail.height)
    return np.asarray(picture.convert("RGB")).astype(int)


def _box(xmin: float, ymin: float, xmax: float, ymax: float) -> tuple[AnnotatedObject, ...]:
    return (AnnotatedObject("void", BoundingBox(xmin, ymin, xmax, ymax)),)


def _draw(size: tuple[int, int], part: tuple[int, int, int, int]) -> Image.Image:
    """A picture of one even colour with a part of another."""
    picture = Image.new("RGB", size, _GROUND)
    picture.paste(_PART, part)
    return picture


def _is_line(pixel: np.ndarray) -> bool:
    """Whether a pixel is of the light blue of a box, seen through a JPEG."""
    return bool(pixel[0] < 100 and pixel[1] > 170 and pixel[2] > 190)


def _assert_framed(pixels: np.ndarray, left: int, top: int, right: int, bottom: int) -> None:
    """The part fills `left <= x < right`, `top <= y < bottom`; the frame lies 2 pixels outside."""
    across, down = (left + right) // 2, (top + bottom) // 2
    for x, y in (
        *((left - 3, down), (right + 2, down), (across, top - 3), (across, bottom + 2)),
        *((left - 3, top - 3), (right + 2, bottom + 2)),
    ):
        assert _is_line(pixels[y, x]), (x, y)
    for x, y in ((left + 2, down), (right - 3, down), (across, top + 2), (across, bottom - 3)):
        assert np.abs(pixels[y, x] - _PART).max() < 30, (x, y)
    for x, y in ((left - 8, down), (right + 7, down), (across, top - 8), (across, bottom + 7)):
        assert np.abs(pixels[y, x] - _GROUND).max() < 30, (x, y)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.tif", "a.webp"])
def test_a_box_lies_around_its_part(tmp_path: Path, name: str) -> None:
    _draw((200, 160), (50, 30, 120, 100)).save(tmp_path / name, lossless=True, quality=95)
    [made] = make_thumbnails(tmp_path, [Wanted(name, _box(50, 30, 120, 100))])
    pixels = _pixels(made)
    assert pixels.shape == (160, 200, 3)
    _assert_framed(pixels, 50, 30, 120, 100)


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_a_large_picture_is_scaled_with_its_boxes(tmp_path: Path, name: str) -> None:
    _draw((1500, 2000), (300, 500, 900, 1500)).save(tmp_path / name, quality=95)
    [made] = make_thumbnails(tmp_path, [Wanted(name, _box(300, 500, 900, 1500))])
    pixels = _pixels(made)
    assert pixels.shape == (THUMBNAIL_PX, 150, 3)
    _assert_framed(pixels, 30, 50, 90, 150)


def test_a_small_picture_is_enlarged_by_a_whole_number(tmp_path: Path) -> None:
    _draw((18, 12), (4, 4, 9, 8)).save(tmp_path / "a.png")
    [made] = make_thumbnails(tmp_path, [Wanted("a.png", _box(4, 4, 9, 8))])
    pixels = _pixels(made)
    assert pixels.shape == (132, 198, 3)
    _assert_framed(pixels, 44, 44, 99, 88)


@pytest.mark.parametrize("orientation", _STORED)
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
def test_boxes_of_a_turned_picture_are_upright(tmp_path: Path, name: str, orientation: int) -> None:
    upright, turn = _draw((100, 200), (20, 40, 70, 100)), _STORED[orientation]
    stored = upright if turn is None else upright.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / name, exif=exif, lossless=True, quality=95)
    [made] = make_thumbnails(tmp_path, [Wanted(name, _box(20, 40, 70, 100))])
    pixels = _pixels(made)
    assert pixels.shape == (200, 100, 3)
    _assert_framed(pixels, 20, 40, 70, 100)


def test_what_a_record_holds_as_it_lies_is_shown_as_it_lies(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    _draw((200, 100), (40, 20, 100, 70)).save(tmp_path / "a.jpg", exif=exif, quality=95)
    [made] = make_thumbnails(tmp_path, [Wanted("a.jpg", _box(40, 20, 100, 70), is_turned=False)])
    _assert_framed(_pixels(made), 40, 20, 100, 70)


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("1", {}),
        ("L", {}),
        ("LA", {}),
        ("P", {}),
        ("P", {"transparency": 0}),
        ("RGBA", {}),
    ],
)
@pytest.mark.parametrize("side", [8, 200, 450])
def test_every_mode_of_a_png_is_shown_without_transparency(
    tmp_path: Path, mode: str, options: dict[str, Any], side: int
) -> None:
    picture = Image.new("L", (side, side), 255).convert(mode)
    if mode.endswith("A"):
        picture.putalpha(0)
    picture.save(tmp_path / "a.png", **options)
    [made] = make_thumbnails(tmp_path, [Wanted("a.png")])
    assert (_pixels(made) > 250).all()
    assert made is not None
    assert made.remark == ""


def test_cmyk_is_shown_in_its_colours(tmp_path: Path) -> None:
    Image.new("CMYK", (400, 400), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    [made] = make_thumbnails(tmp_path, [Wanted("a.jpg")])
    assert np.abs(_pixels(made) - (255, 0, 0)).max() < 10


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("kind", ["<u2", ">u2"])
def test_sixteen_bits_are_stretched_and_it_is_said(tmp_path: Path, name: str, kind: str) -> None:
    # Half of the picture is 1,000 and half 3,000; one bright pixel must not make them alike.
    values = np.full((100, 200), 1_000, np.uint16)
    values[:, 100:] = 3_000
    values[0, 0] = 65_535
    Image.fromarray(values.astype(kind)).save(tmp_path / name)
    [made] = make_thumbnails(tmp_path, [Wanted(name)])
    pixels = _pixels(made)
    assert (pixels[20:, :90] < 5).all()
    assert (pixels[20:, 110:] > 250).all()
    assert made is not None
    assert made.remark == "more than 8 bit: shown with its own range, 1,000 to 3,000"


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_tiff_in_which_white_is_zero_is_shown_as_it_is_meant(tmp_path: Path, kind: type) -> None:
    values: np.ndarray = np.zeros((100, 200), kind)
    values[:, 100:] = 200
    Image.fromarray(values).save(tmp_path / "a.tif", tiffinfo={262: 0})
    # Pillow inverts 8 bits when it writes them, but not the values of 16 bits.
    is_left_white = kind == np.uint16
    [made] = make_thumbnails(tmp_path, [Wanted("a.tif")])
    pixels = _pixels(made)
    assert (pixels[50, 50, 0] > pixels[50, 150, 0]) == is_left_white


def test_xmp_turns_nothing(tmp_path: Path) -> None:
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    for name in ("a.webp", "a.jpg", "a.tif"):
        options = {"tiffinfo": {700: xmp}} if name == "a.tif" else {"xmp": xmp}
        Image.new("L", (200, 100)).save(tmp_path / name, **options)
        [made] = make_thumbnails(tmp_path, [Wanted(name)])
        assert _pixels(made).shape == (100, 200, 3)


def test_an_even_sixteen_bit_picture_is_black(tmp_path: Path) -> None:
    Image.fromarray(np.full((300, 300), 700, np.uint16)).save(tmp_path / "a.png")
    [made] = make_thumbnails(tmp_path, [Wanted("a.png")])
    assert (_pixels(made) == 0).all()


def test_what_cannot_be_opened_leaves_a_gap(tmp_path: Path) -> None:
    _draw((20, 20), (0, 0, 5, 5)).save(tmp_path / "good.png")
    (tmp_path / "torn.png").write_bytes((tmp_path / "good.png").read_bytes()[:60])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.png").mkdir()
    Image.new("L", (5, 5)).save(tmp_path / "other.gif")
    names = ["torn.png", "good.png", "gone.png", "empty.jpg", "folder.png", "other.gif", "a\0b"]
    made = make_thumbnails(tmp_path, [Wanted(name) for name in names])
    assert [item is not None for item in made] == [False, True, *[False] * 5]


def test_a_picture_one_pixel_high_with_a_box_is_shown(tmp_path: Path) -> None:
    Image.new("L", (5000, 1)).save(tmp_path / "a.png")
    [made] = make_thumbnails(tmp_path, [Wanted("a.png", _box(0, 0, 5000, 1))])
    assert _pixels(made).shape == (1, THUMBNAIL_PX, 3)


def test_a_thumbnail_holds_nothing_of_the_file_but_its_pixels(tmp_path: Path) -> None:
    picture, exif = _draw((60, 40), (0, 0, 5, 5)), Image.Exif()
    exif[0x010E] = "secret" * 100
    picture.save(tmp_path / "a.jpg", comment="secret" * 100, exif=exif, icc_profile=b"secret" * 99)
    [made] = make_thumbnails(tmp_path, [Wanted("a.jpg")])
    assert made is not None
    assert b"secret" not in base64.b64decode(made.uri.split(",")[1])


def test_a_noisy_picture_is_made_small_all_the_same(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    [made] = make_thumbnails(tmp_path, [Wanted("noise.png")])
    assert made is not None
    assert 10_000 < len(made.uri) < 4 / 3 * 16_000 + 100
