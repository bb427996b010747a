"""Reference pictures of drift, measured by the SavedModel that is to be watched."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from pipeline.drift.fit import Measured
from pipeline.serving.saved_model import Signature
from records.parsing import read_records

MOST_PICTURES = 2000
"""Of a split: what more of them would add is less than days differ."""
_BATCH_SIZE = 32


def measure_records(
    monitor: Signature, shards: Sequence[Path], *, most: int = MOST_PICTURES
) -> Measured:
    """Measures pictures of records.

    Args:
        monitor: The signature `monitor` of a SavedModel.
        shards: TFRecord files of one split.
        most: Pictures at most. Records are in an order drawn from their content, so the first ones
            are as good as any.

    Raises:
        ValueError: There is no picture.
    """
    names: list[str] = []
    decided, statistics = [], []
    for batch, answers in answer_records(monitor, shards, description="drift", most=most):
        names += [record["source_id"].decode() for record in batch]
        decided.append(answers["label_index"].numpy())
        statistics.append(answers["statistics"].numpy())
    if not names:
        raise ValueError("there is no picture to measure")
    return Measured(tuple(names), np.concatenate(decided), np.concatenate(statistics))


def answer_records(
    answer: Signature, shards: Sequence[Path], *, description: str, most: int | None = None
) -> Iterator[tuple[list[dict[str, Any]], dict[str, tf.Tensor]]]:
    """Asks a SavedModel about pictures of records, and shows how far it is.

    Args:
        answer: A signature that takes `image_bytes`.
        shards: TFRecord files.
        description: What the progress bar is called.
        most: Pictures at most; None: all.

    Yields:
        A batch of records, and the outputs for it.
    """
    records = itertools.islice(read_records(shards), most)
    with tqdm(desc=description, unit="pictures", disable=None) as bar:
        while batch := list(itertools.islice(records, _BATCH_SIZE)):
            yield batch, answer(image_bytes=tf.constant([record["encoded"] for record in batch]))
            bar.update(len(batch))
