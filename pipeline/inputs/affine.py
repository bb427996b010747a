"""Affine maps drawn for a batch of pictures, the boxes under them, and the one resampling.

A map is float32 `[batch, 3, 3]` and takes homogeneous output coordinates to input coordinates, both
with the picture's centre as 0 and its edges as -1 and 1 (x right, y down). Maps of operations that
follow one another are multiplied.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf

_LOG_LARGEST_WINDOW = math.log(4 / 3)  # times as large as asked for; the smallest 3/4
# Of a window's side, how much must lie on what shows the picture: edges are to be seen too.
_WINDOW_INSIDE = 0.6


def uniform(batch: int, seed: tf.Tensor, low: float, high: float) -> tf.Tensor:
    """One number from `low` to `high` for each picture of the batch, float32 `[batch]`."""
    return tf.random.stateless_uniform([batch], seed, low, high)


def _sign(batch: int, seed: tf.Tensor) -> tf.Tensor:
    return tf.where(uniform(batch, seed, 0.0, 1.0) < 0.5, -1.0, 1.0)


def _matrix(a: tf.Tensor, b: tf.Tensor, c: tf.Tensor, d: tf.Tensor) -> tf.Tensor:
    """[[a, b, 0], [c, d, 0], [0, 0, 1]] for each picture of the batch."""
    zero, one = tf.zeros_like(a), tf.ones_like(a)
    rows = ([a, b, zero], [c, d, zero], [zero, zero, one])
    return tf.stack([tf.stack(row, -1) for row in rows], 1)


def _translation(x: tf.Tensor, y: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """[[scale, 0, x], [0, scale, y], [0, 0, 1]] for each picture of the batch."""
    zero, one = tf.zeros_like(x), tf.ones_like(x)
    rows = ([scale, zero, x], [zero, scale, y], [zero, zero, one])
    return tf.stack([tf.stack(row, -1) for row in rows], 1)


def _flip(batch: int, seed: tf.Tensor, strength: float) -> tf.Tensor:
    sign = _sign(batch, seed)
    zero = tf.zeros_like(sign)
    return _matrix(sign, zero, zero, tf.ones_like(sign))


def _vflip(batch: int, seed: tf.Tensor, strength: float) -> tf.Tensor:
    sign = _sign(batch, seed)
    zero = tf.zeros_like(sign)
    return _matrix(tf.ones_like(sign), zero, zero, sign)


def _rot90(batch: int, seed: tf.Tensor, strength: float) -> tf.Tensor:
    turns = tf.random.stateless_uniform([batch], seed, 0, 4, tf.int32)
    # Looked up, not computed: the sine of pi is not quite 0, and a quarter turn must be exact.
    cosine = tf.gather(tf.constant([1.0, 0.0, -1.0, 0.0]), turns)
    sine = tf.gather(tf.constant([0.0, 1.0, 0.0, -1.0]), turns)
    return _matrix(cosine, -sine, sine, cosine)


def _rotate(batch: int, seed: tf.Tensor, strength: float) -> tf.Tensor:
    angle = uniform(batch, seed, -strength, strength) * (math.pi / 180)
    return _matrix(tf.cos(angle), -tf.sin(angle), tf.sin(angle), tf.cos(angle))


def _shift(batch: int, seed: tf.Tensor, strength: float) -> tf.Tensor:
    both = tf.random.stateless_uniform([2, batch], seed, -2 * strength, 2 * strength)
    return _translation(both[0], both[1], tf.ones([batch]))


def _crop(batch: int, seed: tf.Tensor, strength: float) -> tf.Tensor:
    unit = tf.random.stateless_uniform([3, batch], seed)
    scale = strength + unit[0] * (1 - strength)
    return _translation((2 * unit[1] - 1) * (1 - scale), (2 * unit[2] - 1) * (1 - scale), scale)


def draw_window(content: tf.Tensor, fraction: float, seed: tf.Tensor) -> tf.Tensor:
    """A window somewhere on what shows the picture: the maps to start from in place of 1.

    Args:
        content: float32 `[batch, 4]`; xmin, ymin, xmax, ymax of what shows the picture, as
            fractions of the model's input. A window reaches beyond it by a fifth of its side.
        fraction: Side of the window as a fraction of the model's input.
        seed: int32 `[2]`.

    Returns:
        float32 `[batch, 3, 3]`.
    """
    unit = tf.random.stateless_uniform([3, content.shape[0]], seed, -1.0, 1.0)
    scale = fraction * tf.exp(unit[0] * _LOG_LARGEST_WINDOW)
    middle = content[:, :2] + content[:, 2:] - 1
    reach = content[:, 2:] - content[:, :2]
    room = tf.maximum(reach - _WINDOW_INSIDE * scale[:, tf.newaxis], 0.0)
    centre = middle + room * tf.transpose(unit[1:])
    return _translation(centre[:, 0], centre[:, 1], scale)


def hull(matrix: tf.Tensor, boxes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Where boxes come to lie in the output: the smallest upright boxes around them.

    Args:
        matrix: float32 `[batch, 3, 3]`; can be inverted, as every map drawn here can.
        boxes: float32 `[batch, k, 4]`; xmin, ymin, xmax, ymax as fractions of the input.

    Returns:
        Centres and half sides, float32 `[batch, k, 2]`, x first, in output coordinates; they may
        reach beyond the picture.
    """
    inverse = tf.linalg.inv(matrix)
    low, high = 2 * boxes[..., :2] - 1, 2 * boxes[..., 2:] - 1
    turn, move = inverse[:, :2, :2], inverse[:, tf.newaxis, :2, 2]
    centre = tf.linalg.matmul((low + high) / 2, turn, transpose_b=True) + move
    half = tf.linalg.matmul((high - low) / 2, tf.abs(turn), transpose_b=True)
    return centre, half


