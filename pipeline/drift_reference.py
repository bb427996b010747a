"""Reference pictures of drift, measured by the SavedModel that is to be watched."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from pipeline.drift_fit import Measured
from pipeline.saved_model import Signature
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
    records = itertools.islice(read_records(shards), most)
    with tqdm(desc="drift", unit="pictures", disable=None) as bar:
        while batch := list(itertools.islice(records, _BATCH_SIZE)):
            answers = monitor(image_bytes=tf.constant([record["encoded"] for record in batch]))
            names += [record["source_id"].decode() for record in batch]
            decided.append(answers["label_index"].numpy())
            statistics.append(answers["statistics"].numpy())
            bar.update(len(batch))
    if not names:
        raise ValueError("there is no picture to measure")
    return Measured(tuple(names), np.concatenate(decided), np.concatenate(statistics))
