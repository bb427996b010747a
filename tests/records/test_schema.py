from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from hypothesis import given, settings
from hypothesis import strategies as st

from records import tfds_metadata
from records.schema import encode_example, parse_record
from records.types import AnnotatedObject, BoundingBox, Example

CLASSES = ("crazing", "patches", "übrige")
BOX_CLASSES = ("patches", "void")
EXAMPLE = Example(
    source_id="train/patches/p 1.jpg",
    image_path=Path("unread.jpg"),
    image_format="jpeg",
    width=200,
    height=100,
    is_grey=True,
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


@settings(max_examples=50, deadline=None)
@given(st.data(), st.integers(1, 5000), st.integers(1, 5000))
def test_boxes_come_back_to_a_thousandth_of_a_pixel(
    data: st.DataObject, width: int, height: int
) -> None:
    columns = data.draw(st.tuples(st.integers(0, width), st.integers(0, width)))
    rows = data.draw(st.tuples(st.integers(0, height), st.integers(0, height)))
    box = BoundingBox(min(columns), min(rows), max(columns), max(rows))
    example = dataclasses.replace(
        EXAMPLE, width=width, height=height, objects=(AnnotatedObject("void", box),)
    )
    boxes = parse_record(tf.constant(encode(example)))["boxes"].numpy()
    assert ((boxes >= 0) & (boxes <= 1)).all()
    pixels = boxes[0] * np.array([width, height, width, height], np.float64)
    np.testing.assert_allclose(pixels, [box.xmin, box.ymin, box.xmax, box.ymax], atol=1e-3)


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


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("neu-det", "neu_det"),
        ("Röntgen 2024 (neu)", "rontgen_2024_neu"),
        ("2024-05", "data_2024_05"),
        ("焊点", "data"),
        ("__", "data"),
    ],
)
def test_dataset_names(text: str, name: str) -> None:
    assert tfds_metadata.dataset_name(text) == name


@given(st.text())
def test_every_dataset_name_is_one_that_tfds_takes(text: str) -> None:
    assert tfds.core.naming.is_valid_dataset_and_class_name(tfds_metadata.dataset_name(text))


@pytest.mark.parametrize("channels", [1, 3])
def test_features_json_is_what_tfds_itself_writes(channels: int, tmp_path: Path) -> None:
    many = tfds.features.Sequence
    features = tfds.features.FeaturesDict(
        {
            "image": {
                "encoded": tfds.features.Image(shape=(None, None, channels)),
                "format": tfds.features.Text(),
                "height": np.int64,
                "width": np.int64,
                "filename": tfds.features.Text(),
                "source_id": tfds.features.Text(),
                "key": {"sha256": tfds.features.Text()},
                "class": {
                    "label": tfds.features.ClassLabel(names=CLASSES),
                    "text": tfds.features.Text(),
                },
                "object": {
                    "bbox": {side: many(np.float32) for side in ("xmin", "xmax", "ymin", "ymax")},
                    "class": {"label": many(np.int64), "text": many(tfds.features.Text())},
                    "difficult": many(np.int64),
                    "truncated": many(np.int64),
                },
            }
        }
    )
    features.save_config(tmp_path)
    theirs = json.loads((tmp_path / tfds_metadata.FEATURES_NAME).read_text())
    assert tfds_metadata.features_json(classes=CLASSES, channels=channels) == theirs
    labels = (tmp_path / tfds_metadata.LABELS_NAME).read_text()
    assert tfds_metadata.labels_text(CLASSES) == labels


def test_label_map_is_protobuf_text_counted_from_one() -> None:
    descriptors, pools, factory, text_format = (
        importlib.import_module(f"google.protobuf.{name}")
        for name in ("descriptor_pb2", "descriptor_pool", "message_factory", "text_format")
    )
    # The part of string_int_label_map.proto that a label map needs.
    file = descriptors.FileDescriptorProto(name="label_map.proto", package="test")
    item = file.message_type.add(name="StringIntLabelMapItem")
    field = descriptors.FieldDescriptorProto
    item.field.add(name="name", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    item.field.add(name="id", number=2, type=field.TYPE_INT32, label=field.LABEL_OPTIONAL)
    whole = file.message_type.add(name="StringIntLabelMap")
    whole.field.add(
        name="item",
        number=1,
        type=field.TYPE_MESSAGE,
        label=field.LABEL_REPEATED,
        type_name=".test.StringIntLabelMapItem",
    )
    pool = pools.DescriptorPool()
    pool.Add(file)
    descriptor = pool.FindMessageTypeByName("test.StringIntLabelMap")
    names = ("void", 'a "quoted" \\ name', "übrige")
    label_map = text_format.Parse(
        tfds_metadata.label_map_text(names), factory.GetMessageClass(descriptor)()
    )
    assert [(item.id, item.name) for item in label_map.item] == list(enumerate(names, start=1))
