"""The models by name, with everything the stages need to know of each."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras

from models import autoencoder, xception

_NO_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest a ZIP archive can hold


@dataclass(frozen=True)
class ModelSpec:
    """What is fixed about a model before its data are known.

    Attributes:
        build: Builds it from keywords `image_size`, `channels`, `classes`, and for the autoencoder
            `mean` and `variance`.
        reconstructs: Whether it has a `reconstruction` output beside `logits`.
        cam_layer: The last layer whose activations still have a place in the picture.
        fine_tune_from: First layer trained on top of the frozen trunk; empty without a trunk.
        image_size: Default side of the input in pixels.
        batch_size: Default pictures a training step.
        epochs: Default epochs of supervised training at most.
        pretrain_epochs: Default epochs of the phase before it.
        learning_rate: Peak of the schedule.
        augment: Default augmentation line.
    """

    build: Callable[..., keras.Model]
    reconstructs: bool
    cam_layer: str
    fine_tune_from: str
    image_size: int
    batch_size: int
    epochs: int
    pretrain_epochs: int
    learning_rate: float
    augment: str


MODELS: dict[str, ModelSpec] = {
    "autoencoder": ModelSpec(
        build=autoencoder.build_autoencoder,
        reconstructs=True,
        cam_layer=f"encode{len(autoencoder.FILTERS)}",
        fine_tune_from="",
        image_size=128,
        batch_size=16,
        epochs=30,
        pretrain_epochs=3,
        learning_rate=1e-3,
        augment="flip|vflip|brightness(0.1)|contrast(0.2)",
    ),
    "xception": ModelSpec(
        build=xception.build_xception,
        reconstructs=False,
        cam_layer="block14_sepconv2_act",
        fine_tune_from=xception.FINE_TUNE_FROM,
        image_size=200,
        batch_size=32,
        epochs=16,
        pretrain_epochs=20,
        learning_rate=1e-3,
        augment="flip|vflip|brightness(0.1)|contrast(0.2)",
    ),
}


def save_model(path: Path, model: keras.Model) -> None:
    """Writes `model` in Keras' own format, equal weights as equal bytes.

    Keras notes when it saved, in `metadata.json` and in the dates of the archive's members, and
    names shared objects by their addresses in memory. Dates are taken out and addresses become
    ranks, so that the file's digest stands for the model and for nothing else.
    """
    model.save(path)
    with zipfile.ZipFile(path) as saved:
        members = {name: saved.read(name) for name in sorted(saved.namelist())}
    metadata = json.loads(members["metadata.json"])
    metadata.pop("date_saved", None)
    members["metadata.json"] = json.dumps(metadata, sort_keys=True).encode()
    ranks: dict[bytes, int] = {}
    members["config.json"] = re.sub(
        rb'("shared_object_id": )(\d+)',
        lambda match: match[1] + str(ranks.setdefault(match[2], len(ranks))).encode(),
        members["config.json"],
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as plain:
        for name, content in members.items():
            plain.writestr(zipfile.ZipInfo(name, _NO_DATE), content)


def load_model(path: Path) -> keras.Model:
    """Reads a trained model, for inference.

    Args:
        path: A `model.keras` file.

    Returns:
        The model, not compiled; its layers are as `ModelSpec.build` made them.

    Raises:
        ValueError: The file is no Keras model.
    """
    return keras.saving.load_model(path, compile=False)
