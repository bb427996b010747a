"""Class activation maps on tf-keras-vis: one base class runs the algorithm, a subclass the rule.

tf-keras-vis 0.8.7 builds its model anew and runs eagerly at each call. Here its base class and
its model modifiers are used to build the model once, and the passes run in one `tf.function`.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Sequence

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tf_keras_vis import ModelVisualization
from tf_keras_vis.utils.model_modifiers import (
    ExtractIntermediateLayer,
    ExtractIntermediateLayerForGradcam,
)
from tf_keras_vis.utils.scores import Score

from models import cam_weights

LOGITS_LAYER = "logits"
# Smilkov et al., "SmoothGrad", 2017, arXiv 1706.03825, add 10 to 20 % of the range to photographs.
# On steel textures 10 % made the autoencoder decide otherwise on six pictures of ten, 2 % on none.
# With 8 samples the maps of two seeds differ by less than 0.01 in any pixel.
NOISE_SAMPLES = 8
NOISE_SHARE = 0.02

Heatmaps = npt.NDArray[np.float32]


class ClassActivationMap(ModelVisualization):
    """Where in the picture the evidence for a class is, after one weighting rule.

    Args:
        model: One flat functional graph with one input. Explained is its layer `logits` if it has
            one, else its only output, which must be `[batch, classes]` and should be logits.
        layer_name: Layer of `model` that gives `[batch, h, w, channels]`, before the logits.

    Raises:
        ValueError: The model has no such layer, or not the output described above.
    """

    @staticmethod
    @abstractmethod
    def rule(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
        """Weights `[batch, channels]`, of what `_measure` gives: one of `models.cam_weights`."""

    def __init__(self, model: keras.Model, layer_name: str) -> None:
        super().__init__(
            model,
            model_modifier=[
                _keep_logits,
                functools.partial(_check_layer, layer_name=layer_name),
                ExtractIntermediateLayerForGradcam(layer_name, seek_conv_layer=False),
            ],
            clone=False,
        )
        self.class_count: int = self.model.outputs[0].shape[-1]
        self._probe = tf.function(self._trace_probe, reduce_retracing=True)

    def __call__(self, images: npt.ArrayLike, class_indices: Sequence[int]) -> Heatmaps:
        """Explains one class a picture.

        Args:
            images: float32 `[batch, height, width, channels]`, in the model's own units.
            class_indices: `[batch]`; for each picture the index of the class to explain.

        Returns:
            float32 `[batch, height, width]`, 0 to 1; 0 where nothing speaks for the class. A
            picture's map does not depend on the others in its batch.

        Raises:
            ValueError: There is not one class index for each picture, or one is out of range.
        """
        (batch,) = self._get_seed_inputs_for_multiple_inputs(tf.constant(images, tf.float32))
        indices = self._checked_indices(class_indices, pictures=batch.shape[0])
        activations, gradients = self._measure(batch, indices)
        weights = self.rule(activations, gradients)
        heatmaps: Heatmaps = cam_weights.render_heatmap(
            activations, weights, (batch.shape[1], batch.shape[2])
        ).numpy()
        return heatmaps

    def _measure(self, images: tf.Tensor, class_indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Activations and gradients, in the form the rule takes them."""
        return self._probe(images, class_indices)

    def _trace_probe(
        self, images: tf.Tensor, class_indices: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """One pass: activations of the layer, and the gradient of the classes' logits there."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            logits, activations = self.model(images, training=False)
            scores = self._calculate_scores([logits], [_TracedCategoricalScore(class_indices)])
        return activations, tape.gradient(scores, activations)

    def _checked_indices(self, class_indices: Sequence[int], *, pictures: int) -> tf.Tensor:
        indices = np.asarray(class_indices, np.int64)
        if indices.shape != (pictures,):
            raise ValueError(
                f"Expected one class index for each of {pictures} pictures, "
                f"got an array of shape {indices.shape}."
            )
        if pictures and not (indices.min() >= 0 and indices.max() < self.class_count):
            raise ValueError(
                f"Class indices must be from 0 to {self.class_count - 1}, got {indices.tolist()}."
            )
        return tf.constant(indices)


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

    Where the logits are linear in the layer's activations (mean pooling and one dense layer, as in
    our Xception) the gradient is the same for every picture, and the map is that of Grad-CAM++.

    The noise is Gaussian, with a standard deviation of `noise_share` of each picture's own range,
    and drawn from a fixed seed: the same picture has the same map, alone or in a batch. Values
    that it pushes beyond the picture's range stay there, as in SmoothGrad.

    Args:
        model: As in `ClassActivationMap`.
        layer_name: As in `ClassActivationMap`.
        samples: Noisy copies a picture; each costs one pass.
        noise_share: Standard deviation of the noise as a share of the picture's range.
        seed: Seed of the noise.
    """

    rule = staticmethod(cam_weights.smooth_grad_cam_plus_plus_weights)

    def __init__(
        self,
        model: keras.Model,
        layer_name: str,
        *,
        samples: int = NOISE_SAMPLES,
        noise_share: float = NOISE_SHARE,
        seed: int = 0,
    ) -> None:
        super().__init__(model, layer_name)
        self.samples = samples
        self.noise_share = noise_share
        self.seed = seed

    def _measure(self, images: tf.Tensor, class_indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        activations, _ = self._probe(images, class_indices)
        deviation = self.noise_share * (
            tf.reduce_max(images, axis=(1, 2, 3), keepdims=True)
            - tf.reduce_min(images, axis=(1, 2, 3), keepdims=True)
        )
        gradients = [
            self._probe(images + deviation * self._draw_noise(images, sample), class_indices)[1]
            for sample in range(self.samples)
        ]
        return activations, tf.stack(gradients)

    def _draw_noise(self, images: tf.Tensor, sample: int) -> tf.Tensor:
        # One field for all pictures: drawn a picture, it would depend on the place in the batch.
        return tf.random.stateless_normal(images.shape[1:], seed=(self.seed, sample))


class _TracedCategoricalScore(Score):
    """tf-keras-vis's `CategoricalScore` for indices in a tensor.

    The original takes Python integers, so that each new list of classes would be traced anew.
    """

    def __init__(self, indices: tf.Tensor) -> None:
        super().__init__("TracedCategoricalScore")
        self.indices = indices

    def __call__(self, output: tf.Tensor) -> tf.Tensor:
        """The logit of each picture's class, `[batch]`."""
        return tf.gather(output, self.indices, axis=1, batch_dims=1)


_CAMS: dict[str, type[ClassActivationMap]] = {
    "gradcam++": GradCamPlusPlus,
    "smoothgradcam++": SmoothGradCamPlusPlus,
    "xgradcam": XGradCam,
}
METHODS = tuple(_CAMS)


def make_cam(method: str, model: keras.Model, layer_name: str) -> ClassActivationMap:
    """Builds the maps of one method, with its defaults.

    Args:
        method: One of `METHODS`.
        model: As in `ClassActivationMap`.
        layer_name: As in `ClassActivationMap`.

    Returns:
        A callable `cam(images, class_indices)`; see `ClassActivationMap.__call__`.

    Raises:
        ValueError: The method is unknown, or the model or layer cannot be explained.
    """
    if method not in _CAMS:
        raise ValueError(f"Unknown method {method!r}; known are {', '.join(METHODS)}.")
    return _CAMS[method](model, layer_name)


def _keep_logits(model: keras.Model) -> keras.Model | None:
    """A tf-keras-vis model modifier: the model up to its logits, or as it is (None)."""
    if LOGITS_LAYER in [layer.name for layer in model.layers]:
        return ExtractIntermediateLayer(LOGITS_LAYER)(model)
    if len(model.outputs) != 1:
        raise ValueError(
            f"The model {model.name!r} has {len(model.outputs)} outputs and no layer "
            f"{LOGITS_LAYER!r} that says which of them to explain."
        )
    return None


def _check_layer(model: keras.Model, *, layer_name: str) -> None:
    """A model modifier that changes nothing, and raises ValueError where nothing can be mapped."""
    if layer_name not in [layer.name for layer in model.layers]:
        raise ValueError(
            f"The model {model.name!r} has no layer {layer_name!r} of its own before its logits. "
            "A layer of a model inside the model cannot be explained: build the head on the "
            "backbone's output."
        )
    shape = model.get_layer(layer_name).output.shape
    if len(shape) != 4:
        raise ValueError(
            f"The layer {layer_name!r} must give [batch, h, w, channels], it gives {shape}."
        )
