"""Augmentation as a line that a person can read: `flip|rotate(15)|brightness(0.2)`.

Randomness is drawn first (`draw`) and applied second (`apply`), so that a picture and its boxes
can share one draw. All geometric operations of a line are multiplied into one affine map and the
picture is interpolated once. Everything works on a batch, eagerly and inside `tf.data`, and depends
on the seed given and on nothing else.

| operation | what it draws |
| --- | --- |
| `flip` | mirror left and right, or not |
| `vflip` | mirror top and bottom, or not |
| `rot90` | 0, 1, 2 or 3 quarter turns |
| `rotate(D)` | an angle of up to D degrees either way |
| `shift(F)` | an offset of up to the fraction F of the side either way, on each axis |
| `crop(F)` | a square of side F to 1 of the picture's, anywhere inside, stretched to full size |
| `brightness(F)` | an offset of up to F of the full range (255) either way |
| `contrast(F)` | a factor of 1 - F to 1 + F about the picture's mean |
| `noise(F)` | Gaussian noise whose standard deviation is 0 to F of the full range |

What comes from outside the picture is its mirror image at the edge.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import tensorflow as tf

from pipeline import affine
from records.errors import InputError

_WHITE = 255.0


@dataclass(frozen=True)
class Operation:
    """One step of an augmentation line: its name, and its strength where it takes one."""

    name: str
    strength: float | None = None


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


def parse_augmentation(line: str) -> tuple[Operation, ...]:
    """Reads an augmentation line; an empty one means none.

    Raises:
        InputError: An operation is unknown, lacks its strength, has one too many or out of range.
    """
    return tuple(_parse_operation(part.strip(), line) for part in line.split("|") if part.strip())


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


def _parse_operation(part: str, line: str) -> Operation:
    match = re.fullmatch(r"([a-z0-9]+)(?:\(([^()]*)\))?", part)
    known = ", ".join(name if high is None else f"{name}(N)" for name, high in _STRONGEST.items())
    if not match or match[1] not in _STRONGEST:
        raise InputError(
            f"--augment={line!r}: {part!r} is no operation known.",
            f"Join any of these by |: {known}.",
        )
    name, argument, strongest = match[1], match[2], _STRONGEST[match[1]]
    if strongest is None:
        if argument is not None:
            raise InputError(f"--augment={line!r}: {name} takes no number.", f"Write {name}.")
        return Operation(name)
    try:
        strength = float(argument or "")
    except ValueError:
        strength = math.nan
    if not 0 < strength <= strongest:
        raise InputError(
            f"--augment={line!r}: {part!r} needs a number above 0 and up to {strongest:g}.",
            f"For instance {name}({strongest / 4:g}).",
        )
    return Operation(name, strength)


# The largest strength that still means something; None where there is none.
_STRONGEST: dict[str, float | None] = {
    "flip": None,
    "vflip": None,
    "rot90": None,
    "rotate": 180.0,
    "shift": 0.5,
    "crop": 1.0,
    "brightness": 1.0,
    "contrast": 1.0,
    "noise": 1.0,
}
