"""Small records and tables of flat pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from pipeline.inputs.pictures import PictureReader, PictureTable
from records import schema
from records.types import AnnotatedObject, BoundingBox, Example

SIDE = 8


def decode(encoded: tf.Tensor) -> tf.Tensor:
    pixels = tf.io.decode_png(encoded, channels=1)
    return tf.ensure_shape(tf.cast(pixels, tf.float32), [SIDE, SIDE, 1])


READER = PictureReader(decode, lambda boxes, width, height: boxes)


def write_flat(path: Path, labels: Sequence[int], *, classes: int) -> None:
    """Writes records of flat pictures; grey value 10 times the label, one box for each unit of it.

    Box number i of a picture is one pixel in row i.
    """
    names = [str(n) for n in range(classes)]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for label in labels:
            buffer = io.BytesIO()
            Image.new("L", (SIDE, SIDE), 10 * label).save(buffer, "PNG")
            objects = tuple(
                AnnotatedObject("spot", BoundingBox(2, row, 3, row + 1))
                for row in range(label % SIDE)
            )
            example = Example(
                f"{label}.png", "png", False, SIDE, SIDE, True, 64, "", str(label), objects, None
            )
            writer.write(
                schema.encode_example(
                    example, buffer.getvalue(), classes=names, box_classes=("spot",)
                )
            )


def write_two_shards(folder: Path, *, count: int) -> list[Path]:
    """Two shards as `write_flat` makes them, with the labels 0 to `count - 1` in order."""
    paths = [folder / "a", folder / "b"]
    write_flat(paths[0], range(count // 2), classes=count)
    write_flat(paths[1], range(count // 2, count), classes=count)
    return paths


def make_table(path: Path, images: np.ndarray, boxes: np.ndarray | None = None) -> PictureTable:
    """A table of given pictures, float `[n, side, side, channels]`, labelled by their numbers."""
    stored = np.rint(images * 257).astype(np.uint16)
    stored.tofile(path)
    count = len(images)
    boxes = np.zeros((count, 1, 4), np.float32) if boxes is None else boxes
    return PictureTable(
        images=np.memmap(path, np.uint16, mode="r", shape=images.shape),
        labels=np.arange(count),
        boxes=boxes,
        box_labels=np.array(boxes.any(axis=-1), np.int64),
        content=np.tile(np.array([0, 0, 1, 1], np.float32), (count, 1)),
    )
