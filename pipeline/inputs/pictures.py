"""Pictures decoded once and kept on disk for the time of a training.

Decoding and resizing are most of the work of an input pipeline and the same in every epoch. The
table is mapped into memory: what is used stays in the page cache as far as there is room, and no
set of pictures is too large for memory.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tqdm import tqdm

from records.atomic import replacing
from records.errors import InputError
from records.parsing import parse_record

STEPS_A_GREY_VALUE = 257
"""What a stored value is divided by: 255 becomes 65,535, so 8 and 16 bit both keep their depth."""

_READ_AT_ONCE = 64


@dataclass(frozen=True)
class PictureReader:
    """How a picture becomes the model's input: made by the stage from `models.picture`.

    Attributes:
        decode: From encoded bytes, string `[]`, to float32 `[size, size, channels]`, 0 to 255.
        place: From boxes, float32 `[n, 4]` as fractions of the picture, and the picture's width
            and height, int64 `[]`, to boxes as fractions of the model's input.
    """

    decode: Callable[[tf.Tensor], tf.Tensor]
    place: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


@dataclass(frozen=True, eq=False)
class PictureTable:
    """All pictures of a split, decoded; row by row in the order of the records.

    Attributes:
        images: uint16 `[n, size, size, channels]`, memory mapped; `STEPS_A_GREY_VALUE` times the
            grey value.
        labels: int64 `[n]`.
        boxes: float32 `[n, k, 4]`, `k` at least 1; xmin, ymin, xmax, ymax as fractions of the
            model's input. Rows that a picture does not need are all zero.
        box_labels: int64 `[n, k]`; from 1 as in the records, 0 where there is no box.
        content: float32 `[n, 4]`, in the same form: the part of the model's input that shows the
            picture; what is beside it is filling.
    """

    images: np.memmap
    labels: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float32]
    box_labels: npt.NDArray[np.int64]
    content: npt.NDArray[np.float32]


def build_picture_table(
    path: Path, shards: list[Path], *, reader: PictureReader, count: int, description: str
) -> PictureTable:
    """Decodes the pictures of `shards` into one file.

    Args:
        path: The file, written whole or not at all; values alone, without a header.
        shards: TFRecord files of one split.
        reader: How a picture becomes the model's input.
        count: Pictures in `shards`.
        description: Stands before the progress bar.

    Raises:
        InputError: The disk has no room for it.
        tf.errors.FailedPreconditionError: `shards` hold another number of pictures.
    """
    rows = _make_rows(shards, reader, count)
    shape = (count, *rows.element_spec[0].shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    needed = 2 * int(np.prod(shape))
    if needed > shutil.disk_usage(path.parent).free:
        _refuse(path, needed)
    try:
        columns = _write(path, rows, count, description)
    except OSError as error:
        _refuse(path, needed, error)
    images = np.memmap(path, np.uint16, mode="r", shape=shape)
    return PictureTable(images, *columns)


def pad_boxes(table: PictureTable, most: int) -> PictureTable:
    """The same table with room for `most` boxes a picture, at least as many as it has room for."""
    missing = most - table.boxes.shape[1]
    return dataclasses.replace(
        table,
        boxes=np.pad(table.boxes, [(0, 0), (0, missing), (0, 0)]),
        box_labels=np.pad(table.box_labels, [(0, 0), (0, missing)]),
    )


def _make_rows(shards: list[Path], reader: PictureReader, count: int) -> tf.data.Dataset:
    """The pictures one by one: the columns of `PictureTable`."""

    @tf.autograph.experimental.do_not_convert
    def read(serialized: tf.Tensor) -> tuple[tf.Tensor, ...]:
        record = parse_record(serialized)
        size = record["width"], record["height"]
        stored = tf.round(reader.decode(record["encoded"]) * STEPS_A_GREY_VALUE)
        content = reader.place(tf.constant([[0.0, 0.0, 1.0, 1.0]]), *size)[0]
        boxes = reader.place(record["boxes"], *size)
        return (
            *(tf.cast(stored, tf.uint16), record["label"]),
            *(boxes, record["box_labels"], content),
        )

    rows = tf.data.TFRecordDataset([str(shard) for shard in shards]).map(
        read, num_parallel_calls=tf.data.AUTOTUNE
    )
    return rows.apply(tf.data.experimental.assert_cardinality(count))


def _write(
    path: Path, rows: tf.data.Dataset, count: int, description: str
) -> tuple[np.ndarray, ...]:
    """Writes the images; returns the other columns.

    Written as a stream: a disk that fills up is then an error that can be told, where writing to
    mapped memory would end the process.
    """
    parts: list[tuple[np.ndarray, ...]] = []
    batches = rows.padded_batch(_READ_AT_ONCE).prefetch(1)
    with (
        replacing(path) as draft,
        draft.open("wb") as file,
        tqdm(total=count, desc=description, unit="pictures", disable=None) as bar,
    ):
        for images, *others in batches.as_numpy_iterator():
            file.write(images.data)
            parts.append(tuple(others))
            bar.update(len(images))
    labels, boxes, box_labels, content = zip(*parts, strict=True)
    return np.concatenate(labels), _pad(boxes), _pad(box_labels), np.concatenate(content)


def _pad(batches: tuple[np.ndarray, ...]) -> np.ndarray:
    """One array from batches `[b, k, ...]` whose `k`, boxes of a picture, differ."""
    most = max(1, *(batch.shape[1] for batch in batches))
    return np.concatenate(
        [
            np.pad(batch, [(0, 0), (0, most - batch.shape[1]), *[(0, 0)] * (batch.ndim - 2)])
            for batch in batches
        ]
    )


def _refuse(path: Path, needed: int, error: OSError | None = None) -> NoReturn:
    reason = "more than the disk has free" if error is None else f"and: {error.strerror}"
    raise InputError(
        f"{path} needs {needed / 1e9:.1f} GB, {reason}.",
        "Make room, or give a --work_dir on another disk or a smaller --image_size.",
    ) from error
