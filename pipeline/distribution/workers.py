"""Several replicas of a model trained together: on the GPUs of a machine, on many machines.

Everything below asks TensorFlow which strategy is in force, so that what is the same on one machine
needs no argument for it. Without a strategy there is one worker, which knows everything.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pipeline.distribution.tf_config import Place, read_place
from records.errors import InputError

_NODE = re.compile(r"\{\{.*?\}\}")  # TensorFlow's name of the operation that failed
_WORD = np.dtype(np.int64)
# What TensorFlow raises in the others when a worker is gone, cut off, or started again alone.
_LOST = (
    *(tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError),
    *(tf.errors.CancelledError, tf.errors.FailedPreconditionError, tf.errors.InternalError),
)


def make_strategy(
    distribute: str, place: Place, *, batch_size: int
) -> tf.distribute.Strategy | None:
    """The strategy of a training; must be made before TensorFlow computes anything.

    Args:
        distribute: Value of `--distribute`.
        place: Which worker this is.
        batch_size: Pictures of a step, of all replicas together.

    Returns:
        None for `none`.

    Raises:
        InputError: The batch cannot be shared out equally, or this worker's port cannot be opened.
    """
    if distribute == "none":
        return None
    if distribute == "mirrored":
        strategy = tf.distribute.MirroredStrategy()
    else:
        print(f"Worker {place.index} of {place.workers} waits for the others.", flush=True)
        strategy = _join_workers(place)
    replicas = strategy.num_replicas_in_sync
    if not tf.config.list_physical_devices("GPU") and distribute == "mirrored":
        print(f"There is no GPU; replicas on the processor: {replicas}.", flush=True)
    if batch_size % replicas:
        raise InputError(
            f"A batch of {batch_size} pictures cannot be shared out among {replicas} replicas.",
            f"Give a --batch_size that is a multiple of {replicas}.",
        )
    return strategy


def _join_workers(place: Place) -> tf.distribute.Strategy:
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except tf.errors.UnknownError as error:  # what a server that cannot be started raises
        raise InputError(
            f"Worker {place.index} cannot open the port that TF_CONFIG gives it: {error.message}.",
            "End what else uses the port, such as a worker that was started before, or give this "
            "worker another one in the TF_CONFIG of all.",
        ) from error


def scope(strategy: tf.distribute.Strategy | None) -> AbstractContextManager[Any]:
    """Where variables belong to all replicas; nothing special without a strategy."""
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def gather_from_workers(values: npt.ArrayLike) -> npt.NDArray[Any]:
    """What every worker gives here, in their order: `[workers, ...]`; all wait for all.

    Args:
        values: Numbers of 64 bits, of the same shape for all workers.
    """
    strategy, values = tf.distribute.get_strategy(), np.asarray(values)
    place = _place(strategy)
    if place.workers == 1:
        return values[np.newaxis]
    rows = np.zeros([place.workers, *values.shape], values.dtype)
    rows[place.index] = values
    return _add(strategy, rows)


def sum_over_workers(values: npt.ArrayLike) -> npt.NDArray[Any]:
    """The sum of what every worker gives here, of the same shape."""
    sums: npt.NDArray[Any] = gather_from_workers(values).sum(axis=0)
    return sums


def require_same_for_all(facts: Any) -> None:
    """Holds what the workers are to do against each other.

    Args:
        facts: JSON values.

    Raises:
        InputError: They differ; raised in every worker.
    """
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).digest()
    found = gather_from_workers(np.frombuffer(digest, _WORD))
    if (found != found[0]).any():
        raise InputError(
            "The workers were not started with the same flags, records and versions.",
            "Start all of them by the same command, with the same program; only the index in "
            "TF_CONFIG is each worker's own.",
        )


def send_from_chief(*paths: Path) -> None:
    """Gives every worker the chief's files of these names, or none where the chief has none."""
    strategy = tf.distribute.get_strategy()
    place = _place(strategy)
    for path in paths if place.workers > 1 else ():
        content = path.read_bytes() if place.is_chief and path.exists() else b""
        size = int(sum_over_workers(len(content)))
        words = np.zeros([-(-size // _WORD.itemsize)], _WORD)
        words.view(np.uint8)[: len(content)] = np.frombuffer(content, np.uint8)
        if size:
            content = _add(strategy, words).tobytes()[:size]
            if not place.is_chief:
                path.write_bytes(content)


def take_from_chief(variables: Sequence[Any]) -> None:
    """Gives the variables of every worker the chief's values.

    Args:
        variables: Of Keras, whose values fit in 64 bits.
    """
    for variable in variables:
        values = variable.numpy()
        variable.assign(gather_from_workers(values.astype(np.float64))[0].astype(values.dtype))


@contextlib.contextmanager
def naming_lost_workers(place: Place) -> Iterator[None]:
    """Within the block a worker that is lost is said as such.

    The others cannot go on without it: a batch would lack its pictures. They end, and all are
    started again.

    Args:
        place: Which worker this is.

    Raises:
        InputError: A worker is gone or cannot be reached.
    """
    try:
        yield
    except _LOST as error:
        if place.workers == 1:
            raise
        reason = _NODE.sub("", error.message).strip() or type(error).__name__
        reason = reason.splitlines()[0][:300]
        raise InputError(
            f"Another worker of this training is gone or cannot be reached: {reason}",
            "See what the other workers say, then start all of them again by the same commands: "
            "the training goes on after its last whole epoch.",
        ) from error


def end_together(strategy: tf.distribute.Strategy | None, place: Place) -> None:
    """Lets no worker end before the chief, to which it would be one that is lost.

    Args:
        strategy: Of the training.
        place: Which worker this is. To the chief, which has its model by now, it no longer matters
            what happens to the others.
    """
    with scope(strategy):
        try:
            gather_from_workers(0)
        except _LOST:
            if not place.is_chief:
                raise


def batch_size_of_worker(batch_size: int) -> int:
    """Pictures that each worker gives to a batch of `batch_size`."""
    return batch_size // _place(tf.distribute.get_strategy()).workers


def local_replicas() -> int:
    """Replicas that this worker runs; 1 without a strategy."""
    strategy = tf.distribute.get_strategy()
    replicas: int = strategy.num_replicas_in_sync
    return replicas // _place(strategy).workers


def _place(strategy: tf.distribute.Strategy) -> Place:
    is_many = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
    return read_place("multiworker") if is_many else Place()


def _add(strategy: tf.distribute.Strategy, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The sum over the workers, for each of which its first replica speaks."""
    replicas = local_replicas()

    def of_replica(context: tf.distribute.experimental.ValueContext) -> tf.Tensor:
        is_first = context.replica_id_in_sync_group % replicas == 0
        return tf.constant(values if is_first else np.zeros_like(values))

    spoken = strategy.experimental_distribute_values_from_function(of_replica)
    sums: npt.NDArray[Any] = strategy.reduce("SUM", spoken, axis=None).numpy()
    return sums
