from __future__ import annotations

import hashlib
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from records import faults
from records.pictures import MAX_FILE_BYTES, PictureError, PictureFacts, probe, probe_bytes

WIDTH, HEIGHT = 31, 23
COLOUR_PICTURE = Image.fromarray(
    np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
)


def encode(picture: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def encode_png_header(width: int, height: int) -> bytes:
    """A PNG that says it is very large, with a few bytes of pixels."""
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0" * 1000)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


def refuse(encoded: bytes) -> PictureError:
    with pytest.raises(PictureError) as caught:
        probe_bytes(encoded)
    return caught.value


def test_the_facts_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "röntgen 1.jpg"
    path.write_bytes(encode(COLOUR_PICTURE, "PNG"))
    digest = hashlib.sha256(encode(COLOUR_PICTURE, "PNG")).hexdigest()
    assert probe(path) == PictureFacts("png", WIDTH, HEIGHT, False, digest)


def test_no_file_stays_open(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encode(COLOUR_PICTURE, "PNG"))
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("this system does not list open files in /proc")
    before = len(list(descriptors.iterdir()))
    for _ in range(20):
        probe(path)
    assert len(list(descriptors.iterdir())) == before


@pytest.mark.parametrize(
    ("encoded", "fault"),
    [
        (b"", faults.EMPTY_FILE),
        (b"\0" * 500, faults.UNREADABLE_PICTURE),
        (b"<html>not found</html>", faults.UNREADABLE_PICTURE),
        (b"\xff\xd8\xff", faults.UNREADABLE_PICTURE),
        (b"BM", faults.UNREADABLE_PICTURE),
        (b"BM" + b"\0" * 60, faults.UNSUPPORTED_PICTURE),
    ],
)
def test_files_that_are_no_pictures(encoded: bytes, fault: faults.Fault) -> None:
    assert refuse(encoded).fault is fault


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.png", tmp_path):
        with pytest.raises(PictureError, match="the file cannot be read") as caught:
            probe(path)
        assert caught.value.fault is faults.UNREADABLE_PICTURE


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("side", [9_500, 12_000, 60_000, 2**31 - 1])
def test_a_decompression_bomb_is_refused_before_decoding(side: int) -> None:
    assert refuse(encode_png_header(side, side)).fault is faults.TOO_LARGE_PICTURE


def test_a_file_too_large_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.bmp"
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 10)
    with pytest.raises(PictureError, match="larger than 256 MiB") as caught:
        probe(path)
    assert caught.value.fault is faults.TOO_LARGE_PICTURE


@pytest.mark.parametrize(("apart", "is_grey"), [(0, True), (2, True), (3, False), (200, False)])
def test_channels_two_units_apart_are_grey(apart: int, is_grey: bool) -> None:
    pixels = np.full((5, 7, 3), 20, dtype=np.uint8)
    pixels[2, 3, 2] += apart
    assert probe_bytes(encode(Image.fromarray(pixels), "PNG")).is_grey == is_grey


def test_an_exif_orientation_is_not_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # Turn by a quarter.
    facts = probe_bytes(encode(COLOUR_PICTURE, "JPEG", exif=exif))
    assert (facts.width, facts.height) == (WIDTH, HEIGHT)


def test_reasons_are_the_same_every_time() -> None:
    encoded = b"\xff\xd8\xff\xe0\x00\x02\xff\xd9"
    assert refuse(encoded).reason == refuse(bytes(bytearray(encoded))).reason
    assert "0x" not in refuse(encoded).reason


def test_published_pictures_are_grey_jpegs(real_data: Path) -> None:
    facts = probe(real_data / "neu-det/train/images/crazing/crazing_1.jpg")
    assert (facts.image_format, facts.width, facts.height, facts.is_grey) == (
        "jpeg",
        200,
        200,
        True,
    )
    facts = probe(real_data / "xray/niO_53.jpg")
    assert (facts.width, facts.height) == (623, 483)
