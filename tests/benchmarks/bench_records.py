"""Writing records: the stage against what people use instead, on the same 14,400 pictures.

The pictures are NEU's eight times over, each turned round by a distance of its own and saved anew.
Against them stand the plain loop that people write (lxml, `tf.train.Example`, `TFRecordWriter`) and
a builder of TensorFlow Datasets with the same features. Prints pictures a second, the ratios of
interleaved rounds, and peak memory. Asserts nothing about time or memory.
"""

from __future__ import annotations

import functools
import hashlib
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from lxml import etree

from pipeline.config import Settings
from pipeline.stages import records
from records import tfds_metadata
from records.manifest import read_manifest
from records.types import SPLITS
from tests.benchmarks.strips import copy_made_different

ROUNDS = 5
COPIES = 8
SPLIT_FOLDERS = ("train", "validation")


@pytest.fixture(scope="module")
def pictures(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench") / "pictures"
    copy_made_different(real_data / "neu-det", folder, copies=COPIES)
    return folder


def read_plainly(pictures: Path, split: str) -> Iterator[tuple[Path, bytes, Any]]:
    """One picture after the other with its parsed annotation; nothing is checked."""
    for path in sorted((pictures / split / "images").glob("*/*.jpg")):
        xml = etree.parse(str(pictures / split / "annotations" / f"{path.stem}.xml"))
        yield path, path.read_bytes(), xml.getroot()


def plain_loop(pictures: Path, folder: Path, *, decode: bool) -> int:
    """Parse, wrap, write: the same features as ours, one picture after the other."""

    def bytes_feature(values: list[bytes]) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    def float_feature(values: list[float]) -> tf.train.Feature:
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))

    def int_feature(values: list[int]) -> tf.train.Feature:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    written = 0
    classes = sorted(path.name for path in (pictures / "train" / "images").iterdir())
    for split in SPLIT_FOLDERS:
        with tf.io.TFRecordWriter(str(folder / f"{split}.tfrecord")) as writer:
            for path, encoded, xml in read_plainly(pictures, split):
                if decode:
                    tf.io.decode_image(encoded)
                width = int(xml.findtext("size/width"))
                height = int(xml.findtext("size/height"))
                objects = xml.findall("object")
                boxes = [item.find("bndbox") for item in objects]
                names = [item.findtext("name") for item in objects]
                label = path.parent.name
                digest = hashlib.sha256(encoded).hexdigest()
                feature = {
                    "image/encoded": bytes_feature([encoded]),
                    "image/format": bytes_feature([b"jpeg"]),
                    "image/height": int_feature([height]),
                    "image/width": int_feature([width]),
                    "image/filename": bytes_feature([path.name.encode()]),
                    "image/source_id": bytes_feature([path.name.encode()]),
                    "image/key/sha256": bytes_feature([digest.encode()]),
                    "image/class/label": int_feature([classes.index(label)]),
                    "image/class/text": bytes_feature([label.encode()]),
                    "image/object/bbox/xmin": float_feature(
                        [(float(box.findtext("xmin")) - 1) / width for box in boxes]
                    ),
                    "image/object/bbox/ymin": float_feature(
                        [(float(box.findtext("ymin")) - 1) / height for box in boxes]
                    ),
                    "image/object/bbox/xmax": float_feature(
                        [float(box.findtext("xmax")) / width for box in boxes]
                    ),
                    "image/object/bbox/ymax": float_feature(
                        [float(box.findtext("ymax")) / height for box in boxes]
                    ),
                    "image/object/class/label": int_feature(
                        [classes.index(name) + 1 for name in names]
                    ),
                    "image/object/class/text": bytes_feature([name.encode() for name in names]),
                    "image/object/difficult": int_feature(
                        [int(item.findtext("difficult") or 0) for item in objects]
                    ),
                    "image/object/truncated": int_feature(
                        [int(item.findtext("truncated") or 0) for item in objects]
                    ),
                }
                example = tf.train.Example(features=tf.train.Features(feature=feature))
                writer.write(example.SerializeToString())
                written += 1
    return written


