from __future__ import annotations

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from models.picture import decode_picture

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (40, 40), np.uint8)
COLOUR = RNG.integers(0, 256, (40, 40, 3), np.uint8)
DEEP = RNG.integers(0, 65536, (40, 40), np.uint16)


def encode(pixels: np.ndarray, image_format: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, image_format)
    return buffer.getvalue()


def decode(encoded: bytes, *, image_size: int = 40, channels: int = 1) -> np.ndarray:
    traced = tf.function(
        lambda x: decode_picture(x, image_size=image_size, channels=channels),
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


@pytest.mark.parametrize("encoded", [b"", b"not a picture", encode(GREY, "JPEG")[:400]])
def test_what_is_no_picture_is_refused(encoded: bytes) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(encoded)
