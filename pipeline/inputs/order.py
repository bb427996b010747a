"""The order in which training sees its rows: a pure function of the seed and the step.

So a training that goes on from step k sees exactly what it would have seen without a break.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt


def rows_of_step(step: int, *, batch_size: int, count: int, seed: int) -> npt.NDArray[np.int64]:
    """Rows of the batch number `step`.

    The batches, one after another, run through one permutation of all rows after the other. Every
    batch is full: one may hold the end of a permutation and the beginning of the next.

    Args:
        step: Number of the batch, from 0.
        batch_size: Rows a batch.
        count: Rows there are, at least 1.
        seed: Seed of the permutations, at least 0.

    Returns:
        int64 `[batch_size]`, each from 0 to `count - 1`.
    """
    epochs, places = np.divmod(step * batch_size + np.arange(batch_size), count)
    rows = np.empty([batch_size], np.int64)
    for epoch in np.unique(epochs):
        of_epoch = epochs == epoch
        rows[of_epoch] = _permutation(seed, int(epoch), count)[places[of_epoch]]
    return rows


# A few, because batches are made ahead and a batch may reach into the next permutation.
@functools.lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, count: int) -> npt.NDArray[np.int64]:
    rows = np.random.default_rng([seed, epoch]).permutation(count)
    rows.flags.writeable = False
    return rows
