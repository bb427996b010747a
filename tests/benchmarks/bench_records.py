"""Writing records: the stage against what people use instead, on the same 14,400 pictures.

The pictures are NEU's eight times over, each turned round by a distance of its own and saved anew.
Against them stand the plain loop that people write (lxml, `tf.train.Example`, `TFRecordWriter`) and
a builder of TensorFlow Datasets with the same features. NIOSCOPE_COPIES says how many times over.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import itertools
import os
from collections.abc import Iterator
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
from tests.benchmarks.rounds import Way, rounds_or, state, take_rounds
from tests.benchmarks.strips import copy_made_different

COPIES = int(os.environ.get("NIOSCOPE_COPIES", "8"))
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


@pytest.mark.timeout(3600)
def test_records(pictures: Path, tmp_path: Path) -> None:
    count = sum(1 for _ in pictures.rglob("*.jpg"))
    Strips.pictures = pictures
    tfds.disable_progress_bar()
    numbers = itertools.count()

    def run(**flags: bool) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            run_ours(pictures, tmp_path / str(next(numbers)), near_duplicates=False, **flags)

    def build() -> None:
        builder = Strips(data_dir=str(tmp_path / f"tfds {next(numbers)}"))
        builder.download_and_prepare()
        assert builder.info.splits["train"].num_examples == 1440 * COPIES

    def loop(*, decode: bool) -> None:
        assert plain_loop(pictures, tmp_path, decode=decode) == count

    ways: dict[str, Way] = {
        "ours": run,
        "a plain loop that decodes": functools.partial(loop, decode=True),
        "TensorFlow Datasets, which does not decode": build,
        "ours by headers": functools.partial(run, verify=False),
        "a plain loop that copies": functools.partial(loop, decode=False),
    }
    taken = take_rounds(ways, rounds=rounds_or(3), warm_up=False)
    manifest = read_manifest(tmp_path / "0" / "records")
    assert sum(manifest.count(split) for split in SPLITS) == count
    names = list(ways)
    for own, others in (("ours", names[1:3]), ("ours by headers", names[4:])):
        kind = "headers looked at" if "headers" in own else "every picture decoded"
        for name in others:
            what = f"records of {count:,} pictures, {kind}"
            state("records", what, name, taken[own], taken[name], pictures=count)
