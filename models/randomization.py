"""Random weights from the output downwards: does a map notice that the model has gone?

Adebayo, Gilmer, Muelly, Goodfellow, Hardt and Kim, "Sanity checks for saliency maps", NeurIPS 2018,
arXiv 1810.03292, cascading randomisation: the layers of a trained model lose what they
have learned one after another, the last first, and after each the maps are made anew. A map that
stays as it was shows the picture, not the model.

Deviation: the paper draws new values from each layer's initializer; here a tensor gets its own
values in random order. What is learned is gone, the scale of the weights stays.

The statistics of batch normalisation (moving mean and variance) are no weights: they are measured,
and there is no drawing them. They are left as they are, or measured anew for the layers drawn so
far, from pictures handed in. Hand them in: old statistics do not fit new weights. In a trained
autoencoder (NEU, 20 layers, 64 pictures) with all weights permuted, the mean features of different
pictures then differed by a deviation of 0.01 instead of 0.48, with statistics measured anew by
0.16; those of places within a picture by 0.05 instead of 0.33, measured anew by 0.53. Such a net no
longer sees the picture. 49 of its 64 Grad-CAM maps were empty, measured anew none; that maps change
so says nothing. In an Xception with 81 layers the features grew tenfold instead.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from models.backbone import calibrate_batch_norm
from models.cam_base import cut_at_logits

STAGES = 8

_STATISTICS = frozenset({"moving_mean", "moving_variance", "mean", "variance", "count"})


class Stage(NamedTuple):
    """How far the model's weights are random.

    Attributes:
        name: The lowest layer drawn so far.
        fraction: Share of the single weights drawn so far, above 0; 1 at the last stage.
    """

    name: str
    fraction: float


@contextmanager
def randomized(
    model: keras.Model,
    *,
    stages: int = STAGES,
    seed: int = 0,
    batches: Sequence[tf.Tensor] = (),
) -> Iterator[Iterator[Stage]]:
    """Draws the weights of `model` in place, stage by stage; all are as before at the end.

    With `with randomized(model) as cascade:` each step of `for stage in cascade:` finds the model
    randomised as `stage` says. Nothing is drawn before the first step. What shares the model's
    weights shares their change; a frozen graph does not. When the block ends, also by an
    exception, every weight, statistic and state of a seed is again what it was, to the byte.

    Args:
        model: One flat functional graph. If it has a layer `logits`, only layers that lead there
            are drawn: a decoder has no say in the class.
        stages: At most so many; the layers with weights are divided evenly among them.
        seed: Seed of the draws. The number of stages does not change what is drawn.
        batches: float32 `[batch, height, width, channels]` each, all of one size, in the model's
            own units: pictures to measure the statistics of batch normalisation from.

    Yields:
        An iterator over the stages, from the output downwards.

    Raises:
        ValueError: `stages` is below 1, or the model has no weights.
    """
    if stages < 1:
        raise ValueError(f"There must be at least 1 stage, got {stages}.")
    path = cut_at_logits(model)
    layers = [layer for layer in reversed(path.layers) if _drawn_weights(layer)]
    if not layers:
        raise ValueError(f"The model {model.name!r} has no weights to draw.")
    values = [(variable, np.array(variable.numpy())) for variable in path.variables]
    is_trained = [(norm, norm.trainable) for norm in _norms(path.layers)]
    cascade = _cascade(path, layers, stages, np.random.default_rng(seed), batches)
    try:
        yield cascade
    finally:
        cascade.close()
        for norm, trainable in is_trained:
            norm.trainable = trainable
        for variable, value in values:
            variable.assign(value)


def _cascade(
    path: keras.Model,
    layers: Sequence[keras.layers.Layer],
    stages: int,
    generator: np.random.Generator,
    batches: Sequence[tf.Tensor],
) -> Generator[Stage, None, None]:
    total = sum(_count_weights(layer) for layer in layers)
    done = 0
    ends = np.linspace(0, len(layers), min(stages, len(layers)) + 1).round().astype(int)
    for start, end in itertools.pairwise(ends):
        for layer in layers[start:end]:
            _permute(layer, generator)
            done += _count_weights(layer)
        if batches:
            _measure_statistics(path, layers[:end], batches)
        yield Stage(layers[end - 1].name, done / total)


def _permute(layer: keras.layers.Layer, generator: np.random.Generator) -> None:
    for weight in _drawn_weights(layer):
        # Of all values at once: within a channel, 3 x 3 of them would stay much the same.
        values = np.array(weight.numpy())
        weight.assign(generator.permutation(values.ravel()).reshape(values.shape))


def _measure_statistics(
    path: keras.Model, drawn: Sequence[keras.layers.Layer], batches: Sequence[tf.Tensor]
) -> None:
    """Those of the layers drawn; what lies below runs with its own, and keeps them."""
    norms = _norms(path.layers)
    kept = [norm for norm in norms if norm not in drawn]
    values = [(norm, norm.get_weights()) for norm in kept]
    for norm in norms:
        # In Keras a batch normalisation that is not trainable runs as in inference.
        norm.trainable = norm in drawn
    calibrate_batch_norm(path, batches)
    for norm, weights in values:
        norm.set_weights(weights)


def _norms(layers: Sequence[keras.layers.Layer]) -> list[keras.layers.Layer]:
    return [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]


def _drawn_weights(layer: keras.layers.Layer) -> list[keras.Variable]:
    # By name: of a frozen layer Keras counts every weight among the non-trainable ones.
    return [weight for weight in layer.weights if weight.name not in _STATISTICS]


def _count_weights(layer: keras.layers.Layer) -> int:
    return sum(int(np.prod(weight.shape)) for weight in _drawn_weights(layer))
