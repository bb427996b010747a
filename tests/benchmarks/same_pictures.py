"""The same pictures for all: records of ours, and the same bytes in one folder a class."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf

from pipeline.config import Settings
from pipeline.stages import records
from records.manifest import Manifest, read_manifest
from records.parsing import parse_record
from records.types import Split

SPLITS: tuple[Split, ...] = ("train", "validation")
CLASSES = ("crazing", "inclusion", "patches", "pitted_surface", "rolled-in_scale", "scratches")


@dataclass(frozen=True)
class SamePictures:
    """Both forms of one data set.

    Attributes:
        work_dir: Run directory with its records.
        folder: Holds `train` and `validation`, each with one folder a class.
        manifest: Of the records.
    """

    work_dir: Path
    folder: Path
    manifest: Manifest

    def count(self, split: Split) -> int:
        return self.manifest.count(split)

    def list_paths(self, split: Split) -> list[Path]:
        return sorted((self.folder / split).glob("*/*.jpg"))


def write_same_pictures(data_dir: Path, folder: Path) -> SamePictures:
    """Makes records of a data set, and folders of the records' pictures, byte for byte."""
    with contextlib.redirect_stdout(io.StringIO()):
        records.run(Settings(stage="records", data_dir=data_dir, work_dir=folder / "run"))
    manifest = read_manifest(folder / "run" / "records")
    for split in SPLITS:
        shards = [str(path) for path in manifest.shard_paths(split)]
        for number, serialized in enumerate(tf.data.TFRecordDataset(shards)):
            record = parse_record(serialized)
            label = manifest.classes[int(record["label"])]
            path = folder / "folders" / split / label / f"{number:05}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(record["encoded"].numpy())
    return SamePictures(folder / "run", folder / "folders", manifest)


def read_folder(folder: Path, *, size: int, batch_size: int, channels: int = 1,
                shuffle: bool = False, antialias: bool = True) -> tf.data.Dataset:  # fmt: skip
    """`image_dataset_from_directory`; with `antialias`, resized as ours are.

    NEU's pictures are 200 x 200: read at that size they are not resized twice.
    """
    dataset = keras.utils.image_dataset_from_directory(
        folder,
        image_size=(200, 200) if antialias else (size, size),
        batch_size=batch_size,
        color_mode="grayscale" if channels == 1 else "rgb",
        shuffle=shuffle,
        seed=0,
        verbose=False,
    )
    if not antialias or size == 200:
        return dataset
    return dataset.map(
        lambda images, labels: (tf.image.resize(images, [size, size], antialias=True), labels),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
