"""Training in 16-bit arithmetic; the weights, and the model that is kept, stay in 32 bit.

P. Micikevicius et al., "Mixed Precision Training", ICLR 2018, arXiv 1710.03740.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf

FULL_PRECISION = "float32"
_SCALING = (keras.layers.Rescaling, keras.layers.Normalization)


def choose_precision(*, mixed: bool) -> str:
    """The dtype policy of a training: on a GPU float16, which needs its loss scaled, else bfloat16.

    Args:
        mixed: Whether 16-bit arithmetic is asked for.
    """
    if not mixed:
        return FULL_PRECISION
    return "mixed_float16" if tf.config.list_physical_devices("GPU") else "mixed_bfloat16"


@contextlib.contextmanager
def computing_in(model: keras.Model, policy: str) -> Iterator[None]:
    """Lets the layers of `model` compute under `policy` within the block, and as before after it.

    Scaling of grey values and the outputs stay in full precision: eight bits of mantissa are not
    enough for the first, and the losses need the others.

    Args:
        model: A functional model that computes in float32; its weights stay as they are.
        policy: Name of a dtype policy of Keras whose variables are float32.
    """
    outputs = {tensor._keras_history.operation for tensor in model.outputs}
    layers = [
        layer for layer in model.layers if layer not in outputs and not isinstance(layer, _SCALING)
    ]
    try:
        for layer in layers:
            layer.dtype_policy = policy
        yield
    finally:
        for layer in layers:
            layer.dtype_policy = FULL_PRECISION
