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

from records.atomic import write_json
from records.manifest import Manifest
from records.pictures import probe_bytes
from records.split import assign_splits
from records.tfds_metadata import FEATURES_NAME, features_json
from records.types import SPLITS, Example, Split
from tests.records.folders import keep_apart

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
    splits = assign_splits(examples, keep_apart(examples), seed=0).splits
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
            check_tfds_image(by_id[example.source_id], example, tmp_path / "pictures")


def check_tfds_image(image: dict[str, Any], example: Example, folder: Path) -> None:
    pixels = decode_rgb((folder / example.source_id).read_bytes())
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


def read_with_tfds(folder: Path) -> dict[str, np.ndarray]:
    """The decoded pictures of all splits by their file names."""
    data = tfds.builder_from_directory(folder).as_dataset(split="all")
    images = [item["image"] for item in tfds.as_numpy(data)]
    return {image["filename"].decode(): image["encoded"] for image in images}


def test_sixteen_bit_pictures_and_jpegs_are_read_by_tfds_too(
    tmp_path: Path, draw: Draw, write: Write
) -> None:
    kinds = ["I;16.png", "L.jpeg", "RGB.jpeg", "RGB.png"]
    examples = [
        draw(tmp_path / "pictures", label, index + 12 * (label == "nio"), kind=kinds[index % 4])
        for label in CLASSES
        for index in range(12)
    ]
    groups = keep_apart(examples)
    manifest = write(tmp_path / "records", splits=assign_splits(examples, groups, seed=0).splits)
    assert not manifest.is_grey
    pictures = read_with_tfds(manifest.folder)
    assert len(pictures) == 24
    for path in (tmp_path / "pictures").rglob("*.*"):
        decoded = pictures[path.name]
        assert decoded.dtype == np.uint8
        wanted = tf.io.decode_image(path.read_bytes(), channels=3).numpy()
        np.testing.assert_array_equal(decoded, wanted)
        if int(path.stem) % 4 == 0:  # Of 16 bits TensorFlow gives the upper 8.
            upper = np.asarray(Image.open(path)) >> 8
            np.testing.assert_array_equal(decoded, np.stack([upper] * 3, axis=-1))


def draw_tiff(folder: Path, label: str, index: int) -> tuple[Example, np.ndarray]:
    """A 16-bit TIFF of noise, which a record holds as a PNG."""
    path = folder / label / f"{label}{index}.tif"
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng([index, label == "io"]).integers(0, 65536, (7, 9))
    pixels = noise.astype(np.uint16)
    Image.fromarray(pixels).save(path)
    facts = probe_bytes(path.read_bytes())
    example = Example(
        source_id=path.relative_to(folder).as_posix(),
        image_format=facts.image_format,
        is_converted=facts.is_converted,
        width=facts.width,
        height=facts.height,
        is_grey=facts.is_grey,
        size_bytes=facts.size_bytes,
        sha256=facts.sha256,
        label=label,
        objects=(),
        published_split=None,
    )
    return example, pixels


def test_a_tiff_stored_as_png_is_read_by_tfds(tmp_path: Path, write: Write) -> None:
    """By its upper byte, or whole where features.json says that all pictures are of 16 bits."""
    drawn = [
        draw_tiff(tmp_path / "pictures", label, index) for label in CLASSES for index in range(5)
    ]
    examples = [example for example, _ in drawn]
    assert all(item.is_converted and item.image_format == "png" for item in examples)
    splits = assign_splits(examples, keep_apart(examples), seed=0).splits
    folder = write(tmp_path / "records", splits=splits).folder
    for bits in (8, 16):
        write_json(folder / FEATURES_NAME, features_json(classes=CLASSES, channels=1, bits=bits))
        pictures = read_with_tfds(folder)
        assert len(pictures) == 10
        for example, pixels in drawn:
            decoded = pictures[example.source_id.split("/")[-1]]
            assert decoded.dtype == np.dtype(f"uint{bits}")
            np.testing.assert_array_equal(decoded[:, :, 0], pixels >> (16 - bits))


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
