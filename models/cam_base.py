"""What all class activation maps share: the algorithm, on tf-keras-vis; a subclass is the rule.

tf-keras-vis 0.8.7 builds its model anew and runs eagerly at each call. Here its base class and
its model modifiers are used to build the model once, and one `tf.function` gives prediction and map
from one pass forward and the gradient of what lies above the layer.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

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
_PREDICTED = -1

Heatmaps = npt.NDArray[np.float32]
Layers = list[tuple[tf.Tensor, tf.Tensor]]
"""Of each layer the activations, and the gradients."""


class Explained(NamedTuple):
    """What a model says of some pictures, and where it saw it.

    Attributes:
        logits: float32 `[batch, classes]`.
        heatmaps: float32 `[batch, height, width]`, 0 to 1; 0 where nothing speaks for the class.
    """

    logits: npt.NDArray[np.float32]
    heatmaps: Heatmaps


class ClassActivationMap(ModelVisualization):
    """Where in the picture the evidence for a class is, after one weighting rule.

    Args:
        model: One flat functional graph with one input. Explained is its layer `logits` if it has
            one, else its only output, which must be `[batch, classes]` and should be logits.
        layers: Layer of `model` that gives `[batch, h, w, channels]`, before the logits; or some,
            whose maps are fused: see `cam_weights.fuse_heatmaps`.

    Raises:
        ValueError: The model has no such layer, or not the output described above.
    """

    @staticmethod
    @abstractmethod
    def rule(activations: tf.Tensor, gradients: tf.Tensor, /) -> tf.Tensor:
        """Weights, of what `_refine` gives for a layer: one of `models.cam_weights`."""

    def __init__(self, model: keras.Model, layers: str | Sequence[str]) -> None:
        self._layer_names = [layers] if isinstance(layers, str) else list(layers)
        if not self._layer_names:
            raise ValueError("A map needs at least one layer.")
        modifiers = [
            modifier
            for name in self._layer_names
            for modifier in (
                functools.partial(_check_layer, layer_name=name),
                ExtractIntermediateLayerForGradcam(name, seek_conv_layer=False),
            )
        ]
        super().__init__(model, model_modifier=[_keep_logits, *modifiers], clone=False)
        self.class_count: int = self.model.outputs[0].shape[-1]

    def __call__(self, images: npt.ArrayLike, class_indices: Sequence[int]) -> Heatmaps:
        """The maps alone; see `explain`."""
        return self.explain(images, class_indices).heatmaps

    def explain(
        self, images: npt.ArrayLike, class_indices: Sequence[int] | None = None
    ) -> Explained:
        """Predicts, and explains one class a picture.

        Args:
            images: float32 `[batch, height, width, channels]`, in the model's own units.
            class_indices: `[batch]`; for each picture the index of the class to explain. Without
                it the most probable one.

        Returns:
            Logits and maps. Those of a picture do not depend on the others in its batch.

        Raises:
            ValueError: There is not one class index for each picture, or one is out of range.
        """
        (batch,) = self._get_seed_inputs_for_multiple_inputs(tf.constant(images, tf.float32))
        count = batch.shape[0]
        if class_indices is None:
            indices = np.full(count, _PREDICTED, np.int64)
        else:
            indices = self._checked_indices(class_indices, pictures=count)
        return Explained(*(output.numpy() for output in self._run(batch, tf.constant(indices))))

    @functools.cached_property
    def _run(self) -> Any:
        return _compile(self.trace, self.model)

    def trace(self, images: tf.Tensor, class_indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """`explain` as part of a graph, such as that of a SavedModel.

        Args:
            images: As `explain` takes them.
            class_indices: int64 `[batch]`; -1 for the most probable class.

        Returns:
            Logits and maps, as in `Explained`.
        """
        logits, layers = self._measure(images, class_indices)
        return logits, self._draw(images, _name_predicted(class_indices, logits), layers)

    def _measure(self, images: tf.Tensor, class_indices: tf.Tensor) -> tuple[tf.Tensor, Layers]:
        """Logits and layers by one pass forward; the gradient is that of the classes' logits."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            logits, *activations = self.model(images, training=False)
            indices = _name_predicted(class_indices, logits)
            scores = self._calculate_scores([logits], [_TracedCategoricalScore(indices)])
        gradients = tape.gradient(scores, activations)
        return tf.cast(logits, tf.float32), list(zip(activations, gradients, strict=True))

    def _draw(self, images: tf.Tensor, class_indices: tf.Tensor, layers: Layers) -> tf.Tensor:
        size = tf.shape(images)[1:3]
        heatmaps = [
            cam_weights.render_heatmap(activations, self.rule(activations, gradients), size)
            for activations, gradients in self._refine(images, class_indices, layers)
        ]
        return cam_weights.fuse_heatmaps(heatmaps)

    def _refine(self, images: tf.Tensor, class_indices: tf.Tensor, layers: Layers) -> Layers:
        """Turns gradients into what the rule takes in their place."""
        return layers

    def _checked_indices(
        self, class_indices: Sequence[int], *, pictures: int
    ) -> npt.NDArray[np.int64]:
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
        return indices


class CamGroup:
    """Maps of several methods by one pass forward; what each needs beyond it, it does itself.

    Args:
        cams: By name; of the same model and layers.
    """

    def __init__(self, cams: Mapping[str, ClassActivationMap]) -> None:
        self.names = tuple(cams)
        self._cams = tuple(cams.values())
        self._run = _compile(self._trace, self._cams[0].model)

    def __call__(self, images: tf.Tensor, class_indices: Sequence[int]) -> dict[str, Heatmaps]:
        """Each method's maps by its name, as its `ClassActivationMap.explain` gives them."""
        maps = self._run(images, tf.constant(class_indices, tf.int64))
        return {name: of.numpy() for name, of in zip(self.names, maps, strict=True)}

    def _trace(self, images: tf.Tensor, class_indices: tf.Tensor) -> list[tf.Tensor]:
        _, layers = self._cams[0]._measure(images, class_indices)
        return [cam._draw(images, class_indices, layers) for cam in self._cams]


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


def _compile(trace: Callable[..., Any], model: keras.Model) -> Any:
    # A concrete function: TensorFlow warns of five methods, each traced once, as of five traces.
    picture = tf.TensorSpec([None, *model.inputs[0].shape[1:]], tf.float32)
    compiled = tf.function(trace, autograph=False)
    return compiled.get_concrete_function(picture, tf.TensorSpec([None], tf.int64))


def _name_predicted(class_indices: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """The indices, with the most probable class wherever one is -1."""
    return tf.where(class_indices == _PREDICTED, tf.argmax(logits, axis=-1), class_indices)


def cut_at_logits(model: keras.Model) -> keras.Model:
    """The model up to its layer `logits`, or as it is where it has none."""
    if LOGITS_LAYER not in [layer.name for layer in model.layers]:
        return model
    return ExtractIntermediateLayer(LOGITS_LAYER)(model)


def _keep_logits(model: keras.Model) -> keras.Model:
    """A tf-keras-vis model modifier: what is left says what to explain."""
    cut = cut_at_logits(model)
    if len(cut.outputs) != 1:
        raise ValueError(
            f"The model {model.name!r} has {len(model.outputs)} outputs and no layer "
            f"{LOGITS_LAYER!r} that says which of them to explain."
        )
    return cut


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
