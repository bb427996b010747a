"""The TFRecord contract: what a record holds, encoded and decoded. Needs no TensorFlow.

The keys are those of the TensorFlow Object Detection API (`tf_example_decoder.py` in
tensorflow/models, research/object_detection), so that its decoders read our files. Labels differ as
the two worlds do: `image/class/label` counts from 0 like a TensorFlow Datasets `ClassLabel`,
`image/object/class/label` from 1 like a label map, whose 0 is the background. The names stand
beside both. Boxes become fractions of the picture here and nowhere else.

`records.parsing` reads the same records inside a `tf.data` pipeline.
"""

from __future__ import annotations

import functools
import hashlib
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from records import example_proto
from records.example_proto import (
    get_bytes,
    get_floats,
    get_int64s,
    get_texts,
    parse_features,
    put_bytes,
    put_floats,
    put_int64s,
    put_texts,
)
from records.types import AnnotatedObject, BoundingBox, Example

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

_FORMATS: Final = ("jpeg", "png", "bmp")
_SHA256: Final = re.compile("[0-9a-f]{64}")
_FLOAT32: Final = struct.Struct("<f")
_DECIMALS_AT_MOST: Final = 12


@dataclass(frozen=True, slots=True)
class Record:
    """What one record holds.

    Attributes:
        encoded: The picture's bytes as stored.
        image_format: `jpeg`, `png` or `bmp`: what they are.
        width: In pixels, as they decode.
        height: In pixels, likewise.
        filename: Name of the picture's file when the record was written.
        source_id: Its path below the data folder, with forward slashes.
        sha256: Of `encoded`, in hexadecimal.
        label: Class name of the whole picture.
        objects: Its boxes, in pixels, 0-based and half-open. Each number is the shortest decimal
            that is stored as the same fraction: whole numbers come back as they were written.
    """

    encoded: bytes
    image_format: str
    width: int
    height: int
    filename: str
    source_id: str
    sha256: str
    label: str
    objects: tuple[AnnotatedObject, ...]


def encode_example(
    example: Example, encoded: bytes, *, classes: Sequence[str], box_classes: Sequence[str]
) -> bytes:
    """Encodes a picture and what is known of it as a serialised `tf.train.Example`.

    Args:
        example: What is known; its boxes lie inside the picture.
        encoded: The picture's bytes to be stored: those of `example.sha256`, or those they were
            converted to when `example.is_converted`.
        classes: Holds `example.label`; its index is the label. A tuple is looked up fastest.
        box_classes: Holds the names of all boxes; index + 1 is a box's label.

    Returns:
        The same bytes for the same arguments, those of TensorFlow's deterministic serialisation.

    Raises:
        ValueError: A class name is not in its list.
    """
    objects = example.objects
    boxes = [item.box for item in objects]
    names = [item.name for item in objects]
    stored_sha256 = hashlib.sha256(encoded).hexdigest() if example.is_converted else example.sha256
    message = example_proto.Example()
    features = message.features.feature
    put_bytes(features, ENCODED, (encoded,))
    put_texts(features, FORMAT, (example.image_format,))
    put_int64s(features, HEIGHT, (example.height,))
    put_int64s(features, WIDTH, (example.width,))
    put_texts(features, FILENAME, (example.source_id.rpartition("/")[2],))
    put_texts(features, SOURCE_ID, (example.source_id,))
    put_texts(features, SHA256, (stored_sha256,))
    put_int64s(features, LABEL, _find((example.label,), classes))
    put_texts(features, LABEL_TEXT, (example.label,))
    put_floats(features, BOX_SIDES[0], [box.xmin / example.width for box in boxes])
    put_floats(features, BOX_SIDES[1], [box.ymin / example.height for box in boxes])
    put_floats(features, BOX_SIDES[2], [box.xmax / example.width for box in boxes])
    put_floats(features, BOX_SIDES[3], [box.ymax / example.height for box in boxes])
    put_int64s(features, BOX_LABEL, [index + 1 for index in _find(names, box_classes)])
    put_texts(features, BOX_TEXT, names)
    put_int64s(features, DIFFICULT, [int(item.difficult) for item in objects])
    put_int64s(features, TRUNCATED, [int(item.truncated) for item in objects])
    # The features are a protobuf map: without the flag its order is whatever the hash gives.
    serialized: bytes = message.SerializeToString(deterministic=True)
    return serialized


