"""Augmentation as a line that a person can read: `flip|rotate(15)|brightness(0.2)`.

| operation | what it draws |
| --- | --- |
| `flip` | mirror left and right, or not |
| `vflip` | mirror top and bottom, or not |
| `rot90` | 0, 1, 2 or 3 quarter turns |
| `rotate(D)` | an angle of up to D degrees either way |
| `shift(F)` | an offset of up to the fraction F of the side either way, on each axis |
| `window(P)` | a square of 0.75 P to 1.33 P pixels on the picture, scaled to P pixels |
| `crop(F)` | a square of side F to 1 of the picture's, anywhere inside, stretched to full size |
| `brightness(F)` | an offset of up to F of the full range (255) either way |
| `contrast(F)` | a factor of 1 - F to 1 + F about the picture's mean |
| `noise(F)` | Gaussian noise whose standard deviation is 0 to F of the full range |

Of a picture with boxes, one stays in view: `pipeline.inputs.augment` moves what was drawn as far as
that takes. With `window` a model is trained on windows first and on whole pictures at the end.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from records.errors import InputError


@dataclass(frozen=True)
class Operation:
    """One step of an augmentation line: its name, and its strength where it takes one."""

    name: str
    strength: float | None = None


# The largest strength that still means something; None where there is none.
_STRONGEST: dict[str, float | None] = {
    "flip": None,
    "vflip": None,
    "rot90": None,
    "rotate": 180.0,
    "shift": 0.5,
    "window": 65536.0,
    "crop": 1.0,
    "brightness": 1.0,
    "contrast": 1.0,
    "noise": 1.0,
}


def parse_augmentation(line: str) -> tuple[Operation, ...]:
    """Reads an augmentation line; an empty one means none.

    Raises:
        InputError: An operation is unknown, lacks its strength, has one too many or out of range.
    """
    parts = [part.strip() for part in line.split("|") if part.strip()]
    operations = tuple(_parse_operation(part, line) for part in parts)
    if sum(operation.name == "window" for operation in operations) > 1:
        raise InputError(f"--augment={line!r}: there are two windows.", "Leave one of them out.")
    return operations


def window_px(operations: tuple[Operation, ...]) -> int:
    """Side of the windows in pixels; 0 if whole pictures are trained on."""
    sides = [int(x.strength or 0) for x in operations if x.name == "window"]
    return sides[0] if sides else 0


def without_window(operations: tuple[Operation, ...]) -> tuple[Operation, ...]:
    """The same augmentation of whole pictures."""
    return tuple(operation for operation in operations if operation.name != "window")


def _parse_operation(part: str, line: str) -> Operation:
    match = re.fullmatch(r"([a-z0-9]+)(?:\(([^()]*)\))?", part)
    known = ", ".join(name if high is None else f"{name}(N)" for name, high in _STRONGEST.items())
    if not match or match[1] not in _STRONGEST:
        raise InputError(
            f"--augment={line!r}: {part!r} is no operation known.",
            f"Join any of these by |: {known}.",
        )
    name, argument, strongest = match[1], match[2], _STRONGEST[match[1]]
    if strongest is None:
        if argument is not None:
            raise InputError(f"--augment={line!r}: {name} takes no number.", f"Write {name}.")
        return Operation(name)
    try:
        strength = float(argument or "")
    except ValueError:
        strength = math.nan
    if not 0 < strength <= strongest:
        raise InputError(
            f"--augment={line!r}: {part!r} needs a number above 0 and up to {strongest:g}.",
            f"For instance {name}({strongest / 4:g}).",
        )
    if name == "window" and strength != int(strength):
        raise InputError(
            f"--augment={line!r}: {part!r} is no number of pixels.", "Give a whole one."
        )
    return Operation(name, strength)
