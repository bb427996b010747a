"""The models by name, with everything the stages need to know of each.

The table names functions and imports nothing that takes long: the command line reads it too.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Backbone:
    """A published network of `keras.applications`, taken without its head.

    Attributes:
        function: Name of the function of `keras.applications` that builds it.
        preprocessing: What it was trained to see, in the words of
            `keras.applications.imagenet_utils.preprocess_input`: `tf` (-1 to 1), `torch` (by mean
            and deviation of ImageNet), `caffe` (blue first, less the mean), or `none` where the
            network does it itself.
        smallest_size: Smallest side of the input in pixels that it can be built for.
        fine_tune_from: Layer or block, by the start of its name, from which on it is trained; what
            lies below is the frozen trunk.
        views: Views of each training picture that the frozen trunk sees.
    """

    function: str
    preprocessing: str
    smallest_size: int
    fine_tune_from: str
    views: int = 4


@dataclass(frozen=True)
class ModelSpec:
    """What is fixed about a model before its data are known.

    Attributes:
        cam_layer: Layer that maps are made of: of those tried the one whose maps find most of what
            is boxed (BUILD_NOTES.md).
        image_size: Default side of the input in pixels.
        batch_size: Default pictures a training step.
        epochs: Default epochs of supervised training at most.
        pretrain_epochs: Default epochs of the phase before it.
        learning_rate: Peak of the schedule.
        augment: Default augmentation line.
        backbone: The published network it is built on, or None for the autoencoder.
        weight_average: Momentum of the moving average of the weights that is kept; 0: none.
        weight_decay: As AdamW takes it; 0: none.
        reconstruction_weight: Default weight of the reconstruction loss beside that of
            classification.
        pretraining: Default of what is reconstructed from in pretraining: `plain`, `denoising` or
            `masked`; empty without a reconstruction.
    """

    cam_layer: str
    image_size: int
    batch_size: int
    epochs: int
    pretrain_epochs: int
    learning_rate: float
    augment: str
    backbone: Backbone | None = None
    weight_average: float = 0.0
    weight_decay: float = 0.0
    reconstruction_weight: float = 0.0
    pretraining: str = ""

    @property
    def reconstructs(self) -> bool:
        """Whether it has a `reconstruction` output beside `logits`."""
        return self.backbone is None

    @property
    def fine_tune_from(self) -> str:
        """As in `Backbone`; empty without one."""
        return self.backbone.fine_tune_from if self.backbone else ""

    @property
    def views(self) -> int:
        """As in `Backbone`; 0 without one."""
        return self.backbone.views if self.backbone else 0

    def check_image_size(self, image_size: int, *, window_px: int = 0) -> None:
        """Looks whether the model can be built for a size; imports TensorFlow.

        Args:
            image_size: Side of the input in pixels.
            window_px: Side of the windows that the autoencoder is to be trained on, or 0.

        Raises:
            ValueError: It cannot.
        """
        if self.backbone is None:
            module = importlib.import_module("models.autoencoder")
            module.check_image_size(image_size, window_px=window_px)
        else:
            importlib.import_module("models.backbone").check_image_size(self.backbone, image_size)

    def build(self, *, image_size: int, channels: int, classes: int, **own: Any) -> keras.Model:
        """Builds the model with random weights; imports Keras and TensorFlow.

        Args:
            image_size: Side of the input in pixels.
            channels: 1 or 3.
            classes: Number of classes.
            **own: Of the autoencoder: `mean` and `variance` of the training pictures, and
                `box_classes`, the number of classes of labelled objects.

        Raises:
            ValueError: The model cannot be built for `image_size`.
        """
        if self.backbone is None:
            module = importlib.import_module("models.autoencoder")
            return module.build_autoencoder(
                image_size=image_size, channels=channels, classes=classes, **own
            )
        module = importlib.import_module("models.backbone")
        return module.build_backbone(
            self.backbone, image_size=image_size, channels=channels, classes=classes
        )


MODELS: dict[str, ModelSpec] = {
    "autoencoder": ModelSpec(
        cam_layer="gated",
        image_size=128,
        batch_size=16,
        epochs=30,
        pretrain_epochs=3,
        learning_rate=1e-3,
        augment="flip|vflip|brightness(0.1)|contrast(0.2)",
        weight_average=0.99,
        reconstruction_weight=0.5,
        pretraining="plain",
    ),
    "xception": ModelSpec(
        cam_layer="block13_sepconv1_act",
        image_size=200,
        batch_size=32,
        epochs=16,
        pretrain_epochs=20,
        learning_rate=1e-3,
        augment="flip|vflip|brightness(0.1)|contrast(0.2)",
        weight_average=0.98,
        backbone=Backbone(
            function="Xception",
            preprocessing="tf",
            smallest_size=71,
            fine_tune_from="block13",
        ),
    ),
}
