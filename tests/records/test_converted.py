"""Pictures that TensorFlow decodes wrongly, lying or not at all, and the PNGs made of them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from records import faults
from records.pictures import PictureError, encode_stored, probe_header, probe_pixels
from tests.records.picture_files import (
    COLOUR,
    COLOUR_PICTURE,
    DEEP,
    GREY_PICTURE,
    HEIGHT,
    NOISE_PICTURE,
    WIDTH,
    decode_stored,
    encode,
    encode_bmp,
    split_png,
)
from tests.records.picture_kinds import BYTES, OTHER_BMPS, RAMP, TWO, WEBPS


def by_pillow(encoded: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(encoded)) as picture:
        upright = ImageOps.exif_transpose(picture)
        if upright.mode in ("L", "1", "LA"):
            return np.asarray(upright.convert("L"))
        return np.asarray(upright if upright.mode == "I;16" else upright.convert("RGB"))


def codes(encoded: bytes) -> list[str]:
    return [fault.code for fault, _ in probe_header(encoded).remarks]


def as_colour(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=-1)


@pytest.mark.parametrize("kind", OTHER_BMPS)
def test_bmps_that_tensorflow_does_not_decode_become_pngs(kind: str) -> None:
    encoded = OTHER_BMPS[kind]
    decoded = decode_stored(encoded)
    assert np.array_equal(as_colour(decoded), as_colour(by_pillow(encoded)))
    facts, luma = probe_pixels(encoded)
    assert (facts.source_format, facts.image_format, facts.is_converted) == ("bmp", "png", True)
    assert luma.shape == decoded.shape[:2] == (facts.height, facts.width)


def test_tables_that_pillow_takes_for_another_depth() -> None:
    indices = np.frombuffer(BYTES, np.uint8)[:64].reshape(8, 8) % 3
    expected = np.array([0, 255, 0], np.uint8)[indices[::-1]]  # Index 2 is behind the table.
    assert np.array_equal(decode_stored(encode_bmp(8, indices.tobytes(), table=TWO)), expected)
    packed = (indices[:, ::2] * 16 + indices[:, 1::2]).astype(np.uint8).tobytes()
    assert np.array_equal(decode_stored(encode_bmp(4, packed, table=RAMP[:64])), indices[::-1])


def test_a_colour_table_that_reaches_into_the_pixels_is_found() -> None:
    encoded = bytearray(encode_bmp(8, BYTES[:64], table=RAMP))
    encoded[10:14] = (14 + 40 + 4 * 250).to_bytes(4, "little")
    with pytest.raises(PictureError, match="colour table reaches into its pixels"):
        probe_pixels(bytes(encoded))


@pytest.mark.parametrize("kind", WEBPS)
def test_webps_become_pngs(kind: str) -> None:
    decoded = decode_stored(WEBPS[kind])
    assert np.array_equal(decoded, by_pillow(WEBPS[kind]))
    if kind.startswith("lossless"):
        assert np.array_equal(decoded, COLOUR)
    facts, luma = probe_pixels(WEBPS[kind])
    assert (facts.source_format, facts.image_format, facts.is_converted) == ("webp", "png", True)
    assert luma.shape == decoded.shape[:2] == (facts.height, facts.width)
    assert facts.orientation == (6 if kind == "turned" else 1)


def test_an_animated_webp_is_refused() -> None:
    frames = [COLOUR_PICTURE.rotate(180), COLOUR_PICTURE.rotate(90)]
    encoded = encode(COLOUR_PICTURE, "WEBP", save_all=True, append_images=frames)
    with pytest.raises(PictureError, match="it is an animated WebP") as caught:
        probe_pixels(encoded)
    assert caught.value.fault is faults.UNSUPPORTED_PICTURE


# Printing inks


def test_inks_are_taken_from_white() -> None:
    inks = np.zeros((16, 64, 4), np.uint8)
    inks[:, 16:32, 1:3] = 255  # magenta and yellow
    inks[:, 32:48, 3] = 255  # black
    inks[:, 48:, 0] = 255  # cyan
    encoded = encode(Image.fromarray(inks, "CMYK"), "JPEG", quality=100)
    middles = decode_stored(encoded)[8, 8::16].astype(int)
    colours = [[255, 255, 255], [255, 0, 0], [0, 0, 0], [0, 255, 255]]
    assert np.abs(middles - colours).max() <= 3
    assert codes(encoded) == ["cmyk_picture"]


@pytest.mark.parametrize("transform", [None, 0, 2])
def test_cmyk_and_ycck_are_as_pillow_decodes_them(transform: int | None) -> None:
    encoded = encode(NOISE_PICTURE.convert("CMYK"), "JPEG", quality=95)
    adobe = encoded.index(b"\xff\xee\x00\x0eAdobe")
    if transform is None:  # Without Adobe's segment the inks are not stored inverted.
        encoded = encoded[:adobe] + encoded[adobe + 16 :]
    else:
        encoded = encoded[: adobe + 15] + bytes([transform]) + encoded[adobe + 16 :]
    assert np.array_equal(decode_stored(encoded), by_pillow(encoded))
    facts, _ = probe_pixels(encoded)
    assert (facts.source_format, facts.image_format, facts.is_converted) == ("jpeg", "png", True)


# Turned


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_what_an_orientation_tag_turns_is_stored_upright(kind: str, orientation: int) -> None:
    for picture in (COLOUR_PICTURE, GREY_PICTURE):
        encoded = encode(picture, kind, orientation=orientation)
        decoded, expected = decode_stored(encoded), by_pillow(encoded)
        tolerance = 3 if kind == "JPEG" else 0
        assert np.abs(as_colour(decoded).astype(int) - as_colour(expected)).max() <= tolerance
        facts, luma = probe_pixels(encoded)
        assert (facts.height, facts.width) == decoded.shape[:2] == luma.shape
        assert (facts.image_format, facts.is_converted) == ("png", True)
        assert facts.orientation == orientation
        assert codes(encoded) == ["turned_picture"]
    assert luma.flags.c_contiguous


def test_16_bit_stay_16_bit_when_turned() -> None:
    encoded = encode(Image.fromarray(DEEP), "PNG", orientation=8)
    assert np.array_equal(decode_stored(encoded), np.rot90(DEEP))


def test_16_bit_colour_is_not_turned() -> None:
    encoded = bytearray(encode(COLOUR_PICTURE, "PNG", orientation=8))
    encoded[24] = 16  # The checksum, which is wrong now, is looked at later.
    with pytest.raises(PictureError, match="a PNG of 16 bit with colour"):
        probe_header(bytes(encoded))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("exif", [b"", b"nonsense", b"II*\0\x08\0\0\0\xff\xff", b"\xff" * 40])
def test_metadata_that_cannot_be_read_turn_nothing(exif: bytes, kind: str) -> None:
    encoded = encode(COLOUR_PICTURE, kind, exif=b"Exif\0\0" + exif)
    assert encode_stored(encoded) is encoded
    assert probe_header(encoded).remarks == ()


@pytest.mark.parametrize("orientation", [0, 9, 300])
def test_an_orientation_of_no_meaning_turns_nothing(orientation: int) -> None:
    encoded = encode(COLOUR_PICTURE, "JPEG", orientation=orientation)
    assert encode_stored(encoded) is encoded


# The PNG


def test_the_png_holds_nothing_but_pixels_and_is_the_same_every_time() -> None:
    picture = COLOUR_PICTURE.copy()
    encoded = encode(
        picture, "JPEG", orientation=3, dpi=(300, 300), comment=b"a", icc_profile=b"b" * 200
    )
    stored = encode_stored(encoded)
    assert {kind for kind, _ in split_png(stored)} == {b"IHDR", b"IDAT", b"IEND"}
    assert encode_stored(bytes(bytearray(encoded))) == stored
    assert encode_stored(stored) is stored
    facts, _ = probe_pixels(stored)
    assert (facts.width, facts.height, facts.is_converted) == (WIDTH, HEIGHT, False)
