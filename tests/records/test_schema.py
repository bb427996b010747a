from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from records.parsing import parse_record
from records.schema import decode_example, encode_example
from records.types import AnnotatedObject, BoundingBox, Example

CLASSES = ("crazing", "patches", "übrige")
BOX_CLASSES = ("patches", "void")
EXAMPLE = Example(
    source_id="train/patches/p 1.jpg",
    image_format="jpeg",
    is_converted=False,
    width=200,
    height=100,
    is_grey=True,
    size_bytes=5,
    sha256="ab" * 32,
    label="patches",
    objects=(
        AnnotatedObject("void", BoundingBox(10, 20, 30, 40), difficult=True),
        AnnotatedObject("patches", BoundingBox(0, 0, 200, 100), truncated=True),
    ),
    published_split="train",
)


def encode(example: Example, encoded: bytes = b"bytes") -> bytes:
    return encode_example(example, encoded, classes=CLASSES, box_classes=BOX_CLASSES)


def test_every_key_of_the_contract_and_no_other() -> None:
    feature = tf.train.Example.FromString(encode(EXAMPLE)).features.feature
    text = {key: list(value.bytes_list.value) for key, value in feature.items()}
    number = {key: list(value.int64_list.value) for key, value in feature.items()}
    fraction = {key: np.array(value.float_list.value, np.float32) for key, value in feature.items()}
    assert set(feature) == {
        *(f"image/{key}" for key in ("encoded", "format", "height", "width", "filename")),
        *("image/source_id", "image/key/sha256", "image/class/label", "image/class/text"),
        *(f"image/object/bbox/{key}" for key in ("xmin", "xmax", "ymin", "ymax")),
        *("image/object/class/text", "image/object/class/label"),
        *("image/object/difficult", "image/object/truncated"),
    }
    assert text["image/encoded"] == [b"bytes"]
    assert text["image/format"] == [b"jpeg"]
    assert text["image/filename"] == [b"p 1.jpg"]
    assert text["image/source_id"] == [b"train/patches/p 1.jpg"]
    assert text["image/key/sha256"] == [b"ab" * 32]
    assert text["image/class/text"] == [b"patches"]
    assert text["image/object/class/text"] == [b"void", b"patches"]
    assert number["image/height"] == [100]
    assert number["image/width"] == [200]
    assert number["image/class/label"] == [1], "from 0, as a ClassLabel"
    assert number["image/object/class/label"] == [2, 1], "from 1, as a label map"
    assert number["image/object/difficult"] == [1, 0]
    assert number["image/object/truncated"] == [0, 1]
    np.testing.assert_array_equal(
        fraction["image/object/bbox/xmin"], np.array([10 / 200, 0], np.float32)
    )
    np.testing.assert_array_equal(
        fraction["image/object/bbox/xmax"], np.array([30 / 200, 1], np.float32)
    )
    np.testing.assert_array_equal(
        fraction["image/object/bbox/ymin"], np.array([20 / 100, 0], np.float32)
    )
    np.testing.assert_array_equal(
        fraction["image/object/bbox/ymax"], np.array([40 / 100, 1], np.float32)
    )


def test_parse_record_in_a_pipeline_gives_back_what_was_encoded() -> None:
    plain = dataclasses.replace(EXAMPLE, objects=(), label="übrige", source_id="ü/ä.png")
    data = tf.data.Dataset.from_tensor_slices([encode(EXAMPLE), encode(plain, b"other")])
    first, second = data.map(parse_record).as_numpy_iterator()
    assert first["encoded"] == b"bytes"
    assert (first["label"], first["width"], first["height"]) == (1, 200, 100)
    assert first["source_id"].decode() == "train/patches/p 1.jpg"
    np.testing.assert_array_equal(
        first["boxes"], np.array([[0.05, 0.2, 0.15, 0.4], [0, 0, 1, 1]], np.float32)
    )
    assert list(first["box_names"]) == [b"void", b"patches"]
    assert second["source_id"].decode() == "ü/ä.png"
    assert second["label"] == 2
    assert second["boxes"].shape == (0, 4)
    assert second["boxes"].dtype == np.float32
    assert second["box_names"].shape == (0,)


def test_static_shapes_let_a_pipeline_batch_and_pad() -> None:
    data = tf.data.Dataset.from_tensor_slices([encode(EXAMPLE)]).map(parse_record)
    spec = data.element_spec
    assert spec["boxes"] == tf.TensorSpec([None, 4], tf.float32)
    assert spec["label"] == tf.TensorSpec([], tf.int64)
    assert spec["encoded"] == tf.TensorSpec([], tf.string)


