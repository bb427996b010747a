from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from models.cam_weights import (
    fuse_heatmaps,
    grad_cam_plus_plus_weights,
    grad_cam_weights,
    layer_cam_weights,
    raise_to_powers,
    render_heatmap,
    smooth_grad_cam_plus_plus_weights,
    xgrad_cam_weights,
)

Array = npt.NDArray[np.float64]


def one_channel(rows: list[list[float]]) -> Array:
    return np.array(rows)[np.newaxis, ..., np.newaxis]


def drawn(seed: int, *, samples: int = 1) -> tuple[Array, Array]:
    """Activations as after a ReLU, gradients of both signs, short of the pole of alpha."""
    generator = np.random.default_rng(seed)
    activations = np.maximum(generator.normal(size=(3, 4, 5, 6)), 0)
    gradients = generator.normal(size=(samples, 3, 4, 5, 6)) / 20
    gradients[:, :, 0] = 0
    return activations, gradients


def moments(gradients: Array) -> tf.Tensor:
    """Means of the powers over the noisy samples in front."""
    return tf.reduce_mean(raise_to_powers(gradients), axis=1)


def reference_plus_plus(activations: Array, gradients: Array, logits: Array | None = None) -> Array:
    """Equation 19 of Grad-CAM++ as printed, position by position, with alphas summing up to 1.

    `gradients` has the noisy samples in front; with one sample it is Grad-CAM++, with more the
    derivatives are their means. `logits` put the factor exp(S) into the derivatives.
    """
    _, pictures, height, width, channels = gradients.shape
    weights = np.zeros([pictures, channels])
    for n, k in np.ndindex(pictures, channels):
        factor = 1.0 if logits is None else np.exp(logits[n])
        alphas, positives = np.zeros([height, width]), np.zeros([height, width])
        for i, j in np.ndindex(height, width):
            values = gradients[:, n, i, j, k]
            first, second, third = (factor * np.mean(values**power) for power in (1, 2, 3))
            if second > 0:
                alphas[i, j] = second / (2 * second + activations[n, :, :, k].sum() * third)
            positives[i, j] = max(first, 0)
        weights[n, k] = (alphas / alphas.sum() * positives).sum()
    return weights


def reference_xgrad(activations: Array, gradients: Array) -> Array:
    """Equation 11 of XGrad-CAM, channel by channel."""
    pictures, _, _, channels = activations.shape
    weights = np.zeros([pictures, channels])
    for n, k in np.ndindex(pictures, channels):
        shares = activations[n, :, :, k] / activations[n, :, :, k].sum()
        weights[n, k] = (shares * gradients[n, :, :, k]).sum()
    return weights


def test_grad_cam_plus_plus_by_hand() -> None:
    # sum A = 2; alpha = 1/(2 + 2g) = 1/4, 1, 0 (no gradient), 1/3; their sum is 19/12.
    weights = grad_cam_plus_plus_weights(
        one_channel([[1, 0], [0, 1]]), one_channel([[1, -0.5], [0, 0.5]])
    )
    np.testing.assert_allclose(weights, [[(1 / 4 * 1 + 1 / 3 * 0.5) / (19 / 12)]], rtol=1e-6)


def test_grad_cam_plus_plus_follows_the_paper_up_to_the_factor_exp_of_the_logit() -> None:
    activations, gradients = drawn(1)
    logits = np.array([-3.0, 0.0, 5.0])
    weights = grad_cam_plus_plus_weights(activations, gradients[0])
    np.testing.assert_allclose(weights, reference_plus_plus(activations, gradients), rtol=1e-5)
    with_factor = reference_plus_plus(activations, gradients, logits)
    np.testing.assert_allclose(weights * np.exp(logits)[:, np.newaxis], with_factor, rtol=1e-5)


def test_grad_cam_plus_plus_of_a_gradient_that_is_everywhere_the_same_is_its_positive_part() -> (
    None
):
    activations, _ = drawn(2)
    gradient = np.array([3.0, -2.0, 0.0, 1e-3, 40.0, -1e-3])
    weights = grad_cam_plus_plus_weights(activations, np.broadcast_to(gradient, activations.shape))
    np.testing.assert_allclose(weights, np.tile(np.maximum(gradient, 0), (3, 1)), rtol=1e-5)


