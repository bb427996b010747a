"""The TFRecord contract: what a record holds, written and read.

The keys are those of the TensorFlow Object Detection API (`tf_example_decoder.py` in
tensorflow/models, research/object_detection), so that its decoders read our files. Labels differ as
the two worlds do: `image/class/label` counts from 0 like a TensorFlow Datasets `ClassLabel`,
`image/object/class/label` from 1 like a label map, whose 0 is the background. The names stand
beside both. Boxes become fractions of the picture here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Final

import tensorflow as tf

from records.types import Example

ENCODED: Final = "image/encoded"
FORMAT: Final = "image/format"
HEIGHT: Final = "image/height"
WIDTH: Final = "image/width"
FILENAME: Final = "image/filename"
SOURCE_ID: Final = "image/source_id"
SHA256: Final = "image/key/sha256"
LABEL: Final = "image/class/label"
LABEL_TEXT: Final = "image/class/text"
BOX_SIDES: Final = tuple(f"image/object/bbox/{side}" for side in ("xmin", "ymin", "xmax", "ymax"))
BOX_LABEL: Final = "image/object/class/label"
BOX_TEXT: Final = "image/object/class/text"
DIFFICULT: Final = "image/object/difficult"
TRUNCATED: Final = "image/object/truncated"

_PARSED: Final = {
    ENCODED: tf.io.FixedLenFeature([], tf.string),
    LABEL: tf.io.FixedLenFeature([], tf.int64),
    SOURCE_ID: tf.io.FixedLenFeature([], tf.string),
    WIDTH: tf.io.FixedLenFeature([], tf.int64),
    HEIGHT: tf.io.FixedLenFeature([], tf.int64),
    BOX_TEXT: tf.io.FixedLenSequenceFeature([], tf.string, allow_missing=True),
    **{
        side: tf.io.FixedLenSequenceFeature([], tf.float32, allow_missing=True)
        for side in BOX_SIDES
    },
}


def encode_example(
    example: Example, encoded: bytes, *, classes: Sequence[str], box_classes: Sequence[str]
) -> bytes:
    """Encodes a picture and what is known of it as a serialised `tf.train.Example`.

    Args:
        example: What is known; its boxes lie inside the picture.
        encoded: The picture's own bytes, stored as they are.
        classes: Holds `example.label`; its index is the label.
        box_classes: Holds the names of all boxes; index + 1 is a box's label.

    Returns:
        The same bytes for the same arguments.

    Raises:
        ValueError: A class name is not in its list.
    """
    boxes = [item.box for item in example.objects]
    names = [item.name for item in example.objects]
    features = {
        ENCODED: _bytes([encoded]),
        FORMAT: _text([example.image_format]),
        HEIGHT: _int64([example.height]),
        WIDTH: _int64([example.width]),
        FILENAME: _text([PurePosixPath(example.source_id).name]),
        SOURCE_ID: _text([example.source_id]),
        SHA256: _text([example.sha256]),
        LABEL: _int64([classes.index(example.label)]),
        LABEL_TEXT: _text([example.label]),
        BOX_SIDES[0]: _float(box.xmin / example.width for box in boxes),
        BOX_SIDES[1]: _float(box.ymin / example.height for box in boxes),
        BOX_SIDES[2]: _float(box.xmax / example.width for box in boxes),
        BOX_SIDES[3]: _float(box.ymax / example.height for box in boxes),
        BOX_LABEL: _int64(box_classes.index(name) + 1 for name in names),
        BOX_TEXT: _text(names),
        DIFFICULT: _int64(int(item.difficult) for item in example.objects),
        TRUNCATED: _int64(int(item.truncated) for item in example.objects),
    }
    record = tf.train.Example(features=tf.train.Features(feature=features))
    # The features are a protobuf map: without the flag its order is whatever the hash gives.
    return record.SerializeToString(deterministic=True)


def parse_record(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """Decodes one record; for `tf.data.Dataset.map`. The picture stays encoded.

    Args:
        serialized: A serialised `tf.train.Example`, tf.string scalar.

    Returns:
        `encoded` tf.string []; `label` tf.int64 [], from 0; `source_id` tf.string []; `width` and
        `height` tf.int64 [] in pixels; `boxes` tf.float32 [n, 4], xmin, ymin, xmax, ymax as
        fractions of the picture in 0..1; `box_names` tf.string [n].
    """
    parsed = tf.io.parse_single_example(serialized, _PARSED)
    return {
        "encoded": parsed[ENCODED],
        "label": parsed[LABEL],
        "source_id": parsed[SOURCE_ID],
        "width": parsed[WIDTH],
        "height": parsed[HEIGHT],
        "boxes": tf.stack([parsed[side] for side in BOX_SIDES], axis=-1),
        "box_names": parsed[BOX_TEXT],
    }


def _bytes(values: Iterable[bytes]) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def _text(values: Iterable[str]) -> tf.train.Feature:
    return _bytes([value.encode() for value in values])


def _float(values: Iterable[float]) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def _int64(values: Iterable[int]) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
