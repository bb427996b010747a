"""`<model>/config.json`: what a later stage needs to know of a trained model, and what made it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pipeline.config import RESIZES
from records.atomic import write_json
from records.errors import InputError
from records.manifest import file_digest
from records.untrusted import read_json

IN_ORDER_CLASS = "io"
NOT_IN_ORDER_CLASS = "nio"

_LARGEST_IMAGE_SIZE = 2**14
_LONGEST_REASON = 200
_SURROGATES = re.compile("[\ud800-\udfff]")  # No encoding has them, so that no file can.
_Model = TypeVar("_Model")


@dataclass(frozen=True)
class ModelFacts:
    """Facts of a model that travel with its weights; no flag given later may change them.

    Attributes:
        model: Name in `models.registry`.
        classes: Class names in the order of the model's outputs.
        positive_class: With two classes the one that must be caught, else empty.
        fail_classes: Classes whose pictures do not pass.
        image_size: Side of the square input in pixels.
        channels: 1 for grey, 3 for colour.
        resize: How a picture becomes that input, as `models.picture.decode_picture` takes it.
        standardize: Whether its mean and contrast are evened out, likewise.
        cam_layer: Layer whose activations the maps are made of.
        seed: Seed of the training run.
        records_digest: SHA-256 of the manifest of the records it was trained on.
        weights_digest: SHA-256 of `model.keras`.
        training: What was asked for and what happened: phases, epochs, stops, seconds.
        versions: Python and library versions.
        git_commit: Commit of this project, `-dirty` behind it when files differ, or `unknown`.
    """

    model: str
    classes: tuple[str, ...]
    positive_class: str
    fail_classes: tuple[str, ...]
    image_size: int
    channels: int
    resize: str
    standardize: bool
    cam_layer: str
    seed: int
    records_digest: str
    weights_digest: str
    training: dict[str, Any]
    versions: dict[str, str]
    git_commit: str

    def write(self, path: Path) -> None:
        """Writes the facts as JSON, whole or not at all."""
        write_json(path, dataclasses.asdict(self))

    def require_weights(self, path: Path) -> Path:
        """Returns `path` when it holds the weights these facts are about.

        Raises:
            InputError: It is missing, or holds others.
        """
        if not path.is_file() or file_digest(path) != self.weights_digest:
            raise InputError(
                f"{path} is missing or is not the model that its config.json describes.",
                "Run --stage=train again.",
            )
        return path

    def open_model(self, path: Path, load: Callable[[Path], _Model]) -> _Model:
        """The trained model itself.

        Args:
            path: A `model.keras` file.
            load: Reads it.

        Raises:
            InputError: It is missing, holds other weights than these facts are about, or is a model
                of another form.
        """
        self.require_weights(path)
        try:
            model = load(path)
            self._require_form(model)
        # Only where somebody gave both files another content; Keras raises many kinds then.
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:_LONGEST_REASON]
            raise InputError(
                f"{path} is not a model that this program made: {reason}",
                "Run --stage=train again.",
            ) from error
        return model

    def _require_form(self, model: Any) -> None:
        shape = (None, self.image_size, self.image_size, self.channels)
        logits = model.get_layer("logits").output.shape
        model.get_layer(self.cam_layer)
        if tuple(model.input_shape) != shape or tuple(logits) != (None, len(self.classes)):
            raise ValueError(
                f"it takes {model.input_shape} and gives {logits}; by its config.json it takes "
                f"{shape} and knows {len(self.classes)} classes"
            )

    @classmethod
    def read(cls, path: Path) -> ModelFacts:
        """Reads what `write` wrote.

        Raises:
            InputError: The file is damaged or was written by another version.
        """
        try:
            values = read_json(path)
            for name in ("classes", "fail_classes"):
                if not isinstance(values[name], list):
                    raise TypeError(f"{name} is no list")
                values[name] = tuple(values[name])
            facts = cls(**values)
            _check(facts)
            return facts
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path} cannot be read as a model's config: {error}.", "Run --stage=train again."
            ) from error


def _check(facts: ModelFacts) -> None:
    """Looks whether fields hold what `ModelFacts` says of them; a `ValueError` names one if not."""
    names, positive = facts.classes, facts.positive_class
    texts = (
        *(*names, *facts.versions.values(), facts.model, facts.cam_layer, facts.git_commit),
        *(facts.records_digest, facts.weights_digest),
    )
    numbers = (facts.image_size, facts.channels, facts.seed)
    for field, is_fine in (
        ("a text", all(_is_text(text) for text in texts)),
        ("classes", len(set(names)) == len(names) > 1),
        ("positive_class", positive == "" or (positive in names and len(names) == 2)),
        ("fail_classes", set(facts.fail_classes) <= set(names)),
        ("a number", all(type(number) is int for number in numbers)),
        ("image_size", 0 < facts.image_size <= _LARGEST_IMAGE_SIZE),
        ("channels", facts.channels in (1, 3)),
        ("resize", facts.resize in RESIZES),
        ("standardize", isinstance(facts.standardize, bool)),
        ("training", isinstance(facts.training, dict)),
    ):
        if not is_fine:
            raise ValueError(f"{field} is not what a training writes")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and not _SURROGATES.search(value)


def input_form(source: Any) -> dict[str, Any]:
    """How a picture becomes a model's input: the arguments of `models.picture.decode_picture`.

    Args:
        source: `ModelFacts` or a `TrainingPlan`.
    """
    return {
        name: getattr(source, name) for name in ("image_size", "channels", "resize", "standardize")
    }


def choose_positive_class(
    classes: tuple[str, ...], train_counts: dict[str, int], *, asked: str
) -> str:
    """Names the class that must be caught in a two-class job; empty when there are more classes.

    Args:
        classes: All class names.
        train_counts: Pictures of each class in the training split.
        asked: `--positive_class`, or empty: then `nio` if there is one, else the one beside `io`,
            else the rarer class, because defects are rare.

    Raises:
        InputError: `asked` is not a class or is `io`, or there are more than two classes.
    """
    if asked and asked not in classes:
        raise InputError(
            f"--positive_class={asked} is no class of these records.",
            f"Give one of: {', '.join(classes)}.",
        )
    if asked and len(classes) != 2:
        raise InputError(
            f"--positive_class={asked} is for two classes; these records have {len(classes)}.",
            "Leave the flag out.",
        )
    if asked == IN_ORDER_CLASS:
        raise InputError(
            f"--positive_class={asked}: pictures of the class {asked} are in order and pass.",
            f"Give --positive_class={next(name for name in classes if name != asked)}.",
        )
    if len(classes) != 2:
        return ""
    if asked or NOT_IN_ORDER_CLASS in classes:
        return asked or NOT_IN_ORDER_CLASS
    if IN_ORDER_CLASS in classes:
        return next(name for name in classes if name != IN_ORDER_CLASS)
    return min(classes, key=lambda name: (train_counts[name], name))


def choose_fail_classes(classes: tuple[str, ...], *, positive_class: str) -> tuple[str, ...]:
    """Classes whose pictures do not pass: the positive one of two, else all but `io`."""
    if positive_class:
        return (positive_class,)
    return tuple(name for name in classes if name != IN_ORDER_CLASS)
