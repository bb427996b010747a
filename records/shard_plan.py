"""How many shards a split is cut into, which examples go into each, and what the files are called.

Needs the number of pictures and their bytes alone, so that a plan for very many can be made without
them.
"""

from __future__ import annotations

import itertools
import math
import re

from records.types import Split

SHARD_ENDING = re.compile(r"\.tfrecord-\d{5,}-of-\d{5,}", re.ASCII)
"""How the name of every shard ends."""

_LEAST_DIGITS = 5


def name_shard(name: str, split: Split, index: int, number: int) -> str:
    """Name of the shard `index` of `number`, by the rule of TensorFlow Datasets.

    Numbers have five digits, or as many as `number` has, so that names sort as shards are ordered.
    """
    digits = max(_LEAST_DIGITS, len(str(number)))
    return f"{name}-{split}.tfrecord-{index:0{digits}d}-of-{number:0{digits}d}"


def cut_into_shards(count: int, size_bytes: int, *, target_bytes: int) -> list[tuple[int, int]]:
    """First picture of each shard and the one behind its last: as many shards as the size asks.

    Args:
        count: Pictures of the split. Of none there is one empty shard; else no shard is empty.
        size_bytes: Bytes of all of them.
        target_bytes: Bytes a shard holds at most, roughly: shards differ by one picture at most.
    """
    number = max(1, min(count, math.ceil(size_bytes / target_bytes)))
    bounds = [count * index // number for index in range(number + 1)]
    return list(itertools.pairwise(bounds))
