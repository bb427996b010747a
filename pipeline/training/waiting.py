"""How long training waits for its input: measured, not guessed from the processor's load."""

from __future__ import annotations

import tensorflow as tf


class WaitMeter:
    """Measures how long whoever takes batches waits for them.

    The clock is read right before and right after a batch is taken from the end of the pipeline, by
    the one who takes it. What is prepared in time costs next to nothing there.

    Args:
        dataset: Batches of tuples. They are prefetched here, so that everything before counts as
            work done ahead; take them from `dataset` of this object and add no further step.

    Attributes:
        dataset: The same batches.
    """

    def __init__(self, dataset: tf.data.Dataset) -> None:
        with tf.device("CPU:0"):
            self._seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        clock = tf.data.Dataset.counter().map(lambda _: tf.timestamp())
        # `zip` takes from its parts one after the other.
        timed = tf.data.Dataset.zip(clock, dataset.prefetch(tf.data.AUTOTUNE), clock)
        options = tf.data.Options()
        # Either would read the clock ahead, in a thread of its own.
        options.experimental_optimization.inject_prefetch = False
        options.experimental_optimization.map_parallelization = False
        self.dataset = timed.map(self._count).with_options(options)

    def take_seconds(self) -> float:
        """Seconds waited since the last call, or since the start; sets them back to 0."""
        seconds = float(self._seconds)
        self._seconds.assign(0.0)
        return seconds

    def _count(self, before: tf.Tensor, batch: tuple, after: tf.Tensor) -> tuple:
        with tf.control_dependencies([self._seconds.assign_add(after - before)]):
            return tf.nest.map_structure(tf.identity, batch)
