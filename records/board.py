"""What a drawn board is made of: joints, voids, bridges, copper, holes.

Lengths are in picture pixels; x runs to the right, y down, and the pixel of column i covers
i <= x < i + 1, so that shapes and boxes share one ruler.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

JointKind = Literal["pad", "bar", "dot"]


@dataclass(frozen=True, slots=True)
class Void:
    """A gas bubble in a joint.

    Attributes:
        u: Centre along the joint's width, from the joint's centre.
        v: Centre along the joint's height, from the joint's centre.
        radius: Of its outline.
        depth: Share of the joint's thickness that is missing at the bubble's centre, 0 to 1.
    """

    u: float
    v: float
    radius: float
    depth: float


@dataclass(frozen=True, slots=True)
class Joint:
    """Solder on a land of copper: a rectangle with round corners, turned with its board.

    Attributes:
        kind: `pad` (round), `bar` (one half or quarter of a group) or `dot` (small pad).
        row: Number of its row; the joints of a row follow one another from left to right.
        x: Centre.
        y: Centre.
        half_width: Of the land.
        half_height: Of the land.
        corner: Radius of the land's corners.
        solder: Thickness relative to the nominal one; 0 where the solder is missing.
        spread: Width and height of the solder relative to the land.
        voids: Bubbles in it.
        is_spoilt: Whether a defect has been put on it.
    """

    kind: JointKind
    row: int
    x: float
    y: float
    half_width: float
    half_height: float
    corner: float
    solder: float
    spread: float = 1.0
    voids: tuple[Void, ...] = ()
    is_spoilt: bool = False

    @property
    def area_px(self) -> float:
        """Area of the land in square pixels."""
        return 4 * self.half_width * self.half_height - (4 - math.pi) * self.corner**2

    @property
    def void_fraction(self) -> float:
        """Area of the voids relative to the land's; an upper limit where voids overlap."""
        return sum(math.pi * void.radius**2 for void in self.voids) / self.area_px


@dataclass(frozen=True, slots=True)
class Bridge:
    """Solder between two joints of a row, narrowest in the middle.

    Attributes:
        x: Centre.
        y: Centre.
        half_length: From the centre into either joint.
        half_width: In the middle.
        solder: Thickness relative to the nominal one.
    """

    x: float
    y: float
    half_length: float
    half_width: float
    solder: float

    @property
    def widest(self) -> float:
        """Half its width where it meets the joints."""
        return 1.6 * self.half_width


@dataclass(frozen=True, slots=True)
class Plate:
    """A flat rectangle with round corners; `thickness` relative to nominal solder."""

    x: float
    y: float
    half_width: float
    half_height: float
    corner: float
    thickness: float


@dataclass(frozen=True, slots=True)
class Board:
    """The part of a board that one picture shows.

    Attributes:
        pitch: Distance of two pads of a row.
        angle: Rotation of everything about the picture's centre in radians, clockwise.
        joints: Row by row, each from left to right; also those that the picture cuts off.
        leads: Metal among the joints; where it overlaps solder, the thicker of the two counts.
        plates: Component bodies, and drilled holes as plates of negative thickness.
        bridges: Empty on a board in order.
    """

    pitch: float
    angle: float
    joints: tuple[Joint, ...]
    leads: tuple[Plate, ...]
    plates: tuple[Plate, ...]
    bridges: tuple[Bridge, ...] = ()
