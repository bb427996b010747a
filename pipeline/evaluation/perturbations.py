"""What goes wrong with a camera, in degrees: noise, blur, light, compression, placement.

Each is applied to the picture as it was taken, at its own size and before anything else, as a fault
of the camera would be. Edges are repeated outwards where something from outside comes into view.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

_WHITE = 255.0
# Disks are drawn with so many points a pixel and side, then averaged: smooth edges at any radius.
_OVERSAMPLING = 32


@dataclass(frozen=True)
class Perturbation:
    """One fault in one degree.

    Attributes:
        kind: Key of `KINDS`.
        level: How much, in the unit of the kind.
    """

    kind: str
    level: float

    @property
    def unit(self) -> str:
        """Unit of `level`, for people."""
        return KINDS[self.kind].unit

    def apply(self, pixels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Applies it to one picture.

        Args:
            pixels: float32 `[height, width, channels]`, 0 to 255.
            seed: Integer `[2]`; noise is a function of it.

        Returns:
            The same shape and range, in whole grey values.
        """
        changed = KINDS[self.kind].apply(pixels, self.level, tf.cast(seed, tf.int32))
        return tf.clip_by_value(tf.round(changed), 0.0, _WHITE)


@dataclass(frozen=True)
class Kind:
    """One fault.

    Attributes:
        unit: Unit of its levels.
        levels: From mild to strong.
        apply: From pixels, a level and a seed to pixels, which may leave 0 to 255.
    """

    unit: str
    levels: tuple[float, ...]
    apply: Callable[[tf.Tensor, float, tf.Tensor], tf.Tensor]


def list_perturbations() -> list[Perturbation]:
    """All kinds at all levels, the mild before the strong."""
    return [Perturbation(name, level) for name, kind in KINDS.items() for level in kind.levels]


def _noise(pixels: tf.Tensor, decibel: float, seed: tf.Tensor) -> tf.Tensor:
    """White Gaussian noise of a peak signal-to-noise ratio: `20 log10(255 / sigma)`."""
    sigma = _WHITE * 10.0 ** (-decibel / 20.0)
    return pixels + sigma * tf.random.stateless_normal(tf.shape(pixels), seed)


def _defocus(pixels: tf.Tensor, radius_px: float, seed: tf.Tensor) -> tf.Tensor:
    """The circle of confusion of a lens out of focus: a disk of even weight."""
    reach = math.ceil(radius_px)
    fine = tf.range((2 * reach + 1) * _OVERSAMPLING, dtype=tf.float32)
    offsets = (fine + 0.5) / _OVERSAMPLING - 0.5 - reach
    inside = tf.square(offsets)[:, None] + tf.square(offsets)[None] <= radius_px**2
    disk = tf.cast(inside, tf.float32)[None, ..., None]
    return _convolve(
        pixels, tf.nn.avg_pool2d(disk, _OVERSAMPLING, _OVERSAMPLING, "VALID")[0, ..., 0]
    )


def _motion(pixels: tf.Tensor, length_px: float, seed: tf.Tensor) -> tf.Tensor:
    """The part moves sideways by so much while the shutter is open."""
    return _convolve(pixels, tf.ones([1, int(length_px)]))


def _convolve(pixels: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    height, width = kernel.shape
    kernel = kernel / tf.reduce_sum(kernel)
    channels = tf.transpose(pixels, [2, 0, 1])[..., None]
    rows = _repeat_edges(channels, height // 2, axis=1)
    padded = _repeat_edges(rows, width // 2, axis=2)
    blurred = tf.nn.conv2d(padded, kernel[..., None, None], 1, "VALID")
    return tf.transpose(blurred[..., 0], [1, 2, 0])


def _repeat_edges(pictures: tf.Tensor, count: int, *, axis: int) -> tf.Tensor:
    if not count:
        return pictures
    first = tf.gather(pictures, [0] * count, axis=axis)
    last = tf.gather(pictures, tf.fill([count], tf.shape(pictures)[axis] - 1), axis=axis)
    return tf.concat([first, pictures, last], axis=axis)


def _gain(pixels: tf.Tensor, per_cent: float, seed: tf.Tensor, *, sign: int) -> tf.Tensor:
    return pixels * (1 + sign * per_cent / 100)


def _uneven_light(pixels: tf.Tensor, per_cent: float, seed: tf.Tensor) -> tf.Tensor:
    """Darker by so much at the left edge, brighter by as much at the right one, evenly between."""
    ramp = tf.linspace(1 - per_cent / 100, 1 + per_cent / 100, tf.shape(pixels)[1])
    return pixels * tf.cast(ramp, tf.float32)[None, :, None]


def _jpeg(pixels: tf.Tensor, quality: float, seed: tf.Tensor) -> tf.Tensor:
    """Once through a JPEG encoder of this quality."""
    encoded = tf.io.encode_jpeg(
        tf.cast(tf.round(pixels), tf.uint8), quality=int(quality), chroma_downsampling=True
    )
    decoded = tf.io.decode_jpeg(encoded, channels=pixels.shape[-1] or 0)
    return tf.cast(decoded, tf.float32)


def _shift(pixels: tf.Tensor, per_cent: float, seed: tf.Tensor) -> tf.Tensor:
    """To the right and down, by so much of each side."""
    share = -per_cent / 100
    return _warp(pixels, [[1.0, 0.0], [0.0, 1.0]], [share, share])


def _rotate(pixels: tf.Tensor, degrees: float, seed: tf.Tensor) -> tf.Tensor:
    """About the centre."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return _warp(pixels, [[cosine, -sine], [sine, cosine]], [0.0, 0.0])


def _warp(pixels: tf.Tensor, matrix: list[list[float]], offset: list[float]) -> tf.Tensor:
    """Takes each point from `matrix` times its place from the centre, plus `offset` sides."""
    size = tf.cast(tf.shape(pixels)[1::-1], tf.float32)
    (a, b), (c, d) = matrix
    x, y = tf.unstack((size - 1) / 2)
    left = x - a * x - b * y + offset[0] * size[0]
    top = y - c * x - d * y + offset[1] * size[1]
    transform = tf.stack([a, b, left, c, d, top, 0.0, 0.0])
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=pixels[None],
        transforms=transform[None],
        output_shape=tf.shape(pixels)[:2],
        interpolation="BILINEAR",
        fill_mode="NEAREST",
        fill_value=0.0,
    )[0]


KINDS = {
    "noise": Kind("dB", (50, 40, 30, 20), _noise),
    "defocus": Kind("px", (1, 2, 3), _defocus),
    "motion": Kind("px", (3, 7, 11), _motion),
    "brighter": Kind("%", (10, 20, 30), functools.partial(_gain, sign=1)),
    "darker": Kind("%", (10, 20, 30), functools.partial(_gain, sign=-1)),
    "uneven light": Kind("%", (10, 20, 30), _uneven_light),
    "JPEG quality": Kind("", (90, 70, 50, 30), _jpeg),
    "shift": Kind("%", (2, 5, 10), _shift),
    "rotation": Kind("degrees", (2, 5, 10), _rotate),
}
