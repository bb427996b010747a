"""The SavedModel in service: found and loaded, or refused with a remedy."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from pipeline.rundir import RunDir
from records.errors import InputError

Signature = Callable[..., dict[str, tf.Tensor]]
_NEEDED = {"classes", "decision", "label_index", "probabilities"}
_LONGEST_REASON = 200


def find_newest_version(run_dir: RunDir) -> Path:
    """The SavedModel with the highest version number; folders without a graph do not count.

    Raises:
        InputError: There is none.
    """
    with contextlib.suppress(OSError):
        versions = [
            path
            for path in run_dir.export.iterdir()
            if path.name.isdecimal() and (path / "saved_model.pb").is_file()
        ]
        if versions:
            return max(versions, key=lambda path: int(path.name))
    raise InputError(
        f"{run_dir.export} holds no SavedModel.",
        f"Run: python main.py --stage=export --work_dir={run_dir.root} --model={run_dir.model}",
    )


def load_signature(saved_model: Path) -> Signature:
    """The function from pictures' bytes to answers.

    Raises:
        InputError: The folder holds no SavedModel that can be loaded, or another kind of one.
    """
    remedy = f"Move {saved_model} away and run the stage export again (--stage=export)."
    try:
        signature = tf.saved_model.load(str(saved_model)).signatures["serving_default"]
    except (OSError, tf.errors.OpError, ValueError, RuntimeError, LookupError) as error:
        raise InputError(
            f"The SavedModel {saved_model} cannot be loaded: {shorten_reason(error)}", remedy
        ) from error
    missing = _NEEDED - signature.structured_outputs.keys()
    if missing:
        raise InputError(
            f"The SavedModel {saved_model} does not answer with {', '.join(sorted(missing))}.",
            remedy,
        )
    return signature


def shorten_reason(error: Exception) -> str:
    """The first line of what TensorFlow says, without the names of nodes."""
    text = re.sub(r"\{\{.*?\}\}", "", str(error)).strip() or type(error).__name__
    return text.splitlines()[0][:_LONGEST_REASON]