@pytest.mark.parametrize("negative", [-0.99, -0.9999999, -1.0, -1.0000001, -1.01, -50.0])
def test_grad_cam_plus_plus_stays_within_the_gradients_at_the_pole(negative: float) -> None:
    # sum A = 2, so the pole is at a gradient of -1.
    weights = grad_cam_plus_plus_weights(one_channel([[1, 1]]), one_channel([[0.5, negative]]))
    assert 0 <= float(weights[0, 0]) <= 0.5


@given(
    exponent=st.integers(-30, 30),
    values=st.lists(st.floats(-1, 1, width=32), min_size=4, max_size=4),
    samples=st.integers(1, 3),
)
@settings(max_examples=60, deadline=None)
def test_weights_are_finite_at_any_size_of_the_gradient(
    exponent: int, values: list[float], samples: int
) -> None:
    activations = one_channel([[0, 1], [2, 3]]).astype(np.float32)
    gradients = (
        one_channel([values[:2], values[2:]]).astype(np.float32) * np.float32(10.0) ** exponent
    )
    stacked = np.stack([gradients] * samples)
    for weights in (
        grad_cam_plus_plus_weights(activations, gradients),
        smooth_grad_cam_plus_plus_weights(activations, moments(stacked)),
        grad_cam_weights(activations, gradients),
        layer_cam_weights(activations, gradients),
        xgrad_cam_weights(activations, gradients),
    ):
        heatmap = render_heatmap(activations, weights, (2, 2)).numpy()
        assert np.isfinite(weights).all()
        assert np.isfinite(heatmap).all()
        assert heatmap.max() in (0.0, 1.0)


def test_smooth_grad_cam_plus_plus_by_hand() -> None:
    # Two samples, sum A = 1. Left: g = 1, 3, so D1 = 2, D2 = 5, D3 = 14, alpha = 5/24.
    # Right: g = 1, 1, alpha = 1/3 = 8/24. With the last sample alone in place of D1: 23/13.
    gradients = np.stack([one_channel([[1, 1]]), one_channel([[3, 1]])])
    weights = smooth_grad_cam_plus_plus_weights(one_channel([[0.5, 0.5]]), moments(gradients))
    np.testing.assert_allclose(weights, [[(5 * 2 + 8 * 1) / 13]], rtol=1e-6)


def test_smooth_grad_cam_plus_plus_follows_the_means_of_the_powers() -> None:
    activations, gradients = drawn(3, samples=4)
    weights = smooth_grad_cam_plus_plus_weights(activations, moments(gradients))
    np.testing.assert_allclose(weights, reference_plus_plus(activations, gradients), rtol=1e-5)


def test_smooth_grad_cam_plus_plus_of_equal_samples_is_grad_cam_plus_plus() -> None:
    activations, gradients = drawn(4)
    np.testing.assert_allclose(
        smooth_grad_cam_plus_plus_weights(activations, moments(np.repeat(gradients, 5, axis=0))),
        grad_cam_plus_plus_weights(activations, gradients[0]),
        rtol=1e-5,
    )


def test_grad_cam_is_the_mean_of_the_gradient() -> None:
    weights = grad_cam_weights(one_channel([[5, 0]]), one_channel([[2, -1]]))
    np.testing.assert_allclose(weights, [[(2 - 1) / 2]])


def test_layer_cam_follows_the_paper_position_by_position() -> None:
    activations, gradients = drawn(9)
    expected = np.zeros(activations.shape[:3])
    for n, i, j, k in np.ndindex(activations.shape):
        expected[n, i, j] += max(gradients[0, n, i, j, k], 0) * activations[n, i, j, k]
    weights = layer_cam_weights(activations, gradients[0])
    size = activations.shape[1:3]
    np.testing.assert_allclose(
        render_heatmap(activations, weights, size),
        expected / expected.max(axis=(1, 2), keepdims=True),
        rtol=1e-4,
        atol=1e-6,
    )


def test_fused_maps_show_what_one_of_them_shows() -> None:
    one, other = (tf.constant([[values]]) for values in ([1.0, 0.2, 0.0], [0.5, 0.7, 0.0]))
    np.testing.assert_allclose(fuse_heatmaps([one, other]), [[[1.0, 0.7, 0.0]]])
    np.testing.assert_array_equal(fuse_heatmaps([one]), one)


def test_xgrad_cam_by_hand() -> None:
    weights = xgrad_cam_weights(one_channel([[1, 3]]), one_channel([[2, -1]]))
    np.testing.assert_allclose(weights, [[(1 * 2 + 3 * -1) / 4]])


def test_xgrad_cam_follows_the_paper_and_its_axiom_of_conservation() -> None:
    activations, gradients = drawn(5)
    weights = xgrad_cam_weights(activations, gradients[0]).numpy()
    np.testing.assert_allclose(
        weights, reference_xgrad(activations, gradients[0]), rtol=1e-4, atol=1e-7
    )
    np.testing.assert_allclose(
        (weights[:, np.newaxis, np.newaxis] * activations).sum(axis=(1, 2)),
        (activations * gradients[0]).sum(axis=(1, 2)),
        rtol=1e-4,
        atol=1e-6,
    )


def test_a_channel_without_activation_has_no_xgrad_weight() -> None:
    assert float(xgrad_cam_weights(one_channel([[0, 0]]), one_channel([[1, 1]]))[0, 0]) == 0


def test_rendering_sums_cuts_off_enlarges_and_scales() -> None:
    activations = np.array([[[[1.0, 2.0], [3.0, 0.0]]]])  # 1 x 2 positions, 2 channels
    weights = np.array([[2.0, -1.0]])  # sums 0 and 6
    np.testing.assert_allclose(
        render_heatmap(activations, weights, (1, 4)), [[[0, 0.25, 0.75, 1]]], atol=1e-6
    )
    cut_off = render_heatmap(activations, np.array([[-2.0, 2.0]]), (1, 2))  # sums 2 and -6
    np.testing.assert_allclose(cut_off, [[[1, 0]]], atol=1e-6)


@pytest.mark.parametrize("weight", [0.0, -1.0, -1e30])
def test_a_map_of_nothing_is_zero_everywhere(weight: float) -> None:
    heatmap = render_heatmap(np.ones([2, 3, 3, 1]), np.full([2, 1], weight), (6, 6))
    np.testing.assert_array_equal(heatmap, np.zeros([2, 6, 6]))


def test_rendering_does_not_depend_on_the_size_of_weights_or_activations() -> None:
    activations, _ = drawn(6)
    weights = np.random.default_rng(7).normal(size=(3, 6))
    plain = render_heatmap(activations, weights, (8, 10))
    for factor in (1e-30, 1e-3, 1e30):
        np.testing.assert_allclose(
            render_heatmap(activations * factor, weights, (8, 10)), plain, atol=1e-6
        )
        np.testing.assert_allclose(
            render_heatmap(activations, weights * factor, (8, 10)), plain, atol=1e-6
        )


def test_pictures_of_a_batch_are_scaled_apart() -> None:
    activations = np.array([1.0, 100.0]).reshape(2, 1, 1, 1)
    heatmaps = render_heatmap(activations, np.ones([2, 1]), (1, 1))
    np.testing.assert_array_equal(np.ravel(heatmaps), [1, 1])


def test_the_rules_run_in_a_graph_whose_batch_is_unknown() -> None:
    rules = (
        grad_cam_weights,
        grad_cam_plus_plus_weights,
        xgrad_cam_weights,
        layer_cam_weights,
    )

    @tf.function(input_signature=[tf.TensorSpec([None, 4, 5, 6]), tf.TensorSpec([None, 4, 5, 6])])
    def explain(activations: tf.Tensor, gradients: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return tuple(
            render_heatmap(activations, rule(activations, gradients), (8, 10)) for rule in rules
        )

    activations, gradients = (values.astype(np.float32) for values in drawn(8))
    traced = explain(activations, gradients[0])
    for rule, heatmap in zip(rules, traced, strict=True):
        eager = render_heatmap(activations, rule(activations, gradients[0]), (8, 10))
        np.testing.assert_allclose(heatmap, eager, atol=1e-6)
