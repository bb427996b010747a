"""TIFFs of several pages, of kinds that are not read, and cut short."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest

from records import faults
from records.pictures import PictureError, probe_pixels
from tests.records.picture_files import GREY, HEIGHT, WIDTH, decode_stored
from tests.records.tiff_files import (
    BITS,
    COMPRESSION,
    EXTRA,
    FORMAT,
    PACKERS,
    PHOTOMETRIC,
    ROWS,
    SAMPLES,
    SIZE,
    TILE_HEIGHT,
    TILE_WIDTH,
    encode_tiff,
    grey_tiff,
    page,
)


def refuse(encoded: bytes) -> PictureError:
    with pytest.raises(PictureError) as caught:
        probe_pixels(encoded)
    return caught.value


# Several pages


def test_smaller_versions_behind_the_first_page_are_left_out() -> None:
    encoded = encode_tiff(page(), page(tag_254=1), page(tag_254=5))
    assert np.array_equal(decode_stored(encoded), GREY)


@pytest.mark.parametrize("kind", [None, 0, 2])
def test_a_second_page_of_its_own_is_refused(kind: int | None) -> None:
    second = page() if kind is None else page(tag_254=kind)
    error = refuse(encode_tiff(page(), page(tag_254=1), second))
    assert (error.fault, error.reason) == (
        faults.UNSUPPORTED_PICTURE,
        "it is a TIFF of several pages",
    )


def test_pages_in_a_circle_end() -> None:
    encoded = bytearray(encode_tiff(page(), page(tag_254=1)))
    second = int.from_bytes(encoded[4:8], "little")
    encoded[-4:] = second.to_bytes(4, "little")
    assert refuse(bytes(encoded)).fault is faults.UNSUPPORTED_PICTURE


# Refused


DEEP_COLOUR = {BITS: (16, 16, 16), PHOTOMETRIC: 2, SAMPLES: 3}


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        (DEEP_COLOUR, "3 samples of 16 bit"),
        ({BITS: 32, FORMAT: 3}, "1 samples of 32 bit"),
        ({BITS: 32}, "1 samples of 32 bit"),
        ({BITS: 16, FORMAT: 2}, "1 samples of 16 bit"),
        ({BITS: 8, FORMAT: 2}, "1 samples of 8 bit"),
        ({BITS: (8, 8, 8), PHOTOMETRIC: 6, SAMPLES: 3}, "photometric interpretation 6"),
        ({BITS: (8, 8, 8), PHOTOMETRIC: 8, SAMPLES: 3}, "photometric interpretation 8"),
        ({COMPRESSION: 7}, "a TIFF of compression 7"),
        ({COMPRESSION: 4, BITS: 1}, "a TIFF of compression 4"),
        ({COMPRESSION: 50000}, "a TIFF of compression 50000"),
        ({BITS: 12, PHOTOMETRIC: 0}, "1 samples of 12 bit"),
        ({BITS: (16, 16), SAMPLES: 2, EXTRA: 2}, "a TIFF of a kind that Pillow does not decode"),
    ],
)
def test_kinds_that_are_not_read(tags: dict[int, Any], reason: str) -> None:
    every = {**SIZE, BITS: 8, PHOTOMETRIC: 1, ROWS: HEIGHT, **tags}
    error = refuse(encode_tiff(([b"\0" * 8 * WIDTH * HEIGHT], every)))
    assert error.fault is faults.UNSUPPORTED_PICTURE
    assert reason in error.reason


def test_bigtiff_is_named() -> None:
    for start in (b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0"):
        error = refuse(start + b"\0" * 100)
        assert error.fault is faults.UNSUPPORTED_PICTURE
        assert error.reason.startswith("it is a BigTIFF file")


@pytest.mark.parametrize("compression", PACKERS)
def test_strips_that_are_not_there_are_found(compression: int) -> None:
    whole = grey_tiff(compression=compression, rows=7)
    cut = whole[:8] + whole[9:]
    for encoded in (
        whole[:-1],
        whole[:100],
        cut,
        grey_tiff(compression=compression, rows=7, tag_273=(8, 8, 8)),
        grey_tiff(compression=compression, rows=7, tag_273=(8, 8, 8, 8, 8)),
        grey_tiff(compression=compression, rows=7, tag_273=(8, 8, 8, len(whole) + 900)),
        grey_tiff(compression=compression, rows=7, tag_257=HEIGHT + 20),
        grey_tiff(compression=compression, rows=7, tag_278=0),
    ):
        assert refuse(encoded).fault is faults.UNREADABLE_PICTURE


@pytest.mark.parametrize("compression", [code for code in PACKERS if code != 1])
def test_a_strip_that_ends_early_is_found(compression: int) -> None:
    packed = PACKERS[compression](GREY[:-1].tobytes())
    tags = {**SIZE, BITS: 8, PHOTOMETRIC: 1, ROWS: HEIGHT, COMPRESSION: compression}
    assert refuse(encode_tiff(([packed], tags))).fault is faults.UNREADABLE_PICTURE
    packed = PACKERS[compression](GREY.tobytes())[:-3]
    if compression == 32773:  # The others may have all pixels before their last bytes.
        assert refuse(encode_tiff(([packed], tags))).fault is faults.UNREADABLE_PICTURE


def test_a_size_too_large_is_refused_before_anything_is_decoded() -> None:
    encoded = grey_tiff(tag_256=60_000, tag_257=60_000, compression=8)
    assert refuse(encoded).fault is faults.TOO_LARGE_PICTURE
    tags = {**SIZE, BITS: 8, PHOTOMETRIC: 1, COMPRESSION: 8}
    tiles = [zlib.compress(b"\0" * 1000)]
    encoded = encode_tiff((tiles, {**tags, TILE_WIDTH: 2**31, TILE_HEIGHT: 2**31}))
    assert refuse(encoded).fault is faults.UNREADABLE_PICTURE
