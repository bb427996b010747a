"""Weighting rules of class activation maps: one pure function a paper, and the drawing of the map.

All rules share their symbols. For one picture and one class `c`, channel `k` of the chosen layer
has the activations `A_ij` at position `(i, j)`, and `g_ij = dS/dA_ij` is the gradient of the
class's logit `S`. A rule turns the two into one weight `w` a channel; the map is
`ReLU(sum_k w^k A^k)`.

Everything is TensorFlow operations on float32, so that the same rule runs eagerly, in a
`tf.function` and inside the SavedModel. Every quotient is 0 where its denominator is 0.
"""

from __future__ import annotations

import tensorflow as tf

_SPACE = (1, 2)


def grad_cam_plus_plus_weights(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Grad-CAM++: positive gradients, averaged with a coefficient `alpha` a position.

    Chattopadhay, Sarkar, Howlader and Balasubramanian, "Grad-CAM++: Generalized gradient-based
    visual explanations for deep convolutional networks", WACV 2018, arXiv 1710.11063:
    `w = sum_ij alpha_ij ReLU(dY/dA_ij)` with `Y = exp(S)`, whose derivatives are
    `exp(S) g`, `exp(S) g^2` and `exp(S) g^3` where `S` is piecewise linear in `A`, hence
    (equation 19) `alpha_ij = g_ij^2 / (2 g_ij^2 + (sum_ab A_ab) g_ij^3)`, 0 where `g_ij` is 0.

    Deviations:
        * `exp(S)` is left out: in `alpha` it cancels, in `w` it is one factor for all channels,
          which the map's scaling removes. As a number it overflows float32 from a logit of 89 on.
        * `alpha` is divided by its sum over the channel's positions. The paper's text does not say
          so; the authors' program and tf-keras-vis do.
        * That sum is one of absolute values. `alpha` has a pole at `(sum_ab A_ab) g_ij = -2`, and
          beyond it is negative, so that a plain sum (tf-keras-vis) may be near 0 or turn the
          channel's sign. Short of the pole both are the same; and no weight can exceed the
          channel's largest gradient.

    Where the gradient is the same at all positions of a channel (global average pooling) the
    weight is `ReLU(g)`, and scaling the logit does not change the map. Elsewhere it does: `alpha`
    depends on the size of the gradient, not on its sign alone.

    Args:
        activations: `[batch, h, w, channels]`; `A`.
        gradients: `[batch, h, w, channels]`; `g`.

    Returns:
        float32 `[batch, channels]`; not negative where no activation is.
    """
    return smooth_grad_cam_plus_plus_weights(activations, gradients[tf.newaxis])


def smooth_grad_cam_plus_plus_weights(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Smooth Grad-CAM++: the powers of the gradient in Grad-CAM++ are means over noisy pictures.

    Omeiza, Speakman, Cintas and Weldermariam, "Smooth Grad-CAM++: An enhanced inference level
    visualization technique for deep convolutional neural network models", 2019,
    arXiv 1908.01224. With `D1`, `D2`, `D3` the means of the first, second and third derivative
    over `n` pictures to which noise was added:
    `w = sum_ij alpha_ij ReLU(D1_ij)`, `alpha_ij = D2_ij / (2 D2_ij + (sum_ab A_ab) D3_ij)`.
    As in Grad-CAM++ the derivatives are `g`, `g^2` and `g^3`; `A` is of the picture without noise.

    Deviations:
        * The paper prints `D1` as the numerator of `alpha`. With it neither does one picture
          without noise give Grad-CAM++, nor is `alpha` free of the gradient's unit; `D2` has both.
        * Those of `grad_cam_plus_plus_weights`. `exp(S)` is left out of each sample's derivatives,
          where the paper does not name it: it would be another factor a sample, and the sample
          with the largest logit would decide alone.

    Args:
        activations: `[batch, h, w, channels]`; `A`.
        gradients: `[samples, batch, h, w, channels]`; `g` of each noisy picture.

    Returns:
        float32 `[batch, channels]`; not negative where no activation is.
    """
    activations = tf.cast(activations, tf.float32)
    gradients = tf.cast(gradients, tf.float32)
    # Powers of a gradient leave float32 long before the gradient does; they are taken of the
    # gradient as a share of its channel's largest, and `alpha` gets the size back.
    scale = tf.reduce_max(tf.abs(gradients), axis=(0, 2, 3), keepdims=True)
    shares = tf.math.divide_no_nan(gradients, scale)
    scale = scale[0]
    first = tf.reduce_mean(shares, axis=0)
    second = tf.reduce_mean(tf.square(shares), axis=0)
    third = tf.reduce_mean(shares**3, axis=0)
    total = scale * tf.reduce_sum(activations, axis=_SPACE, keepdims=True)
    alpha = tf.math.divide_no_nan(second, 2.0 * second + total * third)
    alpha = tf.math.divide_no_nan(alpha, tf.reduce_sum(tf.abs(alpha), axis=_SPACE, keepdims=True))
    return tf.reduce_sum(alpha * scale * tf.nn.relu(first), axis=_SPACE)


def xgrad_cam_weights(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """XGrad-CAM: the mean of the gradient, weighted by the activation.

    Fu, Hu, Dong, Guo, Gao and Li, "Axiom-based Grad-CAM: Towards accurate visualization and
    explanation of CNNs", BMVC 2020, arXiv 2008.02312:
    `w = sum_ij (A_ij / sum_ab A_ab) g_ij`. The map of a channel then sums up to
    `sum_ij A_ij g_ij`, which with a head that is linear in `A` is that channel's share of the
    logit (the paper's axiom of conservation).

    Deviation: none; a channel whose activations sum up to 0 has the weight 0.

    Args:
        activations: `[batch, h, w, channels]`; `A`.
        gradients: `[batch, h, w, channels]`; `g`.

    Returns:
        float32 `[batch, channels]`; of either sign.
    """
    activations = tf.cast(activations, tf.float32)
    total = tf.reduce_sum(activations, axis=_SPACE, keepdims=True)
    shares = tf.math.divide_no_nan(activations, total)
    return tf.reduce_sum(shares * tf.cast(gradients, tf.float32), axis=_SPACE)


def render_heatmap(
    activations: tf.Tensor, weights: tf.Tensor, size: tuple[int, int] | tf.Tensor
) -> tf.Tensor:
    """Draws the map: weighted sum over channels, ReLU, enlarging, scaling by its maximum.

    Scaling is by the maximum alone, not by minimum and maximum: 0 means "no evidence for the
    class" in every map. It is done last, so that the brightest pixel is 1.

    Args:
        activations: `[batch, h, w, channels]`.
        weights: `[batch, channels]`, as one of the rules gives them.
        size: Height and width of the maps in pixels; enlarged bilinearly.

    Returns:
        float32 `[batch, height, width]`, 0 to 1. A map with nothing above 0 is 0 everywhere.
    """
    activations = _as_share_of_largest(tf.cast(activations, tf.float32), axis=(1, 2, 3))
    weights = _as_share_of_largest(tf.cast(weights, tf.float32), axis=(1,))
    coarse = tf.nn.relu(tf.einsum("bijk,bk->bij", activations, weights))
    maps = tf.image.resize(coarse[..., tf.newaxis], size, method="bilinear")[..., 0]
    return _as_share_of_largest(maps, axis=_SPACE)


def _as_share_of_largest(values: tf.Tensor, *, axis: tuple[int, ...]) -> tf.Tensor:
    return tf.math.divide_no_nan(values, tf.reduce_max(tf.abs(values), axis=axis, keepdims=True))