def decode_example(record: bytes) -> Record:
    """Decodes what `encode_example` made.

    Whether the picture's bytes are those of its SHA-256 is not looked at: a shard's checksums, and
    `manifest.verify_shards`, prove it for all records at once.

    Raises:
        ValueError: It is no `tf.train.Example`, or not one of ours; the text names the feature.
    """
    features = parse_features(record)
    width, height = (_get_one(get_int64s, features, key) for key in (WIDTH, HEIGHT))
    image_format, sha256 = (_get_one(get_texts, features, key) for key in (FORMAT, SHA256))
    _require(width > 0 and height > 0, f"{WIDTH} and {HEIGHT} are {width} and {height}")
    _require(image_format in _FORMATS, f"{FORMAT} is {image_format!r}")
    _require(bool(_SHA256.fullmatch(sha256)), f"{SHA256} is {sha256!r}")
    _require(_get_one(get_int64s, features, LABEL) >= 0, f"{LABEL} is negative")
    return Record(
        encoded=_get_one(get_bytes, features, ENCODED),
        image_format=image_format,
        width=width,
        height=height,
        filename=_get_one(get_texts, features, FILENAME),
        source_id=_get_one(get_texts, features, SOURCE_ID),
        sha256=sha256,
        label=_get_one(get_texts, features, LABEL_TEXT),
        objects=_get_objects(features, width, height),
    )


def _find(names: Iterable[str], classes: Sequence[str]) -> list[int]:
    indices = _index(tuple(classes))
    try:
        return [indices[name] for name in names]
    except KeyError as error:
        raise ValueError(f"{error} is not in the classes {', '.join(classes)}") from error


@functools.lru_cache(maxsize=8)
def _index(classes: tuple[str, ...]) -> dict[str, int]:
    return {name: index for index, name in enumerate(classes)}


def _get_one(get: Any, features: Any, key: str) -> Any:
    values = get(features, key)
    _require(len(values) == 1, f"{key} has {len(values)} values instead of one")
    return values[0]


def _get_objects(features: Any, width: int, height: int) -> tuple[AnnotatedObject, ...]:
    sides = [get_floats(features, key) for key in BOX_SIDES]
    names = get_texts(features, BOX_TEXT)
    flags = [get_int64s(features, key) for key in (DIFFICULT, TRUNCATED)]
    labels = get_int64s(features, BOX_LABEL)
    counts = {len(names), len(labels), *map(len, flags), *map(len, sides)}
    _require(len(counts) == 1, "the lists of its boxes differ in length")
    _require({*flags[0], *flags[1]} <= {0, 1}, f"{DIFFICULT} and {TRUNCATED} are not 0 or 1")
    return tuple(
        AnnotatedObject(name, _to_pixels(box, width, height), bool(difficult), bool(truncated))
        for name, box, difficult, truncated in zip(
            names, zip(*sides, strict=True), *flags, strict=True
        )
    )


def _to_pixels(box: tuple[float, ...], width: int, height: int) -> BoundingBox:
    xmin, ymin, xmax, ymax = box
    _require(0 <= xmin <= xmax <= 1 and 0 <= ymin <= ymax <= 1, f"the box {box} is no part of 0..1")
    return BoundingBox(
        *(
            _shorten(fraction, size)
            for fraction, size in zip(box, (width, height, width, height), strict=True)
        )
    )


def _shorten(fraction: float, size: int) -> float:
    """The number of pixels with the fewest decimals of which `fraction` of `size` was made."""
    value = fraction * size
    for decimals in range(_DECIMALS_AT_MOST + 1):
        rounded = round(value, decimals)
        if _FLOAT32.unpack(_FLOAT32.pack(rounded / size))[0] == fraction:
            return rounded
    return value


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise ValueError(problem)
