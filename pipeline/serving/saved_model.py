"""The SavedModel in service: found and loaded, or refused with a remedy."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pipeline.config import RESIZES
from pipeline.provenance import digest_files, join_digests
from pipeline.rundir import RunDir
from pipeline.serving.model_card import CARD
from pipeline.serving.published import find_difference
from pipeline.serving.publishing import find_versions
from records.errors import InputError
from records.pixels import encode_png
from records.untrusted import read_json

Signature = Callable[..., dict[str, tf.Tensor]]
_NEEDED = {"classes", "decision", "label_index", "probabilities"}
_LONGEST_REASON = 200
_FAILURES = (OSError, tf.errors.OpError, ValueError, RuntimeError, LookupError)


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A SavedModel that was loaded, and answered once.

    Attributes:
        path: Its folder.
        version: Its number.
        digest: SHA-256 of the folder.
        classes: Names of the classes in the order of its probabilities.
        resize: How it brings pictures to its square: `letterbox` or `stretch`, by its model card.
        signatures: What it can be asked, by name.
        answer: From `image_bytes`, string `[batch]`, to the answers; with `heatmap` if it was asked
            for, and with `statistics` if it has the signature `monitor`.
    """

    path: Path
    version: int
    digest: str
    classes: tuple[str, ...]
    resize: str
    signatures: Mapping[str, Any]
    answer: Signature


def find_newest_version(run_dir: RunDir) -> Path:
    """The SavedModel with the highest version number; folders without a graph do not count.

    Raises:
        InputError: There is none.
    """
    with contextlib.suppress(OSError):
        for path, _ in reversed(find_versions(run_dir.export)):
            if (path / "saved_model.pb").is_file():
                return path
    raise InputError(
        f"{run_dir.export} holds no SavedModel.",
        f"Run: python main.py --stage=export --work_dir={run_dir.root} --model={run_dir.model}",
    )


def load_served(saved_model: Path, *, heatmaps: bool = False) -> ServedModel:
    """Loads a SavedModel and lets it judge a small picture, so that it is known to answer.

    Args:
        saved_model: Its folder, with a number for a name.
        heatmaps: Whether answers have a `heatmap` too. Where there is `monitor` as well, every
            picture then passes the model twice.

    Raises:
        InputError: The folder holds no SavedModel that can be loaded, another kind of one, or one
            that is no longer what was published.
    """
    files = digest_files(saved_model)
    if difference := find_difference(saved_model, files):
        raise _refuse(saved_model, f"is not what was published: {difference}.")
    signatures = _load(saved_model)
    picture = encode_png(np.full([8, 8], 127, np.uint8))
    try:
        answer = choose_signature(signatures, heatmaps=heatmaps)
        names = answer(image_bytes=tf.constant([picture]))["classes"].numpy()[0]
    except _FAILURES as error:
        raise _refuse(saved_model, f"does not answer: {shorten_reason(error)}") from error
    return ServedModel(
        path=saved_model,
        version=int(saved_model.name),
        digest=join_digests(files),
        classes=tuple(name.decode() for name in names),
        resize=_read_resize(saved_model),
        signatures=signatures,
        answer=answer,
    )


def shorten_reason(error: Exception) -> str:
    """The first line of what TensorFlow says, without the names of nodes."""
    text = re.sub(r"\{\{.*?\}\}", "", str(error)).strip() or type(error).__name__
    return text.splitlines()[0][:_LONGEST_REASON]


def _read_resize(saved_model: Path) -> str:
    path = saved_model / CARD
    if not path.exists():
        return "letterbox"  # the default
    try:
        resize = str(read_json(path)["model"]["resize"])
        if resize not in RESIZES:
            raise ValueError(f"resize {resize[:20]!r} is unknown")
        return resize
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise _refuse(saved_model, f"has a damaged model card ({error!r}).") from error


def _load(saved_model: Path) -> Mapping[str, Any]:
    try:
        signatures: Mapping[str, Any] = tf.saved_model.load(str(saved_model)).signatures
        outputs = signatures["serving_default"].structured_outputs.keys()
    except _FAILURES as error:
        raise _refuse(saved_model, f"cannot be loaded: {shorten_reason(error)}") from error
    if missing := _NEEDED - outputs:
        raise _refuse(saved_model, f"does not answer with {', '.join(sorted(missing))}.")
    return signatures


def choose_signature(signatures: Mapping[str, Signature], *, heatmaps: bool) -> Signature:
    """What pictures are judged by: see `ServedModel.answer`."""
    plain = signatures["monitor" if "monitor" in signatures else "serving_default"]
    if not heatmaps:
        return plain
    explain = signatures["explain"]
    if "monitor" not in signatures:
        return explain

    def answer(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        heatmap = explain(image_bytes=image_bytes)["heatmap"]
        return plain(image_bytes=image_bytes) | {"heatmap": heatmap}

    return answer


def _refuse(saved_model: Path, problem: str) -> InputError:
    return InputError(
        f"The SavedModel {saved_model} {problem}",
        f"Move {saved_model} away and run the stage export again (--stage=export).",
    )
