from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from hypothesis import given
from hypothesis import strategies as st

from records import tfds_metadata

CLASSES = ("crazing", "patches", "übrige")


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


@pytest.mark.parametrize(("channels", "bits"), [(1, 8), (3, 8), (1, 16)])
def test_features_json_is_what_tfds_itself_writes(channels: int, bits: int, tmp_path: Path) -> None:
    many = tfds.features.Sequence
    features = tfds.features.FeaturesDict(
        {
            "image": {
                "encoded": tfds.features.Image(
                    shape=(None, None, channels), dtype=np.dtype(f"uint{bits}").type
                ),
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
    assert tfds_metadata.features_json(classes=CLASSES, channels=channels, bits=bits) == theirs
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
