"""JPEGs whose picture data ends too early, though their end marker is there."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image

from records import faults, jpeg
from records.pictures import PictureError, probe_bytes, probe_pixels
from tests.records.picture_files import (
    COLOUR,
    COLOUR_PICTURE,
    GREY_PICTURE,
    NOISE_PICTURE,
    encode,
)

JPEG_OPTIONS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 1},
    "progressive restarts": {"progressive": True, "restart_marker_rows": 1},
    "optimised": {"optimize": True},
    "fine": {"quality": 100, "subsampling": 0},
}
END = b"\xff\xd9"


def refuse(encoded: bytes) -> PictureError:
    with pytest.raises(PictureError) as caught:
        probe_bytes(encoded)
    return caught.value


def find_scans(encoded: bytes) -> list[int]:
    """Where each scan's header starts. No other segment of these files holds its marker."""
    return [found.start() for found in re.finditer(b"\xff\xda", encoded)]


@pytest.mark.parametrize("picture", [GREY_PICTURE, COLOUR_PICTURE, NOISE_PICTURE])
@pytest.mark.parametrize("kind", JPEG_OPTIONS)
def test_picture_data_cut_short_before_the_end_marker_is_found(
    kind: str, picture: Image.Image
) -> None:
    encoded = encode(picture, "JPEG", **JPEG_OPTIONS[kind])
    probe_bytes(encoded)
    scan = find_scans(encoded)[-1]
    data = scan + 2 + int.from_bytes(encoded[scan + 2 : scan + 4], "big")
    for cut in range(data, len(encoded) - 2):
        error = refuse(encoded[:cut] + END)
        assert error.fault is faults.UNREADABLE_PICTURE
        assert error.reason.startswith("the JPEG is damaged or cut short: ")


def test_inks_cut_short_are_found() -> None:
    encoded = encode(NOISE_PICTURE.convert("CMYK"), "JPEG")
    for cut in range(find_scans(encoded)[0] + 14, len(encoded) - 2, 7):
        assert refuse(encoded[:cut] + END).fault is faults.UNREADABLE_PICTURE


def test_a_restart_interval_lost_from_the_end_is_found() -> None:
    encoded = encode(NOISE_PICTURE, "JPEG", restart_marker_blocks=1)
    for marker in re.finditer(rb"\xff[\xd0-\xd7]", encoded):
        assert "cut short" in refuse(encoded[: marker.start()] + END).reason


def test_picture_data_is_missing_behind_another_warning() -> None:
    # libjpeg tells of its first warning alone: here of JFIF 2, which is of no consequence.
    encoded = encode(NOISE_PICTURE, "JPEG").replace(b"JFIF\0\x01", b"JFIF\0\x02")
    probe_bytes(encoded)
    for cut in range(find_scans(encoded)[0] + 14, len(encoded) - 20, 50):
        assert refuse(encoded[:cut] + END).reason.endswith("picture data is missing")


def test_bytes_of_no_meaning_between_segments_are_passed_over() -> None:
    for options in JPEG_OPTIONS.values():
        encoded = encode(COLOUR_PICTURE, "JPEG", **options)
        _, luma = probe_pixels(encoded)
        assert np.array_equal(probe_pixels(encoded[:-2] + b"abc" + END)[1], luma)


# Scans that are missing altogether


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [1, 30, 75, 95, 100])
def test_a_progressive_jpeg_cut_between_two_scans_is_found(quality: int, subsampling: int) -> None:
    for picture in (GREY_PICTURE, COLOUR_PICTURE, NOISE_PICTURE, Image.new("RGB", (40, 30))):
        options = {"progressive": True, "quality": quality, "subsampling": subsampling}
        encoded = encode(picture, "JPEG", **options)
        probe_bytes(encoded)
        scans = find_scans(encoded)
        assert len(scans) == (6 if picture.mode == "L" else 10)
        for scan in scans[1:]:
            assert (
                refuse(encoded[:scan] + END).reason
                == "the JPEG is damaged or cut short: a scan is missing"
            )


def encode_one_scan_a_component(scans: int) -> bytes:
    """A colour JPEG in three scans, which Pillow does not write, without its last ones."""
    parts = [encode(Image.fromarray(COLOUR[..., index]), "JPEG") for index in range(3)]
    (start,) = find_scans(parts[0])
    frame = parts[0].index(b"\xff\xc0")
    size = parts[0][frame + 4 : frame + 9]
    components = b"".join(bytes([number, 0x11, 0]) for number in (1, 2, 3))
    head = parts[0][:frame] + b"\xff\xc0\0\x11" + size + b"\3" + components
    head += parts[0][frame + 13 : start]
    for number, part in enumerate(parts[:scans], start=1):
        data = part[find_scans(part)[0] + 10 : -2]
        head += b"\xff\xda\0\x08\x01" + bytes([number, 0, 0, 63, 0]) + data
    return head + END


def test_a_component_without_its_scan_is_found() -> None:
    encoded = encode_one_scan_a_component(3)
    _, luma = probe_pixels(encoded)
    expected = np.asarray(Image.open(io.BytesIO(encoded)).convert("L"))
    assert np.abs(luma.astype(int) - expected).max() <= 2
    for scans in (1, 2):
        error = refuse(encode_one_scan_a_component(scans))
        assert error.reason == "the JPEG is damaged or cut short: a scan is missing"


def test_very_many_scans_are_not_decoded() -> None:
    encoded = encode(GREY_PICTURE, "JPEG", progressive=True)
    last = encoded[find_scans(encoded)[-1] : -2]
    error = refuse(encoded[:-2] + last * jpeg.SCANS_AT_MOST + END)
    assert error.fault is faults.TOO_LARGE_PICTURE


def test_whole_scans_of_any_making_pass() -> None:
    rng = np.random.default_rng(2)
    for kind, options in JPEG_OPTIONS.items():
        for width, height in ((1, 1), (8, 8), (17, 33), (64, 40)):
            noise = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
            flat = Image.new("L", (width, height), 128)
            for picture in (noise, noise.convert("L"), flat):
                encoded = encode(picture, "JPEG", **options)
                assert probe_bytes(encoded).width == width, kind
                # Fill bytes before the end marker, and a comment behind the picture data.
                probe_bytes(encoded[:-2] + b"\xff\xff\xfe\x00\x04ab\xff\xff\xd9")
