"""What is checked of a flag by itself; `pipeline.config` checks them together."""

from __future__ import annotations

import math
import re

from records.errors import InputError

LEAST = {
    "seed": 0,
    "image_size": 0,
    "batch_size": 0,
    "epochs": -1,
    "pretrain_epochs": -1,
    "labels_per_class": 0,
    "views": 0,
    "full_epochs": 0,
    "feature_maps": 0,
    "workers": 0,
}


def split_names(text: str) -> list[str]:
    """The names in a flag that takes several, divided by commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def require_one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises InputError unless `value` is one of `choices`."""
    if value not in choices:
        raise InputError(f"--{name}={value} is unknown.", f"Give one of: {', '.join(choices)}.")


def require_weight(name: str, weight: float, *, own: bool) -> None:
    """Raises InputError unless `weight` is one; `own`: or -1, which stands for the model's own."""
    if not (0 <= weight < math.inf or (own and weight == -1)):
        remedy = "Give 0 or more, or -1 for the model's own." if own else "Give 0 or more."
        raise InputError(f"--{name}={weight:g} is no weight.", remedy)


def require_regex(text: str) -> None:
    """Raises InputError unless `text` is a regular expression."""
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise InputError(
            f"--group_regex={text} is no regular expression: {error}.",
            r"Give one such as 'board(\d+)_': pictures with the same number stay together.",
        ) from error