def test_bytes_are_the_same_in_every_process() -> None:
    # When this changes, readers of old records break or caches go stale: see SCHEMA_VERSION.
    assert (
        hashlib.sha256(encode(EXAMPLE)).hexdigest()
        == "174217a3a3f0f0dfb58f57f70c00ce44db48d366e63246a861afcfdcdbdc5fa8"
    )


@pytest.mark.parametrize("change", ["label", "box"])
def test_an_unknown_class_is_no_label(change: str) -> None:
    wrong = (
        dataclasses.replace(EXAMPLE, label="scratches")
        if change == "label"
        else dataclasses.replace(
            EXAMPLE, objects=(AnnotatedObject("dent", BoundingBox(0, 0, 1, 1)),)
        )
    )
    with pytest.raises(ValueError, match="not in"):
        encode(wrong)


def encode_with_tensorflow(example: Example, encoded: bytes) -> bytes:
    """The contract written out with TensorFlow's own message."""

    def numbers(*values: int) -> tf.train.Feature:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    def texts(*values: str) -> tf.train.Feature:
        content = [value.encode() for value in values]
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=content))

    objects = example.objects
    features = {
        "encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded])),
        "format": texts(example.image_format),
        "height": numbers(example.height),
        "width": numbers(example.width),
        "filename": texts(example.source_id.split("/")[-1]),
        "source_id": texts(example.source_id),
        "key/sha256": texts(
            hashlib.sha256(encoded).hexdigest() if example.is_converted else example.sha256
        ),
        "class/label": numbers(CLASSES.index(example.label)),
        "class/text": texts(example.label),
        "object/class/label": numbers(*(1 + BOX_CLASSES.index(item.name) for item in objects)),
        "object/class/text": texts(*(item.name for item in objects)),
        "object/difficult": numbers(*(int(item.difficult) for item in objects)),
        "object/truncated": numbers(*(int(item.truncated) for item in objects)),
    }
    for side in ("xmin", "xmax", "ymin", "ymax"):
        size = example.width if side[0] == "x" else example.height
        values = [getattr(item.box, side) / size for item in objects]
        floats = tf.train.FloatList(value=values)
        features[f"object/bbox/{side}"] = tf.train.Feature(float_list=floats)
    named = {f"image/{key}": value for key, value in features.items()}
    message = tf.train.Example(features=tf.train.Features(feature=named))
    return bytes(message.SerializeToString(deterministic=True))


@st.composite
def examples(draw: st.DrawFn, decimals: int = 3) -> Example:
    """Pictures of up to 70,000 pixels a side, with boxes of whole numbers or some decimals."""
    width, height = draw(st.integers(1, 70_000)), draw(st.integers(1, 70_000))

    def sides(size: int) -> tuple[float, float]:
        whole = st.integers(0, size).map(float)
        part = st.floats(0, size).map(lambda value: round(value, decimals))
        low, high = sorted(draw(st.tuples(whole | part, whole | part)))
        return low, high

    def draw_box() -> BoundingBox:
        (xmin, xmax), (ymin, ymax) = sides(width), sides(height)
        return BoundingBox(xmin, ymin, xmax, ymax)

    objects = tuple(
        AnnotatedObject(name, draw_box(), draw(st.booleans()), draw(st.booleans()))
        for name in draw(st.lists(st.sampled_from(BOX_CLASSES), max_size=4))
    )
    return dataclasses.replace(
        EXAMPLE,
        source_id="/".join(draw(st.lists(st.text("aü /.", min_size=1), min_size=1, max_size=3))),
        image_format=draw(st.sampled_from(("jpeg", "png", "bmp"))),
        is_converted=draw(st.booleans()),
        width=width,
        height=height,
        label=draw(st.sampled_from(CLASSES)),
        objects=objects,
    )


@settings(deadline=None)
@given(examples(), st.binary(max_size=300))
def test_the_bytes_are_those_of_tensorflow(example: Example, encoded: bytes) -> None:
    assert encode(example, encoded) == encode_with_tensorflow(example, encoded)


def test_the_stored_sha256_is_that_of_the_stored_bytes() -> None:
    converted = dataclasses.replace(EXAMPLE, is_converted=True)
    # FIPS 180-4, the example of one block.
    wanted = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert decode_example(encode(converted, b"abc")).sha256 == wanted
    assert decode_example(encode(EXAMPLE, b"abc")).sha256 == "ab" * 32
