"""From a picture's bytes to the model's input: the one function of training and serving.

A model's input is a square. `stretch` gives a picture that shape whatever its own is; `letterbox`
keeps its aspect ratio: the longer side fills the square, the rest beside the shorter one, half of
it on either side, is filled with the picture's own mean.
"""

from __future__ import annotations

import contextlib

import numpy as np
import numpy.typing as npt
import tensorflow as tf

RESIZES = ("letterbox", "stretch")

DECODED_AT_ONCE = 16
"""Pictures of a batch: enough to keep the cores decoding; more only holds more in memory."""

MAX_PIXELS = 2**28 // 3
"""As `records.encodings.MAX_PIXELS`: larger pictures no model was trained on. Who sends one to a
server would have it decode gigabytes."""

_MIDDLE, _DEVIATION = 127.5, 40.0  # of a standardized picture, in grey values

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# PNG specification, 11.2.2: signature 8, length 4, "IHDR" 4, sizes 8.
_PNG_SIDES_AT, _PNG_BIT_DEPTH_AT = 16, 24
_BMP_SIGNATURE, _BMP_SIDES_AT = b"BM", 18  # Microsoft, "Bitmap Storage": BITMAPINFOHEADER
_JPEG_SIGNATURE = b"\xff\xd8\xff"


def decode_picture(
    encoded: tf.Tensor, *, image_size: int, channels: int, resize: str, standardize: bool = False
) -> tf.Tensor:
    """Decodes one picture and brings it to the model's square input.

    Built of TensorFlow operations alone, so that the very same nodes run in the input pipeline
    and inside the SavedModel.

    Args:
        encoded: string `[]`; the bytes of a JPEG, a PNG of 8 or 16 bit, or a BMP.
        image_size: Side of the output in pixels.
        channels: 1 for grey (colour is turned into luma), 3 for colour (grey is repeated).
        resize: One of `RESIZES`. A square picture gives the same under both.
        standardize: Whether `standardize_pictures` follows.

    Returns:
        float32 `[image_size, image_size, channels]`, 0 to 255. 16-bit values keep their depth:
        they are divided by 257, which takes 65,535 to 255. Resizing is bilinear, with
        antialiasing when it shrinks.

    Raises:
        ValueError: `resize` is unknown.
        tf.errors.InvalidArgumentError: The bytes are no such picture, are cut short, or are of one
            of more than `MAX_PIXELS`, which is not decoded.
    """
    return fit_pixels(
        decode_pixels(encoded, channels=channels),
        image_size=image_size,
        resize=resize,
        standardize=standardize,
    )


def decode_pixels(encoded: tf.Tensor, *, channels: int) -> tf.Tensor:
    """The first half of `decode_picture`: the picture at its own size.

    Returns:
        float32 `[height, width, channels]`, 0 to 255.
    """

    def begins(signature: bytes) -> tf.Tensor:
        return tf.strings.substr(encoded, 0, len(signature)) == signature

    # One question after the other, the most frequent format first: of small pictures the number of
    # operations is what costs.
    pixels = tf.cond(
        begins(_JPEG_SIGNATURE),
        lambda: _decode_jpeg(encoded, channels),
        lambda: tf.cond(
            begins(_PNG_SIGNATURE),
            lambda: _decode_png(encoded, channels),
            lambda: _decode_bmp(encoded, begins(_BMP_SIGNATURE), channels),
        ),
    )
    return tf.ensure_shape(pixels, [None, None, channels])


def fit_pixels(
    pixels: tf.Tensor, *, image_size: int, resize: str, standardize: bool = False
) -> tf.Tensor:
    """The second half of `decode_picture`: from `decode_pixels` to the model's square input."""
    square = [image_size, image_size]
    if _keeps_proportions(resize):
        shape = tf.shape(pixels)
        resized = tf.cond(
            shape[0] == shape[1],
            lambda: _scale(pixels, square),
            lambda: _letterbox(pixels, shape, image_size),
        )
    else:
        resized = _scale(pixels, square)
    resized = tf.ensure_shape(resized, [image_size, image_size, pixels.shape[-1]])
    return standardize_pictures(resized) if standardize else resized


def standardize_pictures(images: tf.Tensor) -> tf.Tensor:
    """Gives every picture the same mean and contrast: how it was lit is no longer to be seen.

    Of the whole square, filling included, so that it needs to be known of no picture how large its
    filling is. Applied once more it changes next to nothing.

    Args:
        images: float32 `[..., size, size, channels]`, 0 to 255.

    Returns:
        The same shape, 0 to 255: mean 127.5, standard deviation 40 over all channels together,
        what is more than 3.2 deviations away cut off. Below a deviation of 1 grey value the
        contrast is no longer raised, so that a picture of nothing stays one.
    """
    mean, variance = tf.nn.moments(images, axes=[-3, -2, -1], keepdims=True)
    scale = _DEVIATION / tf.maximum(tf.sqrt(variance), 1.0)
    return tf.clip_by_value((images - mean) * scale + _MIDDLE, 0.0, 255.0)


def place_boxes(
    boxes: tf.Tensor, width: tf.Tensor, height: tf.Tensor, *, image_size: int, resize: str
) -> tf.Tensor:
    """Places boxes where `decode_picture` puts what they enclose.

    Args:
        boxes: float32 `[n, 4]`; xmin, ymin, xmax, ymax as fractions of the picture.
        width: Width of the picture in pixels, an integer `[]`.
        height: Its height.
        image_size: As for `decode_picture`.
        resize: As for `decode_picture`.

    Returns:
        float32 `[n, 4]`, the same boxes as fractions of the model's input.
    """
    fitted = _fit(tf.cast(width, tf.int32), tf.cast(height, tf.int32), image_size, resize)
    left, top, inner_width, inner_height = (tf.cast(part, tf.float32) for part in fitted)
    scale = tf.stack([inner_width, inner_height, inner_width, inner_height])
    return (boxes * scale + tf.stack([left, top, left, top])) / image_size