def bring_into_view(matrix: tf.Tensor, boxes: tf.Tensor) -> tf.Tensor:
    """Moves maps by the least that brings a box wholly into view, on each axis by itself.

    On an axis on which the box is larger than the view, the view is brought into the box. A map
    of which that is true already stays as it is. A crop without rotation or shift stays inside of
    the picture.

    Args:
        matrix: float32 `[batch, 3, 3]`.
        boxes: float32 `[batch, 4]`, as `hull` takes them. A box without area asks for nothing.

    Returns:
        float32 `[batch, 3, 3]`.
    """
    centre, half = (part[:, 0] for part in hull(matrix, boxes[:, tf.newaxis]))
    room = tf.abs(1 - half)
    move = tf.clip_by_value(centre, -room, room) - centre
    move = tf.where(is_box(boxes)[:, tf.newaxis], move, 0.0)
    return matrix @ _translation(-move[:, 0], -move[:, 1], tf.ones_like(move[:, 0]))


def is_box(boxes: tf.Tensor) -> tf.Tensor:
    """Whether a box has an area, bool `[...]` for float32 `[..., 4]`."""
    return tf.reduce_all(boxes[..., 2:] > boxes[..., :2], axis=-1)


DRAWS: dict[str, Callable[[int, tf.Tensor, float], tf.Tensor]] = {
    "flip": _flip,
    "vflip": _vflip,
    "rot90": _rot90,
    "rotate": _rotate,
    "shift": _shift,
    "crop": _crop,
}


MIRRORS = frozenset({"flip", "vflip"})
"""What moves every value to the middle of another pixel, so that nothing has to be resampled."""


def mirror(images: tf.Tensor, affine: tf.Tensor) -> tf.Tensor:
    """What `warp` makes of `[batch, h, w, c]` by maps of `MIRRORS` alone."""
    for axis, place in ((2, 0), (1, 1)):
        is_mirrored = tf.reshape(affine[:, place, place] < 0, [-1, 1, 1, 1])
        images = tf.where(is_mirrored, tf.reverse(images, [axis]), images)
    return images


def warp(images: tf.Tensor, affine: tf.Tensor, side: int) -> tf.Tensor:
    """Resamples `[batch, h, w, c]` bilinearly through `affine`, mirroring at the edge.

    Returns:
        float32 `[batch, side, side, c]`.
    """
    height, width = images.shape[1], images.shape[2]
    # Pixel i has its centre at (2 i + 1) / n - 1 in the coordinates of the draw.
    to_unit = tf.constant(
        [[2 / side, 0, 1 / side - 1], [0, 2 / side, 1 / side - 1], [0, 0, 1]], tf.float32
    )
    to_pixel = tf.constant(
        [[width / 2, 0, (width - 1) / 2], [0, height / 2, (height - 1) / 2], [0, 0, 1]], tf.float32
    )
    matrix = tf.reshape(to_pixel @ affine @ to_unit, [-1, 9])[:, :8]
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=matrix,
        output_shape=[side, side],
        interpolation="BILINEAR",
        fill_mode="REFLECT",
        fill_value=0.0,
    )
