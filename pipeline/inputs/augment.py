"""Augmentation of a batch of pictures: randomness drawn first (`draw`), applied second.

A picture (`apply`) and its boxes (`apply_to_boxes`) so share one draw. All geometric operations of
a line are multiplied into one affine map and the picture is interpolated once; what comes from
outside is its mirror image at the edge. Of a picture with boxes, one box drawn stays in view
whatever crop, shift and rotation say: a picture must not lose the defect that its label names.
Everything works eagerly and inside `tf.data`, and depends on the seed given and on nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from pipeline.inputs import affine
from pipeline.inputs.operations import Operation, window_px

_WHITE = 255.0


@dataclass(frozen=True)
class Draw:
    """What was drawn for one batch.

    Attributes:
        affine: float32 `[batch, 3, 3]`, as `pipeline.inputs.affine` has it.
        offset: float32 `[batch, 1, 1, 1]`, in grey values.
        gain: float32 `[batch, 1, 1, 1]`, about the picture's mean.
        noise: float32 `[batch, 1, 1, 1]`, standard deviation in grey values.
        noise_seed: int32 `[2]`.
    """

    affine: tf.Tensor
    offset: tf.Tensor
    gain: tf.Tensor
    noise: tf.Tensor
    noise_seed: tf.Tensor


def draw(
    operations: tuple[Operation, ...],
    boxes: tf.Tensor,
    seed: tf.Tensor,
    *,
    image_size: int = 0,
    content: tf.Tensor | None = None,
) -> Draw:
    """Draws the randomness for one batch.

    Args:
        operations: As parsed; an operation that stands twice is drawn twice.
        boxes: float32 `[batch, k, 4]`, `k` at least 1; xmin, ymin, xmax, ymax as fractions of the
            picture. Rows without area stand for no box. One box of each picture stays in view.
        seed: int32 or int64 `[2]`; the same seed gives the same draw.
        image_size: Side of the pictures in pixels. This and the next are for `window` alone.
        content: float32 `[batch, 4]`, as `affine.draw_window` takes it.
    """
    batch = boxes.shape[0]
    seeds = tf.random.split(tf.cast(seed, tf.int32), len(operations) + 3)
    box_seed, noise_seed, window_seed = tf.unstack(seeds[-3:])
    matrix = tf.eye(3, batch_shape=[batch])
    if side := window_px(operations):
        # Whatever its place in the line: where it lies is said in the picture's own coordinates.
        matrix = affine.draw_window(content, side / image_size, window_seed)
    offset, gain, noise = tf.zeros([batch]), tf.ones([batch]), tf.zeros([batch])
    for index, operation in enumerate(operations):
        op_seed = seeds[index]
        strength = operation.strength or 0.0
        if operation.name in affine.DRAWS:
            matrix = matrix @ affine.DRAWS[operation.name](batch, op_seed, strength)
        elif operation.name == "brightness":
            offset += affine.uniform(batch, op_seed, -strength, strength) * _WHITE
        elif operation.name == "contrast":
            gain *= affine.uniform(batch, op_seed, 1 - strength, 1 + strength)
        elif operation.name == "noise":
            noise += affine.uniform(batch, op_seed, 0.0, strength) * _WHITE
    kept = _draw_one(boxes, box_seed)
    column = [batch, 1, 1, 1]
    return Draw(
        affine.bring_into_view(matrix, kept),
        tf.reshape(offset, column),
        tf.reshape(gain, column),
        tf.reshape(noise, column),
        noise_seed,
    )


def apply(operations: tuple[Operation, ...], images: tf.Tensor, drawn: Draw) -> tf.Tensor:
    """Applies a draw to a batch of pictures.

    Args:
        operations: The line the draw was made for; says which kinds of work can be left out.
        images: float32 `[batch, height, width, channels]`, 0 to 255.
        drawn: What `draw` returned for this batch.

    Returns:
        float32, clipped to 0 to 255; of the same shape, or of the shape of the windows.
    """
    names = {operation.name for operation in operations}
    geometric = names & {*affine.DRAWS, "window"}
    if geometric <= affine.MIRRORS:
        images = affine.mirror(images, drawn.affine) if geometric else images
    else:
        side = window_px(operations) or images.shape[1]
        images = affine.warp(images, drawn.affine, side)
    if names & {"brightness", "contrast"}:
        mean = tf.reduce_mean(images, axis=[1, 2, 3], keepdims=True)
        images = (images - mean) * drawn.gain + mean + drawn.offset
    if "noise" in names:
        unit = tf.random.stateless_normal(tf.shape(images), drawn.noise_seed)
        images = images + unit * drawn.noise
    return tf.clip_by_value(images, 0.0, _WHITE)


def apply_to_boxes(drawn: Draw, boxes: tf.Tensor) -> tf.Tensor:
    """Applies a draw to the boxes of a batch of pictures.

    Args:
        drawn: What `draw` returned for this batch.
        boxes: float32 `[batch, k, 4]`, as `draw` takes them.

    Returns:
        float32 of the same shape: the smallest upright boxes around the boxes moved and turned, cut
        off at the edges of the picture; all zero where nothing of a box is left or there was none.
    """
    centre, half = affine.hull(drawn.affine, boxes)
    sides = (tf.concat([centre - half, centre + half], axis=-1) + 1) / 2
    seen = tf.clip_by_value(sides, 0.0, 1.0)
    is_seen = affine.is_box(boxes) & affine.is_box(seen)
    return tf.where(is_seen[..., tf.newaxis], seen, 0.0)


def _draw_one(boxes: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """One of the boxes of each picture, float32 `[batch, 4]`; without area where there is none."""
    lots = tf.random.stateless_uniform(boxes.shape[:2], seed)
    chosen = tf.argmax(tf.where(affine.is_box(boxes), lots, -1.0), axis=1)
    return tf.gather(boxes, chosen, batch_dims=1)