class Strips(tfds.core.GeneratorBasedBuilder):
    """The same pictures as TensorFlow Datasets would have a user write them."""

    VERSION = tfds.core.Version("1.0.0")
    pictures = Path()

    def _info(self) -> tfds.core.DatasetInfo:
        classes = sorted(path.name for path in (self.pictures / "train" / "images").iterdir())
        features = tfds.features.FeaturesDict.from_json(
            tfds_metadata.features_json(classes=classes, channels=3)
        )
        return self.dataset_info_from_configs(features=features)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {split: self._generate_examples(split) for split in SPLIT_FOLDERS}

    def _generate_examples(self, split: str) -> Iterator[tuple[str, Any]]:
        for path, encoded, xml in read_plainly(self.pictures, split):
            objects = xml.findall("object")
            width, height = int(xml.findtext("size/width")), int(xml.findtext("size/height"))
            corners = np.array(
                [
                    [float(item.findtext(f"bndbox/{side}")) for side in
                     ("xmin", "ymin", "xmax", "ymax")]
                    for item in objects
                ],
                np.float32,
            ).reshape(-1, 4)  # fmt: skip
            corners -= np.array([1, 1, 0, 0], np.float32)
            corners /= np.array([width, height, width, height], np.float32)
            names = [item.findtext("name") for item in objects]
            yield path.name, {
                "image": {
                    "encoded": encoded,
                    "format": "jpeg",
                    "height": height,
                    "width": width,
                    "filename": path.name,
                    "source_id": path.name,
                    "key": {"sha256": hashlib.sha256(encoded).hexdigest()},
                    "class": {"label": 0, "text": path.parent.name},
                    "object": {
                        "bbox": dict(
                            zip(("xmin", "ymin", "xmax", "ymax"), corners.T,
                                strict=True)
                        ),
                        "class": {"label": [0] * len(names), "text": names},
                        "difficult": [0] * len(names),
                        "truncated": [0] * len(names),
                    },
                }
            }  # fmt: skip


def run_ours(
    pictures: Path, folder: Path, *, verify: bool = True, near_duplicates: bool = True
) -> None:
    """The whole stage into a folder of its own, so that nothing of an earlier round is kept."""
    records.run(
        Settings(
            stage="records",
            data_dir=pictures,
            work_dir=folder,
            verify_pictures=verify,
            near_duplicates=near_duplicates,
        )
    )


def measure(work: Callable[[], object]) -> float:
    """Seconds, after what earlier work left to be written to the disk is written."""
    os.sync()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def report(title: str, count: int, ours: list[float], theirs: list[float]) -> None:
    ratios = [other / own for own, other in zip(ours, theirs, strict=True)]
    print(
        f"{title}: ours {count / statistics.median(ours):.0f} pictures/s, theirs "
        f"{count / statistics.median(theirs):.0f}; ratio {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f}, {len(ratios)} rounds)"
    )


@pytest.mark.parametrize("decode", [False, True], ids=["headers", "decoded"])
def test_records_against_the_plain_loop(pictures: Path, tmp_path: Path, decode: bool) -> None:
    count = sum(1 for _ in pictures.rglob("*.jpg"))
    ours, theirs = [], []
    for index in range(ROUNDS):
        own = functools.partial(run_ours, pictures, tmp_path / str(index), verify=decode)
        ours.append(measure(functools.partial(own, near_duplicates=False)))
        theirs.append(measure(functools.partial(plain_loop, pictures, tmp_path, decode=decode)))
    manifest = read_manifest(tmp_path / "0" / "records")
    assert sum(manifest.count(split) for split in SPLITS) == count
    title = "every picture decoded" if decode else "headers alone"
    report(f"\n{count} pictures, {title}, against the plain loop", count, ours, theirs)


def test_records_against_tensorflow_datasets(pictures: Path, tmp_path: Path) -> None:
    count = sum(1 for _ in pictures.rglob("*.jpg"))
    Strips.pictures = pictures
    builders = [Strips(data_dir=str(tmp_path / f"tfds{index}")) for index in range(2)]
    ours, theirs = [], []
    for index, builder in enumerate(builders):
        own = functools.partial(run_ours, pictures, tmp_path / str(index))
        ours.append(measure(functools.partial(own, near_duplicates=False)))
        theirs.append(measure(builder.download_and_prepare))
    assert builders[0].info.splits["train"].num_examples == 1440 * COPIES
    report(f"\n{count} pictures, every picture decoded, against TFDS", count, ours, theirs)
