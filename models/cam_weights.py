"""Weighting rules of class activation maps: one pure function a paper, and the drawing of the map.

All rules share their symbols. For one picture and one class `c`, channel `k` of the chosen layer
has the activations `A_ij` at position `(i, j)`, and `g_ij = dS/dA_ij` is the gradient of the
class's logit `S`. A rule turns the two into weights `w`, one a channel or one a position of it; the
map is `ReLU(sum_k w^k A^k)`.

Everything is TensorFlow operations, so that the same rule runs eagerly, in a `tf.function` and
inside the SavedModel. Every quotient is 0 where its denominator is 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

_SPACE = (1, 2)


def grad_cam_weights(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Grad-CAM: the mean of the gradient.

    Selvaraju, Cogswell, Das, Vedantam, Parikh and Batra, "Grad-CAM: Visual explanations from deep
    networks via gradient-based localization", ICCV 2017, arXiv 1610.02391, equation 1:
    `w = (1 / Z) sum_ij g_ij` with `Z` the number of positions; equation 2 is the map.

    Deviation: none.

    Args:
        activations: `[batch, h, w, channels]`; `A`. Not used.
        gradients: `[batch, h, w, channels]`; `g`.

    Returns:
        float32 `[batch, channels]`; of either sign.
    """
    return tf.reduce_mean(tf.cast(gradients, tf.float32), axis=_SPACE)


def layer_cam_weights(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """LayerCAM: every position has a weight of its own, the positive part of its gradient.

    Jiang, Zhang, Hou, Cheng and Wei, "LayerCAM: Exploring hierarchical class activation maps for
    localization", IEEE Transactions on Image Processing 30, 2021: `w_ij = ReLU(g_ij)`.

    Deviation: the paper draws the maps of shallow layers through `tanh` before they are fused with
    deep ones; here every map is scaled by its maximum alone.

    Args:
        activations: `[batch, h, w, channels]`; `A`. Not used.
        gradients: `[batch, h, w, channels]`; `g`.

    Returns:
        float32 `[batch, h, w, channels]`; not negative.
    """
    return tf.nn.relu(tf.cast(gradients, tf.float32))


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
    return smooth_grad_cam_plus_plus_weights(activations, raise_to_powers(gradients))


def raise_to_powers(gradients: tf.Tensor) -> tf.Tensor:
    """First, second and third power, whose means `smooth_grad_cam_plus_plus_weights` takes.

    They leave float32 long before the gradient does; float64 holds those of every float32.

    Args:
        gradients: `[..., channels]`; `g`.

    Returns:
        float64 `[3, ..., channels]`.
    """
    gradients = tf.cast(gradients, tf.float64)
    squares = tf.square(gradients)
    return tf.stack([gradients, squares, squares * gradients])


def smooth_grad_cam_plus_plus_weights(activations: tf.Tensor, moments: tf.Tensor) -> tf.Tensor:
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
        moments: float64 `[3, batch, h, w, channels]`; `D1`, `D2`, `D3`, the means over the noisy
            pictures of what `raise_to_powers` gives. Sums of them can be taken in any portions.

    Returns:
        float32 `[batch, channels]`; not negative where no activation is.
    """
    activations = tf.cast(activations, tf.float64)
    first, second, third = tf.unstack(moments)
    total = tf.reduce_sum(activations, axis=_SPACE, keepdims=True)
    alpha = tf.math.divide_no_nan(second, 2.0 * second + total * third)
    alpha = tf.math.divide_no_nan(alpha, tf.reduce_sum(tf.abs(alpha), axis=_SPACE, keepdims=True))
    return tf.cast(tf.reduce_sum(alpha * tf.nn.relu(first), axis=_SPACE), tf.float32)


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
        weights: `[batch, channels]` or `[batch, h, w, channels]`, as one of the rules gives them.
        size: Height and width of the maps in pixels; enlarged bilinearly.

    Returns:
        float32 `[batch, height, width]`, 0 to 1. A map with nothing above 0 is 0 everywhere.
    """
    activations = _as_share_of_largest(tf.cast(activations, tf.float32), axis=(1, 2, 3))
    weights = tf.cast(weights, tf.float32)
    if weights.shape.rank == 2:
        weights = weights[:, tf.newaxis, tf.newaxis]
    weights = _as_share_of_largest(weights, axis=(1, 2, 3))
    coarse = tf.nn.relu(tf.reduce_sum(activations * weights, axis=-1))
    maps = tf.image.resize(coarse[..., tf.newaxis], size, method="bilinear")[..., 0]
    return _as_share_of_largest(maps, axis=_SPACE)


def fuse_heatmaps(heatmaps: Sequence[tf.Tensor]) -> tf.Tensor:
    """One map of those of several layers: wherever one of them finds something, it is there.

    The pixel by pixel maximum, as LayerCAM's authors fuse; see `layer_cam_weights`.

    Args:
        heatmaps: Of each layer, as `render_heatmap` gives them.

    Returns:
        As one of them.
    """
    return heatmaps[0] if len(heatmaps) == 1 else tf.reduce_max(tf.stack(heatmaps), axis=0)


def _as_share_of_largest(values: tf.Tensor, *, axis: tuple[int, ...]) -> tf.Tensor:
    return tf.math.divide_no_nan(values, tf.reduce_max(tf.abs(values), axis=axis, keepdims=True))
