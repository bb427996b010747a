"""The maps that `explain` was asked for, and the pictures they are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from models import files
from models.cam import METHODS, make_cam
from models.cam_base import CamGroup, Heatmaps
from models.picture import crop_to_picture, decode_picture
from pipeline.config import Settings
from pipeline.flag_checks import split_names
from pipeline.modelfacts import ModelFacts, input_form
from pipeline.rundir import RunDir
from records.errors import InputError

PREDICTED, TRUE = "predicted", "true"

_TITLES = {
    "gradcam": "Grad-CAM",
    "gradcam++": "Grad-CAM++",
    "smoothgradcam++": "Smooth Grad-CAM++",
    "xgradcam": "XGrad-CAM",
    "layercam": "LayerCAM",
}


@dataclass(frozen=True)
class MapMakers:
    """A trained model, and what makes maps of where it looked.

    Attributes:
        model: The model.
        facts: What is known of it.
        cams: The methods by their titles.
        explained: Whose evidence is shown: `PREDICTED`, `TRUE` or the name of a class.
    """

    model: keras.Model
    facts: ModelFacts
    cams: CamGroup
    explained: str

    def choose_class(self, *, true: str, predicted: str) -> str:
        """The class whose evidence is shown of a picture."""
        return {PREDICTED: predicted, TRUE: true}.get(self.explained, self.explained)

    def decode(self, records: Sequence[Mapping[str, Any]]) -> tf.Tensor:
        """The pictures of records as the model sees them."""
        form = input_form(self.facts)
        return tf.stack(
            [decode_picture(tf.constant(record["encoded"]), **form) for record in records]
        )

    def explain(self, images: tf.Tensor, class_names: Sequence[str]) -> dict[str, Heatmaps]:
        """The maps of each method, float32 `[batch, size, size]`."""
        return self.cams(images, [self.facts.classes.index(name) for name in class_names])

    def lay_back(self, inputs: Any, record: Mapping[str, Any]) -> Any:
        """Of what has the shape of the model's input, the part that shows the picture."""
        width, height = int(record["width"]), int(record["height"])
        return crop_to_picture(inputs, width, height, resize=self.facts.resize)


def open_map_makers(run_dir: RunDir, settings: Settings) -> MapMakers:
    """Loads the model and prepares the maps that the settings name.

    Raises:
        InputError: A layer or class is unknown, or the model is damaged.
    """
    facts = ModelFacts.read(run_dir.config)
    methods = split_names(settings.cam_methods) or list(METHODS)
    explained = settings.cam_class
    if explained not in (PREDICTED, TRUE, *facts.classes):
        raise InputError(
            f"--cam_class={explained} is no class of the model.",
            f"Give {PREDICTED}, {TRUE}, or one of: {', '.join(facts.classes)}.",
        )
    model = facts.open_model(run_dir.weights, files.load_model)
    layers = split_names(settings.cam_layers) or [facts.cam_layer]
    try:
        cams = {_TITLES[method]: make_cam(method, model, layers) for method in methods}
    except ValueError as error:
        spatial = [layer.name for layer in model.layers if len(layer.output.shape) == 4]
        raise InputError(
            f"--cam_layers={','.join(layers)} cannot be explained. {error}",
            f"Leave the flag out, or give layers such as {', '.join(spatial[-8:])}.",
        ) from error
    return MapMakers(model, facts, CamGroup(cams), explained)


def find_boxes(record: Mapping[str, Any], class_name: str) -> np.ndarray:
    """The boxes of a class in a picture, or all where none has its name; `[n, 4]`, fractions.

    Objects may have other names than pictures have classes: blowholes and cracks in what is `nio`.
    """
    own = np.array([name.decode() == class_name for name in record["box_names"]], bool)
    boxes = np.asarray(record["boxes"], np.float32).reshape(-1, 4)
    return boxes[own] if own.any() else boxes
