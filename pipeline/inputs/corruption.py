"""What the autoencoder is shown in pretraining in place of the picture it is to reconstruct.

* `plain`: the picture itself.
* `denoising`: the picture with Gaussian noise. P. Vincent et al., "Stacked denoising autoencoders",
  JMLR 11, 2010.
* `masked`: half of its patches hidden behind its mean. K. He et al., "Masked autoencoders are
  scalable vision learners", CVPR 2022, arXiv 2111.06377.
"""

from __future__ import annotations

import tensorflow as tf

NOISE_DEVIATION = 25.5
"""In grey values: a tenth of the range."""
MASKED_SHARE = 0.5
PATCHES_A_SIDE = 16


@tf.autograph.experimental.do_not_convert
def corrupt(kind: str, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Corrupts a batch of pictures.

    Args:
        kind: `plain`, `denoising` or `masked`.
        images: float32 `[batch, side, side, channels]`, 0 to 255.
        seed: int64 `[2]`; the same seed gives the same answer.

    Returns:
        float32 of the same shape; noise may lead beyond 0 and 255.
    """
    if kind == "plain":
        return images
    # Apart from the seeds of augmentation, which may be the same pair.
    seed = tf.random.experimental.stateless_fold_in(tf.cast(seed, tf.int32), 1)
    if kind == "denoising":
        return images + NOISE_DEVIATION * tf.random.stateless_normal(tf.shape(images), seed)
    mean = tf.reduce_mean(images, axis=[1, 2], keepdims=True)
    return tf.where(_draw_hidden(images, seed), mean, images)


def _draw_hidden(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """What is hidden, bool `[batch, side, side, 1]`: whole patches, each with `MASKED_SHARE`."""
    batch, side = tf.shape(images)[0], images.shape[1]
    grid = [batch, PATCHES_A_SIDE, PATCHES_A_SIDE, 1]
    hidden = tf.random.stateless_uniform(grid, seed) < MASKED_SHARE
    patch = -(-side // PATCHES_A_SIDE)
    whole = tf.repeat(tf.repeat(hidden, patch, axis=1), patch, axis=2)
    return whole[:, :side, :side]
