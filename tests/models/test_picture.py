from __future__ import annotations

import functools
import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.picture import (
    MAX_PIXELS,
    RESIZES,
    crop_to_picture,
    decode_picture,
    place_boxes,
    standardize_pictures,
)
from pipeline import config
from records import encodings
from tests.records.picture_files import join_png
from tests.records.picture_kinds import KEPT

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (40, 40), np.uint8)
COLOUR = RNG.integers(0, 256, (40, 40, 3), np.uint8)
DEEP = RNG.integers(0, 65536, (40, 40), np.uint16)


def encode(pixels: np.ndarray, image_format: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, image_format)
    return buffer.getvalue()


def decode(
    encoded: bytes, *, image_size: int = 40, channels: int = 1, resize: str = "stretch"
) -> np.ndarray:
    traced = tf.function(
        lambda x: decode_picture(x, image_size=image_size, channels=channels, resize=resize),
        input_signature=[tf.TensorSpec([], tf.string)],
    )
    return traced(encoded).numpy()


@pytest.mark.parametrize("image_format", ["PNG", "BMP"])
@pytest.mark.parametrize("channels", [1, 3])
def test_lossless_grey_comes_back_in_every_channel(image_format: str, channels: int) -> None:
    decoded = decode(encode(GREY, image_format), channels=channels)
    np.testing.assert_array_equal(decoded, np.repeat(GREY[..., None], channels, axis=-1))


@pytest.mark.parametrize("image_format", ["PNG", "BMP"])
def test_lossless_colour_comes_back(image_format: str) -> None:
    np.testing.assert_array_equal(decode(encode(COLOUR, image_format), channels=3), COLOUR)


@pytest.mark.parametrize("image_format", ["PNG", "BMP"])
def test_colour_becomes_luma_by_bt601(image_format: str) -> None:
    expected = COLOUR @ np.array([0.299, 0.587, 0.114])
    # TensorFlow cuts the fraction off, and its weights have four digits.
    assert np.abs(decode(encode(COLOUR, image_format))[..., 0] - expected).max() <= 1.01


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_as_another_decoder_has_it(channels: int) -> None:
    smooth = np.add.outer(np.arange(40), np.arange(40)).astype(np.uint8) * 2
    encoded = encode(smooth, "JPEG")
    expected = np.asarray(Image.open(io.BytesIO(encoded)), np.float32)
    assert np.abs(decode(encoded, channels=channels) - expected[..., None]).max() <= 2


def test_16_bit_keeps_its_depth() -> None:
    decoded = decode(encode(DEEP, "PNG"))[..., 0]
    np.testing.assert_allclose(decoded, DEEP / 257.0, atol=1e-4)
    assert len(np.unique(decoded)) > 256


def test_a_flat_picture_stays_flat_at_any_size() -> None:
    flat = encode(np.full((31, 77), 93, np.uint8), "PNG")
    for size in (16, 64, 200):
        np.testing.assert_allclose(decode(flat, image_size=size), 93, atol=1e-3)


def test_shrinking_averages_instead_of_picking() -> None:
    chequer = np.indices((64, 64)).sum(axis=0) % 2 * 255
    decoded = decode(encode(chequer.astype(np.uint8), "PNG"), image_size=16)
    np.testing.assert_allclose(decoded[2:-2, 2:-2], 127.5, atol=2)


@pytest.mark.parametrize("side", [20, 40, 64])
def test_a_square_picture_gives_the_same_under_both(side: int) -> None:
    stretched, boxed = (
        decode(encode(COLOUR, "PNG"), image_size=side, channels=3, resize=r) for r in RESIZES
    )
    np.testing.assert_array_equal(stretched, boxed)


def test_a_letterbox_keeps_the_aspect_ratio_and_fills_with_the_mean_of_each_channel() -> None:
    wide = COLOUR[:10, :40]
    decoded = decode(encode(wide, "PNG"), channels=3, resize="letterbox")
    np.testing.assert_array_equal(decoded[15:25], wide)
    mean = wide.mean(axis=(0, 1))
    for filling in (decoded[:15], decoded[25:]):
        np.testing.assert_allclose(filling, np.broadcast_to(mean, filling.shape), atol=1e-3)


