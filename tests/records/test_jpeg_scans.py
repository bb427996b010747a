"""JPEGs whose picture data ends too early, though their end marker is there."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image

from records import faults
from records.pictures import PictureError, probe_bytes

WIDTH, HEIGHT = 31, 23
GREY = np.clip(np.add.outer(np.arange(HEIGHT) * 5, np.arange(WIDTH) * 4), 0, 255).astype(np.uint8)
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1)
GREY_PICTURE, COLOUR_PICTURE = Image.fromarray(GREY), Image.fromarray(COLOUR)
NOISE_PICTURE = Image.fromarray(
    np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
)
JPEG_OPTIONS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 1},
    "optimised": {"optimize": True},
    "fine": {"quality": 100, "subsampling": 0},
}


def encode(picture: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", **options)
    return file.getvalue()


def refuse(encoded: bytes) -> PictureError:
    with pytest.raises(PictureError) as caught:
        probe_bytes(encoded)
    return caught.value


@pytest.mark.parametrize("picture", [GREY_PICTURE, COLOUR_PICTURE, NOISE_PICTURE])
@pytest.mark.parametrize("kind", JPEG_OPTIONS)
def test_picture_data_cut_short_before_the_end_marker_is_found(
    kind: str, picture: Image.Image
) -> None:
    encoded = encode(picture, **JPEG_OPTIONS[kind])
    probe_bytes(encoded)
    scan = encoded.rindex(b"\xff\xda")  # Of a progressive picture the last one.
    data = scan + 2 + int.from_bytes(encoded[scan + 2 : scan + 4], "big")
    for share in (0.0, 0.25, 0.5, 0.75):
        cut = data + int(share * (len(encoded) - 2 - data))
        error = refuse(encoded[:cut] + b"\xff\xd9")
        assert error.fault is faults.UNREADABLE_PICTURE
        assert error.reason == "the JPEG is cut short: picture data is missing"


def test_a_restart_interval_lost_from_the_end_is_found() -> None:
    encoded = encode(NOISE_PICTURE, restart_marker_blocks=1)
    for marker in re.finditer(rb"\xff[\xd0-\xd7]", encoded):
        assert "cut short" in refuse(encoded[: marker.start()] + b"\xff\xd9").reason


def test_whole_scans_of_any_making_pass() -> None:
    rng = np.random.default_rng(2)
    for kind, options in JPEG_OPTIONS.items():
        for width, height in ((1, 1), (8, 8), (17, 33), (64, 40)):
            noise = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
            flat = Image.new("L", (width, height), 128)
            for picture in (noise, noise.convert("L"), flat):
                encoded = encode(picture, **options)
                assert probe_bytes(encoded).width == width, kind
                # Fill bytes before the end marker, and a comment behind the picture data.
                probe_bytes(encoded[:-2] + b"\xff\xff\xfe\x00\x04ab\xff\xff\xd9")
