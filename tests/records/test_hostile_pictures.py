"""Pictures that were written to do harm: a few bytes that take hours or gigabytes to open."""

from __future__ import annotations

import struct
import zlib

import pytest
from PIL import Image

from records import faults
from records.encodings import PIECES_AT_MOST
from records.pictures import PictureError, probe_header, probe_pixels
from tests.records.picture_files import COLOUR_PICTURE, GREY_PICTURE, encode, join_png, split_png

PNG, JPEG = encode(GREY_PICTURE, "PNG"), encode(GREY_PICTURE, "JPEG")
WEBP = encode(COLOUR_PICTURE, "WEBP")
ZEROS = zlib.compress(bytes(8_000_000), 9)


def refuse(encoded: bytes) -> PictureError:
    with pytest.raises(PictureError) as caught:
        probe_pixels(encoded)
    assert len(caught.value.reason) < 300 and caught.value.reason.isprintable()
    return caught.value


def with_chunks(*chunks: tuple[bytes, bytes]) -> bytes:
    first, *others = split_png(PNG)
    return join_png([first, *chunks, *others])


@pytest.mark.timeout(20)
def test_a_long_run_of_fill_bytes_is_passed_over_once() -> None:
    # By one regular expression, half a mebibyte took an hour.
    for run in (2**19, 2**23):
        for end in (b"\0", b"\0\xff\xd9", b"\xd0\xff\xd9", b""):
            assert refuse(JPEG[:2] + b"\xff" * run + end).fault is faults.UNREADABLE_PICTURE
    whole = JPEG[:2] + b"\xff" * 2**19 + JPEG[2:]
    assert probe_header(whole).width == GREY_PICTURE.width
    assert (probe_pixels(whole)[1] == probe_pixels(JPEG)[1]).all()


@pytest.mark.timeout(20)
def test_a_file_in_very_many_pieces_is_refused() -> None:
    empty = struct.pack(">I", 0) + b"abCd" + struct.pack(">I", zlib.crc32(b"abCd"))
    webp = WEBP[:4] + struct.pack("<I", len(WEBP) - 8 + 8 * 2**20) + WEBP[8:]
    for encoded in (
        PNG[:33] + empty * 2**20 + PNG[33:],
        JPEG[:2] + b"\xff\xfe\0\2" * 2**20 + JPEG[2:],
        webp + b"abcd\0\0\0\0" * 2**20,
    ):
        error = refuse(encoded)
        assert error.fault is faults.TOO_LARGE_PICTURE
        assert f"more than {PIECES_AT_MOST} pieces" in error.reason
    assert probe_header(PNG[:33] + empty * 1000 + PNG[33:]).width == GREY_PICTURE.width


def test_text_and_profiles_that_unpack_to_megabytes_are_refused() -> None:
    for chunk in (
        (b"zTXt", b"a\0\0" + ZEROS),
        (b"iTXt", b"a\0\1\0\0\0" + ZEROS),
        (b"iCCP", b"a\0\0" + ZEROS),
    ):
        assert refuse(with_chunks(chunk)).fault is faults.UNREADABLE_PICTURE
    small = zlib.compress(bytes(900_000), 9)
    many = [(b"zTXt", b"%d\0\0" % number + small) for number in range(100)]
    assert refuse(with_chunks(*many)).fault is faults.UNREADABLE_PICTURE


@pytest.mark.timeout(20)
def test_many_scans_behind_a_whole_picture_are_not_made_longer() -> None:
    # An unknown version of JFIF is no fault, but has a second look taken at every scan.
    start = JPEG.index(b"JFIF\0") + 5
    odd = JPEG[:start] + b"\x07" + JPEG[start + 1 : -2]
    refuse(odd + b"\xff\xda\0\2" * 2**20 + b"\xff\xd9")


def test_a_few_bytes_that_say_they_are_millions_of_pixels_are_not_decoded() -> None:
    at = JPEG.index(b"\xff\xc0") + 5
    for sides in ((9000, 9000), (1055, 65_303)):
        claim = JPEG[:at] + struct.pack(">HH", *sides) + JPEG[at + 4 :]
        assert "too few bytes for its pixels" in refuse(claim).reason
    # No encoder needs fewer than for a picture of one grey.
    plain = encode(Image.new("L", (4096, 4096), 128), "JPEG", optimize=True, progressive=True)
    assert len(plain) < 4096 * 4096 / 250
    assert probe_header(plain).width == 4096