def test_a_high_picture_is_filled_on_the_left_and_right() -> None:
    decoded = decode(encode(DEEP[:, :9], "PNG"), resize="letterbox")[..., 0]
    # 31 columns are left over, 15 of them on the left.
    np.testing.assert_allclose(decoded[:, 15:24], DEEP[:, :9] / 257.0, atol=1e-4)
    mean = np.mean(DEEP[:, :9] / 257.0)
    np.testing.assert_allclose(np.delete(decoded, np.s_[15:24], axis=1), mean, atol=1e-3)


def test_a_letterbox_is_the_stretched_picture_of_its_own_shape() -> None:
    encoded = encode(GREY[:30], "PNG")
    decoded = decode(encoded, image_size=20, resize="letterbox")
    expected = tf.image.resize(GREY[:30, :, None], [15, 20], antialias=True)
    np.testing.assert_allclose(decoded[2:17], expected, atol=1e-4)


def test_a_line_of_pixels_keeps_one_row() -> None:
    decoded = decode(encode(np.full((1, 400), 9, np.uint8), "PNG"), resize="letterbox")
    np.testing.assert_allclose(decoded, 9, atol=1e-4)


def test_the_flag_offers_what_there_is() -> None:
    assert config.RESIZES == RESIZES


def test_an_unknown_way_of_resizing_is_refused() -> None:
    with pytest.raises(ValueError, match="letterbox"):
        decode(encode(GREY, "PNG"), resize="crop")


@pytest.mark.parametrize("resize", RESIZES)
@settings(max_examples=30, deadline=None)
@given(width=st.integers(1, 90), height=st.integers(1, 90))
def test_boxes_lie_where_the_picture_shows_what_they_enclose(
    resize: str, width: int, height: int
) -> None:
    size = 40
    placed = place_boxes(
        tf.constant([[0.0, 0, 1, 1], [0.25, 0.5, 0.75, 0.5]]),
        tf.constant(width, tf.int64),
        tf.constant(height, tf.int64),
        image_size=size,
        resize=resize,
    ).numpy()
    # What of the input is not filling is found by marking it.
    pixels = decode_picture(
        tf.io.encode_png(np.indices((height, width)).sum(axis=0)[..., None].astype(np.uint8)),
        image_size=size,
        channels=1,
        resize=resize,
    )
    left, top, right, bottom = np.rint(placed[0] * size).astype(int)
    np.testing.assert_allclose(placed[0] * size, [left, top, right, bottom], atol=1e-4)
    whole = crop_to_picture(pixels.numpy(), width, height, resize=resize)
    assert whole.shape == (bottom - top, right - left, 1)
    np.testing.assert_array_equal(whole, pixels[top:bottom, left:right])
    middle = placed[0, :2] + (placed[0, 2:] - placed[0, :2]) * [[0.25, 0.5], [0.75, 0.5]]
    np.testing.assert_allclose(placed[1], middle.ravel(), atol=1e-5)


def test_boxes_of_a_wide_picture() -> None:
    placed = place_boxes(
        tf.constant([[0.0, 0.0, 0.5, 1.0]]), 200, 100, image_size=64, resize="letterbox"
    )
    np.testing.assert_allclose(placed, [[0, 0.25, 0.5, 0.75]])


@pytest.mark.parametrize("encoded", [b"", b"not a picture", encode(GREY, "JPEG")[:400]])
def test_what_is_no_picture_is_refused(encoded: bytes) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(encoded)


@pytest.fixture(scope="module")
def traced() -> Any:
    """`decode_picture` as a graph, for pictures of any kind."""
    return tf.function(
        lambda x: decode_picture(x, image_size=16, channels=1, resize="letterbox"),
        input_signature=[tf.TensorSpec([], tf.string)],
    )


