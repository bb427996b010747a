"""Trained models on disk: written so that equal weights are equal bytes, and read again."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import keras

_NO_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest a ZIP archive can hold


def save_model(path: Path, model: keras.Model) -> None:
    """Writes `model` in Keras' own format, equal weights as equal bytes.

    Keras notes when it saved, in `metadata.json` and in the dates of the archive's members, and
    names shared objects by their addresses in memory. Dates are taken out and addresses become
    ranks, so that the file's digest stands for the model and for nothing else. What the model was
    compiled with is left out: the optimizer's state is twice as large as the model.
    """
    plain = type(model).from_config(model.get_config())
    for variable, value in zip(plain.variables, model.variables, strict=True):
        variable.assign(value)
    plain.save(path)
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
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, _NO_DATE), content)


def load_model(path: Path) -> keras.Model:
    """Reads a trained model, for inference. Code in the file (a `Lambda`) is not run but refused.

    Args:
        path: A `model.keras` file.

    Returns:
        The model, not compiled; its layers are as `ModelSpec.build` made them.

    Raises:
        ValueError: The file is no Keras model, or has code in it.
    """
    return keras.saving.load_model(path, compile=False, safe_mode=True)
