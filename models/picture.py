"""From a picture's bytes to the model's input: the one function of training and serving."""

from __future__ import annotations

import tensorflow as tf

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_BIT_DEPTH_AT = 24  # PNG specification, 11.2.2: signature 8, length 4, "IHDR" 4, sizes 8


def decode_picture(encoded: tf.Tensor, *, image_size: int, channels: int) -> tf.Tensor:
    """Decodes one picture and stretches it to the model's square input.

    Built of TensorFlow operations alone, so that the very same nodes run in the input pipeline
    and inside the SavedModel.

    Args:
        encoded: string `[]`; the bytes of a JPEG, a PNG of 8 or 16 bit, or a BMP.
        image_size: Side of the output in pixels.
        channels: 1 for grey (colour is turned into luma), 3 for colour (grey is repeated).

    Returns:
        float32 `[image_size, image_size, channels]`, 0 to 255. 16-bit values keep their depth:
        they are divided by 257, which takes 65,535 to 255. Resizing is bilinear, with
        antialiasing when it shrinks.

    Raises:
        tf.errors.InvalidArgumentError: The bytes are no such picture, or are cut short.
    """
    is_deep = tf.logical_and(
        tf.strings.substr(encoded, 0, 8) == _PNG_SIGNATURE,
        tf.strings.substr(encoded, _PNG_BIT_DEPTH_AT, 1) == b"\x10",
    )
    pixels = tf.cond(
        is_deep,
        lambda: (
            tf.cast(tf.io.decode_png(encoded, channels=channels, dtype=tf.uint16), tf.float32)
            / 257.0
        ),
        lambda: tf.cast(_decode_8_bit(encoded, channels), tf.float32),
    )
    resized = tf.image.resize(pixels, [image_size, image_size], antialias=True)
    return tf.ensure_shape(
        tf.clip_by_value(resized, 0.0, 255.0), [image_size, image_size, channels]
    )


def _decode_8_bit(encoded: tf.Tensor, channels: int) -> tf.Tensor:
    # decode_image cannot turn a colour BMP into grey, nor a grey one into colour.
    is_bmp = tf.strings.substr(encoded, 0, 2) == b"BM"
    return tf.cond(
        is_bmp,
        lambda: _with_channels(tf.io.decode_bmp(encoded, channels=0), channels),
        lambda: tf.io.decode_image(encoded, channels=channels, expand_animations=False),
    )


def _with_channels(pixels: tf.Tensor, channels: int) -> tf.Tensor:
    count = tf.shape(pixels)[-1]
    colour = tf.cond(count == 1, lambda: tf.repeat(pixels, 3, axis=-1), lambda: pixels[..., :3])
    colour = tf.ensure_shape(colour, [None, None, 3])
    return colour if channels == 3 else tf.image.rgb_to_grayscale(colour)