def crop_to_picture(
    inputs: npt.NDArray[np.float32], width: int, height: int, *, resize: str
) -> npt.NDArray[np.float32]:
    """Cuts the filling off what has the shape of the model's input, such as a heatmap.

    Args:
        inputs: `[image_size, image_size, ...]`.
        width: Width of the picture in pixels.
        height: Its height.
        resize: As `decode_picture` was given it.

    Returns:
        `[h, w, ...]`, the part that shows the whole picture and nothing else.
    """
    fitted = _fit(tf.constant(width), tf.constant(height), len(inputs), resize)
    left, top, inner_width, inner_height = map(int, fitted)
    return inputs[top : top + inner_height, left : left + inner_width]


def _decode_jpeg(encoded: tf.Tensor, channels: int) -> tf.Tensor:
    with _require_size(tf.io.extract_jpeg_shape(encoded)[:2]):
        return tf.cast(tf.io.decode_jpeg(encoded, channels=channels), tf.float32)


def _decode_png(encoded: tf.Tensor, channels: int) -> tf.Tensor:
    def decode(dtype: tf.DType) -> tf.Tensor:
        return tf.cast(tf.io.decode_png(encoded, channels=channels, dtype=dtype), tf.float32)

    with _require_size(_unpack_sides(encoded, _PNG_SIDES_AT, little_endian=False)):
        is_deep = tf.strings.substr(encoded, _PNG_BIT_DEPTH_AT, 1) == b"\x10"
        return tf.cond(is_deep, lambda: decode(tf.uint16) / 257.0, lambda: decode(tf.uint8))


def _decode_bmp(encoded: tf.Tensor, is_bmp: tf.Tensor, channels: int) -> tf.Tensor:
    sides = tf.cond(
        is_bmp,
        # Rows from the top down have a negative height.
        lambda: tf.abs(_unpack_sides(encoded, _BMP_SIDES_AT, little_endian=True)),
        lambda: tf.zeros([2], tf.int32),
    )
    with _require_size(sides):
        pixels = tf.io.decode_bmp(encoded, channels=0)
    return tf.cast(_with_channels(pixels, channels), tf.float32)


def _require_size(sides: tf.Tensor) -> contextlib.AbstractContextManager[None]:
    """Has what is decoded within wait for a look at the sides, int32 `[2]`, that a header tells."""
    area = tf.reduce_prod(tf.cast(sides, tf.int64))
    is_fine = (tf.reduce_min(sides) > 0) & (area <= MAX_PIXELS)
    problem = f"no JPEG, PNG or BMP of up to {MAX_PIXELS} pixels; its sides are, by its header,"
    return tf.control_dependencies([tf.debugging.Assert(is_fine, [problem, sides])])


def _unpack_sides(encoded: tf.Tensor, start: int, *, little_endian: bool) -> tf.Tensor:
    sides = tf.io.decode_raw(
        tf.strings.substr(encoded, start, 8), tf.int32, little_endian=little_endian
    )
    return tf.ensure_shape(sides, [2])


def _keeps_proportions(resize: str) -> bool:
    if resize not in RESIZES:
        raise ValueError(f"resize={resize!r} is unknown; it is one of {RESIZES}.")
    return resize == "letterbox"


def _fit(width: tf.Tensor, height: tf.Tensor, image_size: int, resize: str) -> tuple:
    """Left, top, width and height of the picture in the input, in pixels, each int32 `[]`."""
    if not _keeps_proportions(resize):
        return 0, 0, image_size, image_size
    longest = tf.maximum(width, height)
    # Rounded to the nearest pixel, halves up, in integers: the same everywhere.
    sides = [
        tf.maximum((2 * side * image_size + longest) // (2 * longest), 1)
        for side in (width, height)
    ]
    return (*((image_size - side) // 2 for side in sides), *sides)


def _scale(pixels: tf.Tensor, sides: tf.Tensor | list[int]) -> tf.Tensor:
    scaled = tf.image.resize(pixels, sides, antialias=True)
    return tf.clip_by_value(scaled, 0.0, 255.0)


def _letterbox(pixels: tf.Tensor, shape: tf.Tensor, image_size: int) -> tf.Tensor:
    """Scales a picture and lays it into a square of its mean, channel by channel."""
    left, top, width, height = _fit(shape[1], shape[0], image_size, "letterbox")
    picture = _scale(pixels, [height, width])
    right, below = image_size - left - width, image_size - top - height
    padding = [[top, below], [left, right], [0, 0]]
    is_picture = tf.pad(tf.ones_like(picture, tf.bool), padding)
    return tf.where(is_picture, tf.pad(picture, padding), tf.reduce_mean(picture, axis=[0, 1]))


def _with_channels(pixels: tf.Tensor, channels: int) -> tf.Tensor:
    count = tf.shape(pixels)[-1]
    colour = tf.cond(count == 1, lambda: tf.repeat(pixels, 3, axis=-1), lambda: pixels[..., :3])
    colour = tf.ensure_shape(colour, [None, None, 3])
    return colour if channels == 3 else tf.image.rgb_to_grayscale(colour)
