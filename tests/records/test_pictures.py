from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from records import faults
from records.encodings import MAX_SIDE
from records.pictures import (
    MAX_FILE_BYTES,
    PictureError,
    PictureFacts,
    fits_extension,
    probe_bytes,
    probe_header,
    probe_pixels,
    read_file,
)
from tests.records.picture_files import (
    COLOUR,
    COLOUR_PICTURE,
    DEEP,
    GREY,
    HEIGHT,
    NOISE,
    WIDTH,
    encode,
    encode_png,
)
from tests.records.tiff_files import grey_tiff


def refuse(encoded: bytes) -> PictureError:
    with pytest.raises(PictureError) as caught:
        probe_bytes(encoded)
    return caught.value


def test_the_facts_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "röntgen 1.jpg"
    encoded = encode(COLOUR_PICTURE, "PNG")
    path.write_bytes(encoded)
    digest = hashlib.sha256(encoded).hexdigest()
    facts = PictureFacts(
        source_format="png",
        image_format="png",
        is_converted=False,
        width=WIDTH,
        height=HEIGHT,
        bit_depth=8,
        is_grey=False,
        size_bytes=len(encoded),
        sha256=digest,
        orientation=1,
        remarks=(),
    )
    assert probe_bytes(read_file(path)) == probe_header(encoded) == facts


def test_the_digest_of_what_is_converted_is_that_of_the_file() -> None:
    encoded = encode(COLOUR_PICTURE, "WEBP")
    facts = probe_header(encoded)
    assert facts.sha256 == hashlib.sha256(encoded).hexdigest()
    assert facts.size_bytes == len(encoded)


def test_luma_by_hand() -> None:
    assert np.array_equal(probe_pixels(encode(Image.fromarray(GREY), "BMP"))[1], GREY)
    assert np.array_equal(probe_pixels(encode(Image.fromarray(DEEP), "PNG"))[1], DEEP // 257)
    weights = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    luma = probe_pixels(encode(Image.fromarray(NOISE), "PNG"))[1]
    assert luma.dtype == np.uint8
    assert np.abs(luma - NOISE @ weights).max() <= 0.51
    jpeg = probe_pixels(encode(Image.fromarray(COLOUR), "JPEG", quality=100))[1]
    assert np.abs(jpeg - COLOUR @ weights).mean() < 2


@pytest.mark.parametrize(
    ("encoded", "fault"),
    [
        (b"", faults.EMPTY_FILE),
        (b"\0" * 500, faults.UNREADABLE_PICTURE),
        (b"<html>not found</html>", faults.UNREADABLE_PICTURE),
        (b"\xff\xd8\xff", faults.UNREADABLE_PICTURE),
        (b"BM", faults.UNREADABLE_PICTURE),
        (b"BM" + b"\0" * 60, faults.UNSUPPORTED_PICTURE),
        (b"II*\0", faults.UNREADABLE_PICTURE),
        (b"MM\0*" + b"\xff" * 60, faults.UNREADABLE_PICTURE),
        (b"RIFF\x40\0\0\0WEBP" + b"\0" * 60, faults.UNREADABLE_PICTURE),
    ],
)
def test_files_that_are_no_pictures(encoded: bytes, fault: faults.Fault) -> None:
    assert refuse(encoded).fault is fault


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.png", tmp_path):
        with pytest.raises(PictureError, match="the file cannot be read") as caught:
            read_file(path)
        assert caught.value.fault is faults.UNREADABLE_PICTURE


# Limits


def bomb(kind: str, side: int) -> bytes:
    """A picture that says it is very large, with a few bytes of pixels."""
    if kind == "png":
        return encode_png((side, side, 8, 2, 0, 0, 0), b"\0" * 1000)
    if kind == "tiff":
        return grey_tiff(tag_256=side, tag_257=side, compression=8)
    encoded = bytearray(encode(COLOUR_PICTURE, kind.upper(), **{"quality": 30}))
    if kind == "jpeg":
        at = encoded.index(b"\xff\xc0") + 5
        encoded[at : at + 4] = side.to_bytes(2, "big") * 2
    elif kind == "webp":
        encoded[26:30] = side.to_bytes(2, "little") * 2
    else:
        encoded[18:26] = side.to_bytes(4, "little") * 2
    return bytes(encoded)


@pytest.mark.parametrize(
    ("kind", "side"),
    [
        *[("png", side) for side in (9_500, 12_000, 60_000, 2**31 - 1)],
        *[("jpeg", side) for side in (9_500, 65_535)],
        ("webp", 16_383),
        ("tiff", 9_500),
        ("tiff", 2**31),
    ],
)
def test_a_decompression_bomb_is_refused_before_decoding(kind: str, side: int) -> None:
    encoded = bomb(kind, side)
    assert refuse(encoded).fault is faults.TOO_LARGE_PICTURE
    with pytest.raises(PictureError, match=f"{side} x {side} pixels"):
        probe_header(encoded)


def test_a_bmp_cannot_say_that_it_is_larger_than_its_file() -> None:
    assert refuse(bomb("bmp", 9_500)).fault is faults.UNREADABLE_PICTURE


def test_a_picture_without_pixels_is_refused() -> None:
    for kind in ("png", "jpeg", "webp", "tiff"):
        assert refuse(bomb(kind, 0)).fault is faults.UNREADABLE_PICTURE


def test_a_file_too_large_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.bmp"
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 10)
    with pytest.raises(PictureError, match="larger than 256 MiB") as caught:
        read_file(path)
    assert caught.value.fault is faults.TOO_LARGE_PICTURE


