from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from records.manifest import Manifest
from records.split import assign_splits
from records.types import SPLITS, Example, Split

Splits = dict[Split, tuple[Example, ...]]
Write = Callable[..., Manifest]
Draw = Callable[..., Example]
CLASSES = ("io", "nio")
BOX_CLASSES = ("bridge", "void")


def decode_rgb(encoded: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))


@pytest.mark.parametrize("kind", ["L.png", "RGB.png", "L.bmp", "RGB.bmp"])
def test_tfds_reads_pictures_labels_and_boxes(
    tmp_path: Path, draw: Draw, kind: str, write: Write
) -> None:
    examples = [
        draw(tmp_path / "pictures", label, index, kind=kind)
        for label in CLASSES
        for index in range(8)
    ]
    splits = assign_splits(examples, seed=0).splits
    write(tmp_path / "records", splits=splits)
    builder = tfds.builder_from_directory(tmp_path / "records")
    assert builder.name == "x_ray"
    image_features = builder.info.features["image"]
    assert tuple(image_features["class"]["label"].names) == CLASSES
    assert image_features["encoded"].shape[-1] == (1 if kind == "L.png" else 3)
    for split in SPLITS:
        assert builder.info.splits[split].num_examples == len(splits[split])
        images = [item["image"] for item in tfds.as_numpy(builder.as_dataset(split=split))]
        by_id = {image["source_id"].decode(): image for image in images}
        assert sorted(by_id) == sorted(item.source_id for item in splits[split])
        for example in splits[split]:
            check_tfds_image(by_id[example.source_id], example)


def check_tfds_image(image: dict[str, Any], example: Example) -> None:
    pixels = decode_rgb(example.image_path.read_bytes())
    decoded = np.asarray(image["encoded"])
    np.testing.assert_array_equal(decoded, pixels[:, :, : decoded.shape[-1]])
    assert CLASSES[int(image["class"]["label"])] == example.label
    assert int(image["width"]) == example.width
    assert int(image["height"]) == example.height
    for side, size in (
        ("xmin", example.width),
        ("ymin", example.height),
        ("xmax", example.width),
        ("ymax", example.height),
    ):
        wanted = [getattr(item.box, side) / size for item in example.objects]
        got = image["object"]["bbox"][side]
        np.testing.assert_array_equal(got, np.array(wanted, np.float32))
    assert [BOX_CLASSES[label - 1] for label in image["object"]["class"]["label"]] == [
        item.name for item in example.objects
    ]


def test_sixteen_bit_pictures_and_jpegs_are_read_by_tfds_too(
    tmp_path: Path, draw: Draw, write: Write
) -> None:
    kinds = ["I;16.png", "L.jpeg", "RGB.jpeg", "RGB.png"]
    examples = [
        draw(tmp_path / "pictures", label, index, kind=kinds[index % 4])
        for label in CLASSES
        for index in range(12)
    ]
    manifest = write(tmp_path / "records", splits=assign_splits(examples, seed=0).splits)
    assert not manifest.is_grey
    by_id = {example.source_id: example for example in examples}
    for image in tfds.as_numpy(
        tfds.builder_from_directory(tmp_path / "records").as_dataset(split="train+test")
    ):
        example = by_id[image["image"]["source_id"].decode()]
        decoded = tf.io.decode_image(example.image_path.read_bytes(), channels=3).numpy()
        np.testing.assert_array_equal(image["image"]["encoded"], decoded)
        assert decoded.shape == (example.height, example.width, 3)


def test_a_decoder_of_the_object_detection_api_reads_boxes(
    tmp_path: Path, splits: Splits, write: Write
) -> None:
    """Keys, types and defaults as `TfExampleDecoder` of the Object Detection API declares them."""
    manifest = write(tmp_path / "records", splits=splits)
    box_keys = [f"image/object/bbox/{side}" for side in ("ymin", "xmin", "ymax", "xmax")]
    spec = {
        "image/encoded": tf.io.FixedLenFeature((), tf.string, default_value=""),
        "image/format": tf.io.FixedLenFeature((), tf.string, default_value="jpeg"),
        "image/filename": tf.io.FixedLenFeature((), tf.string, default_value=""),
        "image/key/sha256": tf.io.FixedLenFeature((), tf.string, default_value=""),
        "image/source_id": tf.io.FixedLenFeature((), tf.string, default_value=""),
        "image/height": tf.io.FixedLenFeature((), tf.int64, default_value=1),
        "image/width": tf.io.FixedLenFeature((), tf.int64, default_value=1),
        "image/class/text": tf.io.VarLenFeature(tf.string),
        "image/class/label": tf.io.VarLenFeature(tf.int64),
        **{key: tf.io.VarLenFeature(tf.float32) for key in box_keys},
        "image/object/class/label": tf.io.VarLenFeature(tf.int64),
        "image/object/class/text": tf.io.VarLenFeature(tf.string),
        "image/object/difficult": tf.io.VarLenFeature(tf.int64),
        "image/object/truncated": tf.io.VarLenFeature(tf.int64),
    }
    by_id = {example.source_id: example for example in splits["train"]}
    with_boxes = 0
    for record in tf.data.TFRecordDataset([str(path) for path in manifest.shard_paths("train")]):
        parsed = tf.io.parse_single_example(record, spec)
        example = by_id[parsed["image/source_id"].numpy().decode()]
        boxes = np.stack([tf.sparse.to_dense(parsed[key]).numpy() for key in box_keys], axis=-1)
        assert boxes.shape == (len(example.objects), 4)
        labels = tf.sparse.to_dense(parsed["image/object/class/label"]).numpy()
        assert list(labels) == [BOX_CLASSES.index(item.name) + 1 for item in example.objects]
        if example.objects:
            with_boxes += 1
            wanted = [2 / example.height, 1 / example.width, 5 / example.height, 4 / example.width]
            np.testing.assert_array_equal(boxes[0], np.array(wanted, np.float32))
    assert with_boxes == 6
