"""What makes a board not in order: the kinds of defect, their limits, and the boxes around them.

Between what is harmless and what is a defect lies a gap, so that a picture's class is never a
matter of opinion:

- voids: a joint in order has up to 12 % of its area in voids (`records.drawing`), a large void
  takes 35 % to 50 %. IPC-A-610E puts the limit for solder balls in X-ray pictures between the two,
  at 25 % of the ball's area (as cited in SMT Magazine, June 2014).
- solder: a joint in order has 92 % to 108 % of the nominal volume, one with too little 17 % to
  33 %. IPC-A-610 gives no such figure for X-ray pictures; these are ours.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from records.board import Board, Bridge, Joint, Void
from records.drawing import (
    HARMLESS_VOID_FRACTION,
    HEIGHT_PX,
    NORMAL_SOLDER_THICKNESS,
    WIDTH_PX,
)
from records.types import AnnotatedObject, BoundingBox

DEFECT_KINDS = ("missing_joint", "bridge", "little_solder", "large_void")
LARGE_VOID_FRACTION = (0.35, 0.50)
LITTLE_SOLDER_THICKNESS = (0.30, 0.42)
LITTLE_SOLDER_SPREAD = (0.75, 0.88)
LIMITS = {
    "most_void_fraction_io": HARMLESS_VOID_FRACTION,
    "least_void_fraction_large_void": LARGE_VOID_FRACTION[0],
    "least_solder_fraction_io": NORMAL_SOLDER_THICKNESS[0],
    "most_solder_fraction_little_solder": round(
        LITTLE_SOLDER_THICKNESS[1] * LITTLE_SOLDER_SPREAD[1] ** 2, 3
    ),
}
"""The gaps, as `sample.json` states them."""

_CLEARANCE_PX = 4.0
_BOX_MARGIN_PX = 2.0
_BRIDGED_GAP_PITCHES = (0.2, 0.7)
# A board is drawn anew until every kind has this many places on it, whatever its class will be.
_LEAST_PLACES = 3


def has_places(board: Board) -> bool:
    """Whether each kind of defect could be put on `board` in several places."""
    return all(len(_places(board, kind)) >= _LEAST_PLACES for kind in DEFECT_KINDS)


def add_defect(board: Board, kind: str, rng: np.random.Generator) -> tuple[Board, AnnotatedObject]:
    """Puts one defect on a place of `board` that has none yet.

    Args:
        board: With or without other defects.
        kind: One of `DEFECT_KINDS`.
        rng: Chooses the place and the size.

    Returns:
        The board with the defect, and the defect's name and box. The box holds what differs (the
        joint's land, the bridge or the void) and a margin of 2 pixels for its blurred edge; the
        halo that the display adds lies outside.

    Raises:
        ValueError: `board` has no place left for a defect of this kind.
    """
    places = _places(board, kind)
    if not places:
        raise ValueError(f"the board has no place for {kind}")
    place = places[int(rng.integers(len(places)))]
    if kind == "bridge":
        return _with_bridge(board, place, rng)
    joint = board.joints[place]
    spoilt = _SPOIL[kind](joint, rng)
    board = _replaced(board, place, spoilt)
    if kind != "large_void":
        box = _box(joint.x, joint.y, joint.half_width, joint.half_height, board.angle)
        return board, AnnotatedObject(kind, box)
    (void,) = spoilt.voids
    x, y = _moved(joint.x, joint.y, void.u, void.v, board.angle)
    return board, AnnotatedObject(kind, _box(x, y, void.radius, void.radius, 0.0))


def _without_solder(joint: Joint, _: np.random.Generator) -> Joint:
    return dataclasses.replace(joint, solder=0.0, voids=())


def _with_little_solder(joint: Joint, rng: np.random.Generator) -> Joint:
    solder, spread = rng.uniform(*LITTLE_SOLDER_THICKNESS), rng.uniform(*LITTLE_SOLDER_SPREAD)
    return dataclasses.replace(joint, solder=solder, spread=spread, voids=())


def _with_large_void(joint: Joint, rng: np.random.Generator) -> Joint:
    """One void instead of the small ones, anywhere within the joint."""
    radius = math.sqrt(rng.uniform(*LARGE_VOID_FRACTION) * joint.area_px / math.pi)
    room = max(min(joint.half_width, joint.half_height) - radius, 0.0) * rng.uniform(0.0, 0.8)
    direction = rng.uniform(0.0, 2 * math.pi)
    void = Void(
        room * math.cos(direction), room * math.sin(direction), radius, rng.uniform(0.8, 0.95)
    )
    return dataclasses.replace(joint, voids=(void,))


_SPOIL: dict[str, Callable[[Joint, np.random.Generator], Joint]] = {
    "missing_joint": _without_solder,
    "little_solder": _with_little_solder,
    "large_void": _with_large_void,
}


def _with_bridge(
    board: Board, left: int, rng: np.random.Generator
) -> tuple[Board, AnnotatedObject]:
    """Joins a joint and its right neighbour; the box spans the gap between them."""
    a, b = board.joints[left], board.joints[left + 1]
    gap = _gap(a, b)
    half_height = min(a.half_height, b.half_height)
    middle = 0.5 * (a.half_width - b.half_width)
    x, y = _moved((a.x + b.x) / 2, (a.y + b.y) / 2, middle, 0.0, board.angle)
    bridge = Bridge(
        x,
        y,
        half_length=gap / 2 + 0.3 * half_height,
        half_width=rng.uniform(0.35, 0.60) * half_height,
        solder=rng.uniform(0.75, 0.95),
    )
    board = _replaced(_replaced(board, left, a), left + 1, b)
    board = dataclasses.replace(board, bridges=(*board.bridges, bridge))
    box = _box(x, y, bridge.half_length, bridge.widest, board.angle)
    return board, AnnotatedObject("bridge", box)


def _places(board: Board, kind: str) -> list[int]:
    """Indices of the joints that a defect can be put on (a bridge: of its left joint)."""
    usable = [_is_usable(joint, board) for joint in board.joints]
    if kind == "bridge":
        pairs = enumerate(pairwise(board.joints))
        return [
            i
            for i, (a, b) in pairs
            if usable[i] and usable[i + 1] and _is_bridgeable(a, b, board.pitch)
        ]
    kinds = ("pad",) if kind == "large_void" else ("pad", "bar")
    return [i for i, joint in enumerate(board.joints) if usable[i] and joint.kind in kinds]


def _is_usable(joint: Joint, board: Board) -> bool:
    """Whether all of the joint is well inside the picture and it is in order so far."""
    box = _box(joint.x, joint.y, joint.half_width, joint.half_height, board.angle)
    is_inside = (
        min(box.xmin, box.ymin) >= _CLEARANCE_PX
        and box.xmax <= WIDTH_PX - _CLEARANCE_PX
        and box.ymax <= HEIGHT_PX - _CLEARANCE_PX
    )
    return is_inside and not joint.is_spoilt


def _gap(a: Joint, b: Joint) -> float:
    """Pixels between the lands of two joints side by side."""
    return math.hypot(b.x - a.x, b.y - a.y) - a.half_width - b.half_width


def _is_bridgeable(a: Joint, b: Joint, pitch: float) -> bool:
    least, most = _BRIDGED_GAP_PITCHES
    return a.row == b.row and least * pitch <= _gap(a, b) <= most * pitch


def _replaced(board: Board, place: int, joint: Joint) -> Board:
    """The board with `joint` in that place, marked so that no second defect is put on it."""
    spoilt = dataclasses.replace(joint, is_spoilt=True)
    return dataclasses.replace(
        board, joints=(*board.joints[:place], spoilt, *board.joints[place + 1 :])
    )


def _moved(x: float, y: float, u: float, v: float, angle: float) -> tuple[float, float]:
    """The place that lies u along and v across the board's rows from x, y."""
    cos, sin = math.cos(angle), math.sin(angle)
    return x + u * cos - v * sin, y + u * sin + v * cos


def _box(x: float, y: float, half_width: float, half_height: float, angle: float) -> BoundingBox:
    """Whole pixels around a turned rectangle, with the margin for blur."""
    cos, sin = abs(math.cos(angle)), abs(math.sin(angle))
    across = half_width * cos + half_height * sin + _BOX_MARGIN_PX
    down = half_width * sin + half_height * cos + _BOX_MARGIN_PX
    return BoundingBox(
        math.floor(x - across), math.floor(y - down), math.ceil(x + across), math.ceil(y + down)
    )
