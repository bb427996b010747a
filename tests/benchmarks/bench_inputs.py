"""Input pipelines: ours against `image_dataset_from_directory`, a `DataLoader`, and decoding alone.

All give batches of NEU's training pictures as float32, 128 x 128, grey, 0 to 255, resized with
antialiasing; `with operations` they are flipped both ways, brighter and of other contrast, each by
its own means. Ours decodes once and keeps the pictures in a table on disk for training; Keras'
`cache` keeps them in memory. Evaluation decodes them every time.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import tensorflow as tf

from models.picture import decode_picture, place_boxes
from models.registry import MODELS
from pipeline.inputs.batches import make_evaluation_dataset, make_training_dataset
from pipeline.inputs.operations import parse_augmentation
from pipeline.inputs.pictures import PictureReader, PictureTable, build_picture_table
from tests.benchmarks.peers import Peer
from tests.benchmarks.rounds import CORES, Way, rounds_or, state, take_rounds
from tests.benchmarks.same_pictures import SamePictures, read_folder, write_same_pictures
from tests.benchmarks.stock_training import make_augmentation

SIZE, BATCH_SIZE = 128, 16
OPERATIONS = parse_augmentation(MODELS["autoencoder"].augment)
DECODE = functools.partial(decode_picture, image_size=SIZE, channels=1, resize="letterbox")


@pytest.fixture(scope="module")
def pictures(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> SamePictures:
    return write_same_pictures(real_data / "neu-det", tmp_path_factory.mktemp("inputs"))


def build_table(pictures: SamePictures, path: Path) -> PictureTable:
    place = functools.partial(place_boxes, image_size=SIZE, resize="letterbox")
    shards, count = pictures.manifest.shard_paths("train"), pictures.count("train")
    reader = PictureReader(decode=DECODE, place=place)
    return build_picture_table(path, shards, reader=reader, count=count, description="")


def read_table(table: PictureTable, *, operations: tuple = ()) -> Callable[[], None]:
    dataset = make_training_dataset(table, batch_size=BATCH_SIZE, operations=operations, seed=0)
    steps = len(table.labels) // BATCH_SIZE
    return lambda: exhaust(dataset.take(steps))


def exhaust(dataset: tf.data.Dataset) -> None:
    for _ in dataset:
        pass


def decode_alone(contents: list[bytes]) -> None:
    """What no pipeline can beat: JPEG to grey pixels, by all cores, nothing resized."""

    def decode(part: list[bytes]) -> None:
        for encoded in part:
            simplejpeg.decode_jpeg(encoded, colorspace="GRAY")

    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(decode, [contents[core::CORES] for core in range(CORES)]))


@pytest.mark.timeout(3600)
def test_evaluation(pictures: SamePictures) -> None:
    shards, count = pictures.manifest.shard_paths("train"), pictures.count("train")
    contents = [path.read_bytes() for path in pictures.list_paths("train")]
    make = functools.partial(make_evaluation_dataset, shards, decode=DECODE, count=count)
    ours = make(batch_size=BATCH_SIZE)
    stock = read_folder(pictures.folder / "train", size=SIZE, batch_size=BATCH_SIZE)
    compare_pixels(ours, stock)
    with Peer("torch_training.py", pictures.folder, SIZE, BATCH_SIZE, "ask") as peer:
        ways: dict[str, Way] = {
            "ours": lambda: exhaust(ours),
            "image_dataset_from_directory": lambda: exhaust(stock.prefetch(tf.data.AUTOTUNE)),
            "PyTorch DataLoader": lambda: peer.ask("read"),
            f"decoding alone on {CORES} cores": lambda: decode_alone(contents),
        }
        taken = take_rounds(ways, rounds=rounds_or(5))
    for name in list(ways)[1:]:
        what = "reading, decoding and resizing every picture"
        state("inputs", what, name, taken["ours"], taken[name], pictures=count)


def compare_pixels(ours: tf.data.Dataset, stock: tf.data.Dataset) -> None:
    """The same pictures; the order is another, so their means are compared, sorted."""
    first, second = (
        np.sort(np.concatenate([images.numpy().mean(axis=(1, 2, 3)) for images, _ in dataset]))
        for dataset in (ours, stock)
    )
    np.testing.assert_allclose(first, second, atol=1e-2)


@pytest.mark.timeout(3600)
def test_training(pictures: SamePictures, tmp_path: Path) -> None:
    count = pictures.count("train")
    table = build_table(pictures, tmp_path / "table")
    keep = read_folder(pictures.folder / "train", size=SIZE, batch_size=BATCH_SIZE)
    kept = keep.unbatch().cache().shuffle(2048).batch(BATCH_SIZE, drop_remainder=True)
    augment = make_augmentation()
    augmented = kept.map(
        lambda images, labels: (augment(images, training=True), labels),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    first = itertools.count()

    def ours_from_nothing() -> None:
        path = tmp_path / f"table {next(first)}"
        read_table(build_table(pictures, path), operations=OPERATIONS)()

    with Peer("torch_training.py", pictures.folder, SIZE, BATCH_SIZE, "ask") as peer:
        ways: dict[str, Way] = {
            "ours": read_table(table),
            "image_dataset_from_directory, cached": lambda: exhaust(
                kept.prefetch(tf.data.AUTOTUNE)
            ),
            "PyTorch DataLoader": lambda: peer.ask("read"),
            "ours augmented": read_table(table, operations=OPERATIONS),
            "image_dataset_from_directory, cached augmented": lambda: exhaust(
                augmented.prefetch(tf.data.AUTOTUNE)
            ),
            "PyTorch DataLoader augmented": lambda: peer.ask("read augmented"),
            "ours first": ours_from_nothing,
        }
        taken = take_rounds(ways, rounds=rounds_or(5))
    peers = "image_dataset_from_directory, cached", "PyTorch DataLoader"
    for name in peers:
        for kind, what in (("", "an epoch of pictures"), (" augmented", "the same, augmented")):
            times = taken[f"ours{kind}"], taken[f"{name}{kind}"]
            state("inputs", what, name, *times, pictures=count)
    times = taken["ours first"], taken["PyTorch DataLoader augmented"]
    what = "the first epoch, augmented, decoding included"
    state("inputs", what, "PyTorch DataLoader", *times, pictures=count)
