"""The methods of class activation maps by name.

The algorithm is `models.cam_base`, the papers' rules are `models.cam_weights`.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from models import cam_weights
from models.affine_head import is_affine_above
from models.cam_base import ClassActivationMap, Layers

# Smilkov et al., "SmoothGrad", 2017, arXiv 1706.03825, add 10 to 20 % of the range to photographs.
# On steel textures 10 % made the autoencoder decide otherwise on six pictures of ten, 2 % on none.
# With 8 samples the maps of two seeds differ by less than 0.01 in any pixel.
NOISE_SAMPLES = 8
NOISE_SHARE = 0.02

_NOISY_AT_ONCE = 16


class GradCam(ClassActivationMap):
    """Grad-CAM: see `cam_weights.grad_cam_weights`."""

    rule = staticmethod(cam_weights.grad_cam_weights)


class LayerCam(ClassActivationMap):
    """LayerCAM: see `cam_weights.layer_cam_weights`."""

    rule = staticmethod(cam_weights.layer_cam_weights)


class GradCamPlusPlus(ClassActivationMap):
    """Grad-CAM++: see `cam_weights.grad_cam_plus_plus_weights`.

    The map that `tf_keras_vis.gradcam_plus_plus.GradcamPlusPlus` gives, save where its factor
    `exp(logit)` overflows or its `alpha` passes its pole.
    """

    rule = staticmethod(cam_weights.grad_cam_plus_plus_weights)


class XGradCam(ClassActivationMap):
    """XGrad-CAM: see `cam_weights.xgrad_cam_weights`."""

    rule = staticmethod(cam_weights.xgrad_cam_weights)


class SmoothGradCamPlusPlus(ClassActivationMap):
    """Smooth Grad-CAM++: see `cam_weights.smooth_grad_cam_plus_plus_weights`.

    Where the logits are affine in the layer's activations (above it nothing but mean pooling and a
    dense layer) the gradient is the same for every picture, and the map is that of Grad-CAM++: no
    noisy copy is needed, and none is passed.

    The noise is Gaussian, with a standard deviation of `noise_share` of each picture's own range,
    and drawn from a fixed seed: the same picture has the same map, alone or in a batch. Values
    that it pushes beyond the picture's range stay there, as in SmoothGrad.

    Args:
        model: As in `ClassActivationMap`.
        layers: As in `ClassActivationMap`.
        samples: Noisy copies a picture; each costs one pass. Some 16 pass together, however many
            there are.
        noise_share: Standard deviation of the noise as a share of the picture's range.
        seed: Seed of the noise.
    """

    rule = staticmethod(cam_weights.smooth_grad_cam_plus_plus_weights)

    def __init__(
        self,
        model: keras.Model,
        layers: str | Sequence[str],
        *,
        samples: int = NOISE_SAMPLES,
        noise_share: float = NOISE_SHARE,
        seed: int = 0,
    ) -> None:
        self.samples = samples
        self.noise_share = noise_share
        self.seed = seed
        super().__init__(model, layers)
        self.needs_noise = not all(is_affine_above(self.model, name) for name in self._layer_names)

    def _refine(self, images: tf.Tensor, class_indices: tf.Tensor, layers: Layers) -> Layers:
        if not self.needs_noise:
            return [(part, cam_weights.raise_to_powers(gradient)) for part, gradient in layers]
        activations = [activation for activation, _ in layers]
        zeros = tuple(tf.zeros_like(cam_weights.raise_to_powers(part)) for part in activations)
        # Sums of the powers are all that is kept, so that memory does not grow with the samples.
        at_once = tf.maximum(1, _NOISY_AT_ONCE // tf.maximum(1, tf.shape(images)[0]))

        def add_some(start: tf.Tensor, *sums: tf.Tensor) -> tuple[tf.Tensor, ...]:
            samples = tf.range(start, tf.minimum(start + at_once, self.samples))
            parts = self._sum_powers(images, class_indices, samples)
            return start + at_once, *(x + part for x, part in zip(sums, parts, strict=True))

        _, *sums = tf.while_loop(
            lambda start, *sums: start < self.samples, add_some, (tf.constant(0), *zeros)
        )
        means = [total / self.samples for total in sums]
        return list(zip(activations, means, strict=True))

    def _sum_powers(
        self, images: tf.Tensor, indices: tf.Tensor, samples: tf.Tensor
    ) -> list[tf.Tensor]:
        """Of each layer: `raise_to_powers` of the gradients, summed over some noisy copies."""
        count = tf.shape(samples)[0]
        # One field for all pictures: drawn a picture, it would depend on the place in the batch.
        noise = tf.map_fn(
            lambda sample: tf.random.stateless_normal(tf.shape(images)[1:], (self.seed, sample)),
            samples,
            fn_output_signature=tf.TensorSpec(images.shape[1:], tf.float32),
        )
        deviation = self.noise_share * (
            tf.reduce_max(images, axis=(1, 2, 3), keepdims=True)
            - tf.reduce_min(images, axis=(1, 2, 3), keepdims=True)
        )
        noisy = images + deviation * noise[:, tf.newaxis]
        noisy = tf.reshape(noisy, tf.concat([[-1], tf.shape(images)[1:]], axis=0))
        noisy.set_shape([None, *images.shape[1:]])
        _, layers = self._measure(noisy, tf.tile(indices, [count]))
        powers = [cam_weights.raise_to_powers(gradients) for _, gradients in layers]
        shapes = [tf.concat([[3, count, -1], tf.shape(part)[2:]], axis=0) for part in powers]
        return [
            tf.ensure_shape(tf.reduce_sum(tf.reshape(part, shape), axis=1), part.shape)
            for part, shape in zip(powers, shapes, strict=True)
        ]


_CAMS: dict[str, type[ClassActivationMap]] = {
    "gradcam": GradCam,
    "gradcam++": GradCamPlusPlus,
    "smoothgradcam++": SmoothGradCamPlusPlus,
    "xgradcam": XGradCam,
    "layercam": LayerCam,
}
METHODS = tuple(_CAMS)


def make_cam(method: str, model: keras.Model, layers: str | Sequence[str]) -> ClassActivationMap:
    """Builds the maps of one method, with its defaults.

    Args:
        method: One of `METHODS`.
        model: As in `ClassActivationMap`.
        layers: As in `ClassActivationMap`.

    Returns:
        What explains pictures; see `ClassActivationMap.explain`.

    Raises:
        ValueError: The method is unknown, or the model or layer cannot be explained.
    """
    if method not in _CAMS:
        raise ValueError(f"Unknown method {method!r}; known are {', '.join(METHODS)}.")
    return _CAMS[method](model, layers)