def claim(image_format: str, width: int, height: int) -> bytes:
    """A picture whose header says that it is of that size; a PNG is that, of zeros."""
    if image_format == "PNG":
        row = zlib.compressobj(1)
        data = b"".join(row.compress(bytes(width + 1)) for _ in range(height)) + row.flush()
        return encode_header(width, height, data)
    encoded = bytearray(encode(COLOUR, image_format))
    if image_format == "JPEG":
        at = encoded.index(b"\xff\xc0") + 5
        encoded[at : at + 4] = struct.pack(">HH", height, width)
    else:
        encoded[18:26] = struct.pack("<ii", width, height)
    return bytes(encoded)


def encode_header(width: int, height: int, data: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return join_png([(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")])


def test_what_would_decode_to_gigabytes_is_not_decoded(traced: Any) -> None:
    for image_format, width, height in (
        ("PNG", 9500, 9500),
        ("JPEG", 9500, 9500),
        ("JPEG", 65_500, 65_500),
        ("BMP", 9500, 9500),
        ("BMP", 9500, -9500),
        ("BMP", -(2**31), -(2**31)),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            traced(claim(image_format, width, height))
        assert f"of up to {MAX_PIXELS} pixels" in str(caught.value)


def test_sides_whose_product_would_fit_again_are_refused(traced: Any) -> None:
    for width, height in ((2**31, 2**31), (2**32 - 1, 2**32 - 1), (2**16, 2**16), (0, 5), (5, 0)):
        with pytest.raises(tf.errors.InvalidArgumentError):
            traced(encode_header(width, height, b""))


def test_the_limit_is_that_of_the_records_and_what_they_store_passes(traced: Any) -> None:
    assert MAX_PIXELS == encodings.MAX_PIXELS
    for name, encoded in KEPT.items():
        assert np.isfinite(traced(encoded)).all(), name


def test_formats_that_no_model_was_trained_on_are_refused(traced: Any) -> None:
    for image_format in ("GIF", "WEBP", "TIFF"):
        with pytest.raises(tf.errors.InvalidArgumentError, match="no JPEG, PNG or BMP"):
            traced(encode(GREY, image_format))


def test_standardizing_is_the_closed_form() -> None:
    pictures = np.zeros([2, 2, 2, 1], np.float32)
    pictures[0, :, 0], pictures[0, :, 1] = 90, 110  # mean 100, deviation 10
    pictures[1] = 7
    standardized = standardize_pictures(tf.constant(pictures)).numpy()
    np.testing.assert_allclose(standardized[0, :, :, 0], [[87.5, 167.5], [87.5, 167.5]], rtol=1e-6)
    np.testing.assert_array_equal(standardized[1], 127.5)


@pytest.mark.parametrize(("gain", "offset"), [(0.25, 0.0), (1.0, 60.0), (0.5, 100.0)])
def test_a_standardized_picture_does_not_show_its_light(gain: float, offset: float) -> None:
    picture = np.random.default_rng(0).uniform(20, 150, [1, 16, 16, 3]).astype(np.float32)
    expected = standardize_pictures(tf.constant(picture)).numpy()
    lit = standardize_pictures(tf.constant(gain * picture + offset)).numpy()
    np.testing.assert_allclose(lit, expected, atol=1e-3)
    again = standardize_pictures(tf.constant(expected)).numpy()
    np.testing.assert_allclose(again, expected, atol=1e-3)


def test_noise_of_less_than_a_grey_value_is_not_blown_up() -> None:
    picture = 80 + np.random.default_rng(0).normal(0, 0.1, [1, 32, 32, 1]).astype(np.float32)
    standardized = standardize_pictures(tf.constant(picture)).numpy()
    assert standardized.std() == pytest.approx(40 * picture.std(), rel=0.01)


@pytest.mark.parametrize("resize", RESIZES)
def test_a_picture_is_standardized_with_its_filling(resize: str) -> None:
    ramp = np.tile(np.arange(50, 90, dtype=np.uint8), [20, 1])  # nothing far from the mean
    decode = functools.partial(
        decode_picture, tf.constant(encode(ramp, "PNG")), image_size=32, channels=1, resize=resize
    )
    plain, standardized = decode(), decode(standardize=True).numpy()
    np.testing.assert_array_equal(standardized, standardize_pictures(plain).numpy())
    assert standardized.mean() == pytest.approx(127.5, abs=0.01)
    assert standardized.std() == pytest.approx(40, abs=0.01)
