"""Records read back without TensorFlow."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from records.parsing import parse_record
from records.schema import Record, decode_example, encode_example
from records.types import AnnotatedObject, BoundingBox, Example

CLASSES = ("crazing", "übrige")
BOX_CLASSES = ("patches", "void")
EXAMPLE = Example(
    source_id="train/übrige/p 1.jpg",
    image_format="jpeg",
    is_converted=False,
    width=200,
    height=100,
    is_grey=True,
    size_bytes=5,
    sha256="0a" * 32,
    label="übrige",
    objects=(
        AnnotatedObject("void", BoundingBox(10, 20.25, 30, 40.125), difficult=True),
        AnnotatedObject("patches", BoundingBox(0, 0, 200, 100), truncated=True),
    ),
    published_split="train",
)


def encode(example: Example) -> bytes:
    return encode_example(example, b"bytes", classes=CLASSES, box_classes=BOX_CLASSES)


def test_every_part_of_a_record_comes_back() -> None:
    assert decode_example(encode(EXAMPLE)) == Record(
        encoded=b"bytes",
        image_format="jpeg",
        width=200,
        height=100,
        filename="p 1.jpg",
        source_id="train/übrige/p 1.jpg",
        sha256="0a" * 32,
        label="übrige",
        objects=EXAMPLE.objects,
    )
    plain = dataclasses.replace(EXAMPLE, objects=())
    assert decode_example(encode(plain)).objects == ()


def with_box(width: int, height: int, *bounds: float) -> Example:
    item = AnnotatedObject("void", BoundingBox(*bounds))
    return dataclasses.replace(EXAMPLE, width=width, height=height, objects=(item,))


@given(st.data(), st.integers(1, 2**20), st.integers(1, 2**20))
def test_whole_pixels_come_back_as_they_were(data: st.DataObject, width: int, height: int) -> None:
    xmin, xmax = sorted(data.draw(st.tuples(st.integers(0, width), st.integers(0, width))))
    ymin, ymax = sorted(data.draw(st.tuples(st.integers(0, height), st.integers(0, height))))
    example = with_box(width, height, xmin, ymin, xmax, ymax)
    assert decode_example(encode(example)).objects == example.objects


@given(st.integers(1, 5000), st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_what_was_read_encodes_to_the_same_record(size: int, parts: list[float]) -> None:
    low, high, bottom, top = (part * size for part in parts)
    xmin, xmax = sorted((low, high))
    ymin, ymax = sorted((bottom, top))
    record = encode(with_box(size, size, xmin, ymin, xmax, ymax))
    objects = decode_example(record).objects
    assert encode(dataclasses.replace(with_box(size, size, 0, 0, 1, 1), objects=objects)) == record
    [box] = [item.box for item in objects]
    for before, after in ((xmin, box.xmin), (ymin, box.ymin), (xmax, box.xmax), (ymax, box.ymax)):
        assert math.isclose(before, after, abs_tol=1e-3)


def test_fractions_come_back_with_as_few_decimals_as_tell_them_apart() -> None:
    example = with_box(640, 480, 10.1, 1 / 3, 99.125, 479.9999)
    [box] = [item.box for item in decode_example(encode(example)).objects]
    assert (box.xmin, box.xmax) == (10.1, 99.125)
    assert math.isclose(box.ymin, 1 / 3, rel_tol=1e-7)
    assert len(str(box.ymin)) < 11
    assert box.ymin < box.ymax == 479.9999


def test_a_pipeline_reads_the_same() -> None:
    record = encode(EXAMPLE)
    parsed = {key: value.numpy() for key, value in parse_record(tf.constant(record)).items()}
    decoded = decode_example(record)
    assert parsed["encoded"] == decoded.encoded
    assert parsed["source_id"].decode() == decoded.source_id
    assert CLASSES[parsed["label"]] == decoded.label
    pixels = parsed["boxes"] * np.array([200, 100, 200, 100], np.float64)
    boxes = [dataclasses.astuple(item.box) for item in decoded.objects]
    np.testing.assert_allclose(pixels, boxes, atol=1e-3)


def change(key: str, value: tf.train.Feature | None) -> bytes:
    message = tf.train.Example.FromString(encode(EXAMPLE))
    if value is None:
        del message.features.feature[key]
    else:
        message.features.feature[key].CopyFrom(value)
    return bytes(message.SerializeToString())


def texts(*values: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def numbers(*values: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def floats(*values: float) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("image/encoded", None, "it has no image/encoded"),
        ("image/object/difficult", None, "it has no image/object/difficult"),
        ("image/width", texts(b"200"), "image/width is no int64_list"),
        ("image/width", tf.train.Feature(), "image/width is no int64_list"),
        ("image/width", numbers(0), "are 0 and 100"),
        ("image/height", numbers(1, 2), "image/height has 2 values instead of one"),
        ("image/format", texts(b"gif"), "image/format is 'gif'"),
        ("image/filename", texts(b"\xff"), "image/filename is no UTF-8"),
        ("image/class/text", texts(), "image/class/text has 0 values instead of one"),
        ("image/class/label", numbers(-1), "image/class/label is negative"),
        ("image/key/sha256", texts(b"ab"), "image/key/sha256 is 'ab'"),
        ("image/object/class/text", texts(b"void"), "differ in length"),
        ("image/object/class/label", numbers(1, 1, 1), "differ in length"),
        ("image/object/bbox/xmin", floats(0.1), "differ in length"),
        ("image/object/bbox/xmin", floats(0.1, 1.5), "is no part of 0..1"),
        ("image/object/bbox/xmin", floats(0.1, math.nan), "is no part of 0..1"),
        ("image/object/bbox/ymax", floats(0.1, 1.0), "is no part of 0..1"),
        ("image/object/bbox/ymax", floats(0.4, -0.1), "is no part of 0..1"),
        ("image/object/truncated", numbers(0, 2), "are not 0 or 1"),
    ],
)
def test_a_record_of_others_is_refused_by_name(
    key: str, value: tf.train.Feature | None, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        decode_example(change(key, value))


@given(st.binary(max_size=100))
def test_any_bytes_are_refused(record: bytes) -> None:
    with pytest.raises(ValueError, match=r"no tf\.train\.Example|it has no"):
        decode_example(record)


@given(st.data())
def test_a_damaged_record_is_refused_or_has_the_form_of_one(data: st.DataObject) -> None:
    record = bytearray(encode(EXAMPLE))
    for _ in range(data.draw(st.integers(1, 3))):
        record[data.draw(st.integers(0, len(record) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = decode_example(bytes(record))
    except ValueError:
        return
    for item in decoded.objects:
        assert 0 <= item.box.xmin <= item.box.xmax <= decoded.width
        assert 0 <= item.box.ymin <= item.box.ymax <= decoded.height
