"""Writing records: the stage against the loop that people write, on the same drawn pictures.

Prints pictures a second for both, and the ratio of each interleaved pair. Asserts nothing about
time.
"""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf
from lxml import etree

from pipeline.config import Settings
from pipeline.stages import records
from records.sample import draw_data_set
from records.types import Split

ROUNDS = 5
COUNTS: dict[Split, int] = {"train": 600, "validation": 100, "test": 100}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench") / "pictures"
    draw_data_set(folder, seed=0, counts=COUNTS)
    return folder


def plain_loop(pictures: Path, folder: Path) -> int:
    """One picture after the other: parse, wrap, write. It checks nothing and finds no fault."""
    written = 0
    for split in COUNTS:
        with tf.io.TFRecordWriter(str(folder / split)) as writer:
            for path in sorted((pictures / split / "images").rglob("*.*")):
                encoded = path.read_bytes()
                xml = etree.parse(str(pictures / split / "annotations" / f"{path.stem}.xml"))
                names = [str(node.text).encode() for node in xml.iterfind(".//object/name")]
                features = {
                    "image/encoded": [encoded],
                    "image/key/sha256": [hashlib.sha256(encoded).hexdigest().encode()],
                    "image/class/text": [path.parent.name.encode()],
                    "image/object/class/text": names,
                }
                feature = {
                    key: tf.train.Feature(bytes_list=tf.train.BytesList(value=value))
                    for key, value in features.items()
                }
                for side in ("xmin", "ymin", "xmax", "ymax"):
                    values = [float(str(node.text)) for node in xml.iterfind(f".//{side}")]
                    feature[f"image/object/bbox/{side}"] = tf.train.Feature(
                        float_list=tf.train.FloatList(value=values)
                    )
                example = tf.train.Example(features=tf.train.Features(feature=feature))
                writer.write(example.SerializeToString())
                written += 1
    return written


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def test_records_against_the_plain_loop(pictures: Path, tmp_path: Path) -> None:
    count = sum(COUNTS.values())
    settings = Settings(stage="records", data_dir=pictures, work_dir=tmp_path / "run")
    assert plain_loop(pictures, tmp_path) == count
    records.run(settings)
    ratios, ours, theirs = [], [], []
    for _ in range(ROUNDS):
        ours.append(seconds(lambda: records.run(settings)))
        theirs.append(seconds(lambda: plain_loop(pictures, tmp_path)))
        ratios.append(theirs[-1] / ours[-1])
    print(
        f"\nrecords, {count} pictures, {ROUNDS} rounds: ours {count / statistics.median(ours):.0f} "
        f"pictures/s with every picture decoded and checked, plain loop "
        f"{count / statistics.median(theirs):.0f}; ratio {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )
