"""What a network costs in arithmetic, and what the cores can do of it."""

from __future__ import annotations

import time

import keras
import numpy as np
import tensorflow as tf

SIDE = 2048  # of the matrices: large enough that nothing but the product counts


def count_operations(model: keras.Model) -> float:
    """Floating-point operations of its convolutions and dense layers for one picture.

    A multiplication and an addition are two. Everything else of a network is left out, so that what
    follows from it is a limit.
    """
    total = 0.0
    for layer in model.layers:
        cells = float(np.prod(layer.output.shape[1:-1])) if layer.get_weights() else 0.0
        for weights in layer.get_weights():
            if weights.ndim == 4:
                total += 2 * cells * weights.size
            elif weights.ndim == 2:
                total += 2 * weights.size
    return total


def multiply(operations: float, *, dtype: tf.DType = tf.float32) -> float:
    """Seconds that so many operations take in products of large matrices, on all cores."""
    first, second = (tf.cast(tf.random.normal([SIDE, SIDE]), dtype) for _ in range(2))
    tf.linalg.matmul(first, second)
    each, best = 2.0 * SIDE**3, float("inf")
    for _ in range(5):
        started = time.perf_counter()
        tf.linalg.matmul(first, second).numpy()
        best = min(best, time.perf_counter() - started)
    return operations / each * best