# Grey or not


@pytest.mark.parametrize(("apart", "is_grey"), [(0, True), (2, True), (3, False), (200, False)])
@pytest.mark.parametrize("channel", [0, 1, 2])
def test_channels_two_units_apart_are_grey(apart: int, is_grey: bool, channel: int) -> None:
    pixels = np.full((5, 7, 3), 20, dtype=np.uint8)
    pixels[2, 3, channel] += apart
    assert probe_bytes(encode(Image.fromarray(pixels), "PNG")).is_grey == is_grey


def test_a_speck_of_colour_is_found_anywhere_in_a_large_picture() -> None:
    pixels = np.full((1100, 1000, 3), 20, dtype=np.uint8)
    pixels[..., 1] = 21
    assert probe_bytes(encode(Image.fromarray(pixels), "BMP")).is_grey
    pixels[-1, -1] = 20, 30, 20
    assert not probe_bytes(encode(Image.fromarray(pixels), "BMP")).is_grey


def test_the_header_says_grey_only_where_it_knows() -> None:
    grey = Image.fromarray(GREY)
    for kind in ("JPEG", "PNG", "BMP", "TIFF"):
        assert probe_header(encode(grey, kind)).is_grey
        assert not probe_header(encode(grey.convert("RGB"), kind)).is_grey
        assert probe_bytes(encode(grey.convert("RGB"), kind)).is_grey


def test_extensions() -> None:
    assert fits_extension("jpeg", ".JPG") and fits_extension("jpeg", ".jfif")
    assert fits_extension("tiff", ".tif") and fits_extension("webp", ".webp")
    assert not fits_extension("png", ".jpg") and not fits_extension("jpeg", "")


def test_reasons_are_the_same_every_time() -> None:
    encoded = b"\xff\xd8\xff\xe0\x00\x02\xff\xd9"
    assert refuse(encoded).reason == refuse(bytes(bytearray(encoded))).reason
    assert "0x" not in refuse(encoded).reason


def test_published_pictures_are_grey_jpegs(real_data: Path) -> None:
    encoded = read_file(real_data / "neu-det/train/images/crazing/crazing_1.jpg")
    facts, luma = probe_pixels(encoded)
    assert (facts.image_format, facts.is_converted, facts.is_grey) == ("jpeg", False, True)
    assert luma.shape == (200, 200)
    facts = probe_header(read_file(real_data / "xray/niO_53.jpg"))
    assert (facts.width, facts.height) == (623, 483)


@pytest.mark.parametrize(("most", "expected"), [(1023, 255), (4095, 255), (4096, 63), (65535, 255)])
def test_the_bits_that_a_detector_delivers_are_seen(most: int, expected: int) -> None:
    pixels = np.array([[0, most]], np.uint16)
    grey = probe_pixels(encode(Image.fromarray(pixels), "PNG"))[1]
    assert grey.tolist() == [[0, expected]]


def test_a_side_that_tensorflow_does_not_decode_is_too_large() -> None:
    assert probe_bytes(encode(Image.new("L", (MAX_SIDE, 1)), "PNG")).width == MAX_SIDE
    error = refuse(encode(Image.new("L", (MAX_SIDE + 1, 1)), "PNG"))
    assert error.fault.code == "too_large_picture"
