"""Augmentation of a batch of pictures: randomness drawn first (`draw`), applied second (`apply`).

A picture and its boxes can so share one draw. All geometric operations of a line are multiplied
into one affine map and the picture is interpolated once; what comes from outside is its mirror
image at the edge. Everything works eagerly and inside `tf.data`, and depends on the seed given and
on nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from pipeline import affine
from pipeline.operations import Operation

_WHITE = 255.0


@dataclass(frozen=True)
class Draw:
    """What was drawn for one batch.

    Attributes:
        affine: float32 `[batch, 3, 3]`, as `pipeline.affine` has it.
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


def draw(operations: tuple[Operation, ...], batch: int, seed: tf.Tensor) -> Draw:
    """Draws the randomness for one batch.

    Args:
        operations: As parsed; an operation that stands twice is drawn twice.
        batch: Number of pictures.
        seed: int32 or int64 `[2]`; the same seed gives the same draw.
    """
    seeds = tf.random.split(tf.cast(seed, tf.int32), len(operations) + 1)
    matrix = tf.eye(3, batch_shape=[batch])
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
        else:
            noise += affine.uniform(batch, op_seed, 0.0, strength) * _WHITE
    column = [batch, 1, 1, 1]
    return Draw(
        matrix,
        tf.reshape(offset, column),
        tf.reshape(gain, column),
        tf.reshape(noise, column),
        seeds[-1],
    )


def apply(operations: tuple[Operation, ...], images: tf.Tensor, drawn: Draw) -> tf.Tensor:
    """Applies a draw to a batch of pictures.

    Args:
        operations: The line the draw was made for; says which kinds of work can be left out.
        images: float32 `[batch, height, width, channels]`, 0 to 255.
        drawn: What `draw` returned for this batch.

    Returns:
        float32 of the same shape, clipped to 0 to 255.
    """
    names = {operation.name for operation in operations}
    if names & set(affine.DRAWS):
        images = affine.warp(images, drawn.affine)
    if names & {"brightness", "contrast"}:
        mean = tf.reduce_mean(images, axis=[1, 2, 3], keepdims=True)
        images = (images - mean) * drawn.gain + mean + drawn.offset
    if "noise" in names:
        unit = tf.random.stateless_normal(tf.shape(images), drawn.noise_seed)
        images = images + unit * drawn.noise
    return tf.clip_by_value(images, 0.0, _WHITE)
