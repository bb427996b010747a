"""TIFFs of every kind that is read become PNGs of the pixels that were put into them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from records import faults
from records.pictures import probe_header, probe_pixels
from tests.records.picture_files import (
    COLOUR,
    COLOUR_PICTURE,
    DEEP,
    GREY,
    GREY_PICTURE,
    HEIGHT,
    NOISE,
    WIDTH,
    decode_stored,
    encode,
)
from tests.records.tiff_files import (
    BITS,
    COMPRESSION,
    ORIENTATION,
    PACKERS,
    PHOTOMETRIC,
    ROWS,
    SIZE,
    TILE_HEIGHT,
    TILE_WIDTH,
    colour_tiff,
    encode_tiff,
    grey_tiff,
    tile,
)


def check(encoded: bytes, expected: np.ndarray) -> None:
    """Both what is stored and what is looked at are the expected pixels."""
    decoded = decode_stored(encoded)
    assert decoded.dtype == expected.dtype
    assert np.array_equal(decoded, expected)
    facts, luma = probe_pixels(encoded)
    assert (facts.source_format, facts.image_format, facts.is_converted) == ("tiff", "png", True)
    assert (facts.height, facts.width) == luma.shape == expected.shape[:2]
    assert facts.is_grey == (expected.ndim == 2)
    if expected.ndim == 2:
        assert np.array_equal(luma, expected if luma.dtype == expected.dtype else expected // 257)
    header = probe_header(encoded)
    assert (header.width, header.height) == (facts.width, facts.height)


@pytest.mark.parametrize("rows", [1, 7, HEIGHT])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", PACKERS)
@pytest.mark.parametrize("pixels", [GREY, DEEP], ids=["8", "16"])
def test_grey_of_8_and_16_bit(pixels: np.ndarray, compression: int, order: str, rows: int) -> None:
    check(grey_tiff(pixels, compression=compression, order=order, rows=rows), pixels)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", PACKERS)
@pytest.mark.parametrize("pixels", [GREY, DEEP], ids=["8", "16"])
def test_white_is_zero(pixels: np.ndarray, compression: int, order: str) -> None:
    encoded = grey_tiff(pixels, compression=compression, order=order, tag_262=0)
    check(encoded, np.iinfo(pixels.dtype).max - pixels)


@pytest.mark.parametrize("compression", PACKERS)
@pytest.mark.parametrize("pixels", [GREY, DEEP], ids=["8", "16"])
def test_tiles(pixels: np.ndarray, compression: int) -> None:
    tiles = [PACKERS[compression](part) for part in tile(pixels)]
    tags = {**SIZE, BITS: 8 * pixels.dtype.itemsize, COMPRESSION: compression, PHOTOMETRIC: 1}
    check(encode_tiff((tiles, {**tags, TILE_WIDTH: 16, TILE_HEIGHT: 16})), pixels)


@pytest.mark.parametrize("compression", PACKERS)
@pytest.mark.parametrize("pixels", [GREY, DEEP], ids=["8", "16"])
def test_one_plane_that_is_called_separate(pixels: np.ndarray, compression: int) -> None:
    check(grey_tiff(pixels, compression=compression, tag_284=2), pixels)
    encoded = grey_tiff(pixels, compression=compression, tag_284=2, tag_262=0)
    check(encoded, np.iinfo(pixels.dtype).max - pixels)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits(bits: int) -> None:
    values = GREY >> (8 - bits)
    most = 2**bits - 1
    text = ["".join(f"{value:0{bits}b}" for value in row) for row in values]
    length = -(-WIDTH * bits // 8)
    data = b"".join(int(row.ljust(8 * length, "0"), 2).to_bytes(length, "big") for row in text)
    tags = {**SIZE, BITS: bits, ROWS: HEIGHT}
    full = (values * (255 // most)).astype(np.uint8)
    check(encode_tiff(([data], {**tags, PHOTOMETRIC: 1})), full)
    check(encode_tiff(([data], {**tags, PHOTOMETRIC: 0})), 255 - full)


@pytest.mark.parametrize("compression", PACKERS)
def test_12_bit_becomes_16_bit(compression: int) -> None:
    values = DEEP >> 4
    values[0, :2] = 0, 4095
    text = ["".join(f"{value:012b}" for value in row) for row in values]
    length = -(-WIDTH * 12 // 8)
    data = b"".join(int(row.ljust(8 * length, "0"), 2).to_bytes(length, "big") for row in text)
    tags = {**SIZE, BITS: 12, PHOTOMETRIC: 1, ROWS: HEIGHT, COMPRESSION: compression}
    encoded = encode_tiff(([PACKERS[compression](data)], tags))
    check(encoded, values * 16 + values // 256)
    assert decode_stored(encoded)[0, :2].tolist() == [0, 65535]


def test_a_colour_table() -> None:
    table = np.random.default_rng(0).integers(0, 65536, (3, 256))
    colour_table = tuple(int(value) for value in table.ravel())
    expected = np.stack([table[channel][GREY] // 256 for channel in range(3)], axis=-1)
    check(grey_tiff(tag_262=3, tag_320=colour_table), expected.astype(np.uint8))


@pytest.mark.parametrize("separate", [False, True])
def test_colour(separate: bool) -> None:
    planes = [NOISE[..., channel] for channel in range(3)]
    alpha = GREY[::-1]
    check(colour_tiff(planes, separate=separate), NOISE)
    check(colour_tiff([*planes, alpha], separate=separate, tag_338=2), NOISE)
    check(colour_tiff([*planes, alpha], tag_338=0), NOISE)


def test_what_pillow_writes() -> None:
    for compression in ("raw", "tiff_lzw", "tiff_deflate", "packbits", "tiff_adobe_deflate"):
        check(encode(COLOUR_PICTURE, "TIFF", compression=compression), COLOUR)
        check(encode(GREY_PICTURE, "TIFF", compression=compression), GREY)
        check(encode(Image.fromarray(DEEP), "TIFF", compression=compression), DEEP)
        check(encode(GREY_PICTURE.convert("LA"), "TIFF", compression=compression), GREY)
    table = COLOUR_PICTURE.quantize(16)
    check(encode(table, "TIFF"), np.asarray(table.convert("RGB")))
    inks = Image.fromarray(np.dstack([NOISE, GREY]), "CMYK")
    check(encode(inks, "TIFF"), np.asarray(inks.convert("RGB")))
    facts, _ = probe_pixels(encode(inks, "TIFF"))
    assert [fault for fault, _ in facts.remarks] == [faults.CMYK_PICTURE]


@pytest.mark.parametrize("compression", PACKERS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_tag_is_applied_once(orientation: int, compression: int) -> None:
    import PIL.ImageOps

    for pixels in (GREY, DEEP):
        lying = Image.fromarray(pixels)
        lying.getexif()[ORIENTATION] = orientation
        upright = np.asarray(PIL.ImageOps.exif_transpose(lying))
        encoded = grey_tiff(pixels, compression=compression, tag_274=orientation)
        check(encoded, upright)
        facts, _ = probe_pixels(encoded)
        assert facts.orientation == orientation
        turned = [] if orientation == 1 else [faults.TURNED_PICTURE]
        assert [fault for fault, _ in facts.remarks] == turned


@pytest.mark.parametrize("value", [0, 9, 70_000])
def test_an_orientation_of_no_meaning_turns_nothing(value: int) -> None:
    check(grey_tiff(tag_274=value), GREY)


def test_an_orientation_in_xmp_alone_turns_nothing() -> None:
    side = np.ascontiguousarray(GREY[:, :HEIGHT])
    file = io.BytesIO()
    xmp = b'<x:xmpmeta tiff:Orientation="6"></x:xmpmeta>'
    Image.fromarray(side).save(file, "TIFF", tiffinfo={700: xmp})
    assert np.array_equal(decode_stored(file.getvalue()), side)
