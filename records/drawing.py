"""Draws boards in order, each unlike the others: pitch, rows, sizes, rotation, voids.

Nothing here knows of classes or defects: pictures in order and not in order start from the same
draw, so that nothing but the defect tells them apart.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from records.board import Board, Joint, JointKind, Plate, Void

WIDTH_PX, HEIGHT_PX = 256, 192
PITCH_PX = (47.0, 52.0)
ROTATION_DEGREES = (-2.0, 2.0)
# What is harmless; `records.defects` holds the other side of each limit.
NORMAL_SOLDER_THICKNESS = (0.92, 1.08)
HARMLESS_VOID_FRACTION = 0.12

# In pitches from the package's axis.
_COLUMNS = range(-6, 7)
_BLOCKS = (-6.0, -3.0, 0.0, 3.0, 6.0)
_BARS = (-4.5, -1.5, 1.5, 4.5)
_HALF_BANDS = {"pads": 0.62, "double": 0.90, "tab_up": 0.85, "tab_down": 0.85}


def draw_board(rng: np.random.Generator) -> Board:
    """Draws a board in order: rows of pads, double bars and bars with shoulders, as in a package.

    The picture is a window onto the package at random, with two rows of pads in it; a package's
    side, its end and the beginning of the next may be seen.
    """
    return _Drawing(rng).board()


class _Drawing:
    """One draw: what the joints of a board have in common, and the parts made so far."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.pitch = rng.uniform(*PITCH_PX)
        self.angle = math.radians(rng.uniform(*ROTATION_DEGREES))
        self.left = rng.uniform(-4.0, 4.0)
        self.stretch = rng.uniform(0.97, 1.03)
        self.pad_half = rng.uniform(0.30, 0.33), rng.uniform(0.31, 0.34)
        self.roundness = rng.uniform(0.7, 0.9)
        self.voids_a_pad = rng.uniform(0.5, 2.0)
        self.joints: list[Joint] = []
        self.leads: list[Plate] = []

    def board(self) -> Board:
        for row, (band, line) in enumerate(self._bands()):
            if band == "pads":
                self._add_pads(line, row=2 * row)
            elif band == "double":
                self._add_double_bars(line, row=2 * row)
            else:
                self._add_bars(line, row=2 * row, side=-1.0 if band == "tab_up" else 1.0)
        bodies = self._scatter(most=2, half=(1.5, 4.5), thickness=(0.03, 0.08), is_round=False)
        holes = self._scatter(most=2, half=(0.7, 1.1), thickness=(-0.16, -0.10), is_round=True)
        return Board(
            self.pitch, self.angle, tuple(self.joints), tuple(self.leads), (*bodies, *holes)
        )

    def _bands(self) -> list[tuple[str, float]]:
        """Bands from top to bottom, and their centre lines in pitches below the picture's."""
        upper, lower = (["pads"] * int(self.rng.integers(2, 4)) for _ in range(2))
        cycle = ["tab_up", *upper, "double", *lower, "tab_down"]
        bands = 3 * cycle
        widths = np.array([_HALF_BANDS[band] for band in bands]) * self.stretch
        lines = np.cumsum(2 * widths) - widths
        pairs = [i for i in range(len(cycle)) if bands[i : i + 2] == ["pads", "pads"]]
        upper_row = len(cycle) + pairs[int(self.rng.integers(len(pairs)))]
        lines += self.rng.uniform(-1.1, -0.1) - lines[upper_row]
        most = HEIGHT_PX / 2 / self.pitch + 1.0
        return [
            (band, line)
            for band, line in zip(bands, lines.tolist(), strict=True)
            if abs(line) < most
        ]

    def _add_pads(self, line: float, *, row: int) -> None:
        for column in _COLUMNS:
            self._add_joint("pad", row, (column, line), self.pad_half, self.roundness)

    def _add_double_bars(self, line: float, *, row: int) -> None:
        for below in (0, 1):
            for block in _BLOCKS:
                for side in (-0.56, 0.56):
                    at = (block + side, line + (0.30 if below else -0.30))
                    self._add_joint("bar", row + below, at, (0.62, 0.35), 0.6)

    def _add_bars(self, line: float, *, row: int, side: float) -> None:
        for bar, dot in zip(_BARS, _BLOCKS[1:], strict=True):
            for half in (-0.56, 0.56):
                self._add_joint("bar", row, (bar + half, line), (0.50, 0.34), 0.7)
            self._add_joint("dot", row, (dot, line + 0.1 * side), (0.2, 0.2), 1.0)
            self._add_lead((bar, line + 0.12 * side), (0.20, 0.21), 0.80)
            self._add_lead((bar, line + 0.40 * side), (0.24, 0.28), 0.75)

    def _add_joint(
        self,
        kind: JointKind,
        row: int,
        at: tuple[float, float],
        half: tuple[float, float],
        roundness: float,
    ) -> None:
        x, y = (self._place(*at) + self.rng.normal(0.0, 0.25, 2)).tolist()
        half_width, half_height = (np.array(half) * self.pitch).tolist()
        corner = roundness * min(half_width, half_height)
        solder = self.rng.uniform(*NORMAL_SOLDER_THICKNESS)
        bare = Joint(kind, row, x, y, half_width, half_height, corner, solder)
        count = 0 if kind == "dot" else int(self.rng.poisson(self.voids_a_pad))
        self.joints.append(_with_harmless_voids(bare, count, self.rng))

    def _add_lead(
        self, at: tuple[float, float], half: tuple[float, float], thickness: float
    ) -> None:
        x, y = self._place(*at).tolist()
        half_width, half_height = (np.array(half) * self.pitch).tolist()
        self.leads.append(Plate(x, y, half_width, half_height, 0.1 * self.pitch, thickness))

    def _place(self, u: float, v: float) -> np.ndarray:
        """From pitches right of and below the package's axis to a place in the picture."""
        right, down = (u + self.left) * self.pitch, v * self.pitch
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        x = WIDTH_PX / 2 + right * cos - down * sin
        y = HEIGHT_PX / 2 + right * sin + down * cos
        return np.array([x, y])

    def _scatter(
        self,
        *,
        most: int,
        half: tuple[float, float],
        thickness: tuple[float, float],
        is_round: bool,
    ) -> list[Plate]:
        """Draws up to `most` plates anywhere; `half` is their half width in pitches."""
        ranges = ((0.0, WIDTH_PX), (0.0, HEIGHT_PX), half, thickness)
        lows, highs = np.array(ranges).T
        draws = self.rng.uniform(lows, highs, (int(self.rng.integers(most + 1)), 4))
        plates = []
        for x, y, half_pitches, thick in draws.tolist():
            wide = half_pitches * self.pitch
            high, corner = (wide, wide) if is_round else (0.6 * wide, 3.0)
            plates.append(Plate(x, y, wide, high, corner, thick))
        return plates


def _with_harmless_voids(joint: Joint, count: int, rng: np.random.Generator) -> Joint:
    """Adds `count` small voids, or as many as stay below the harmless share of the area."""
    least = min(joint.half_width, joint.half_height)
    for _ in range(count):
        radius = rng.uniform(0.07, 0.20) * least
        u = rng.uniform(-1.0, 1.0) * (joint.half_width - 1.4 * radius)
        v = rng.uniform(-1.0, 1.0) * (joint.half_height - 1.4 * radius)
        void = Void(u, v, radius, depth=rng.uniform(0.5, 0.9))
        larger = dataclasses.replace(joint, voids=(*joint.voids, void))
        if larger.void_fraction <= HARMLESS_VOID_FRACTION:
            joint = larger
    return joint
