"""From a board's geometry to an X-ray picture: what an inspection system would show of it.

Steps: thickness of solder and copper, attenuation (Beer-Lambert), blur of the focal spot, photon
noise, blur of the scintillator, logarithm, unsharp mask (what gives the bright rims and the dark
halos), grey values, readout noise, the detector's lines, 8 bits. Solder is bright, as on the
displays of such systems.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from records.board import Board, Bridge, Joint, Plate
from records.drawing import HEIGHT_PX, WIDTH_PX

_LAND_THICKNESS = 0.30
_FOCAL_BLUR_PX = 0.8
_SCINTILLATOR_BLUR_PX = 0.8
_UNSHARP_PITCHES = 0.27
_MIDDLE_DIP = 0.22


@dataclass(frozen=True, slots=True)
class Exposure:
    """How a board is taken.

    Attributes:
        attenuation: Of nominal solder, as the exponent of Beer-Lambert's law.
        photons: A pixel's count where nothing absorbs.
        unsharp: Share of the blurred picture that is subtracted.
        gain: Grey values a unit of attenuation.
        level: Grey value of the bare board.
        readout: Standard deviation of the readout noise in grey values.
        shading: float32 [height, width], attenuation of the uneven background.
        lines: float32 [height, width], grey values of the detector's rows and columns.
        mottle: float32 [height, width], local thickness relative to the dome; mean 1.
    """

    attenuation: float
    photons: float
    unsharp: float
    gain: float
    level: float
    readout: float
    shading: np.ndarray
    lines: np.ndarray
    mottle: np.ndarray


def draw_exposure(rng: np.random.Generator) -> Exposure:
    """Draws the settings of tube and display, and the unevenness of board and detector."""
    return Exposure(
        attenuation=rng.uniform(0.95, 1.05),
        photons=rng.uniform(600.0, 1000.0),
        unsharp=rng.uniform(0.62, 0.70),
        gain=rng.uniform(80.0, 105.0),
        level=rng.uniform(68.0, 98.0),
        readout=rng.uniform(1.0, 2.0),
        shading=_draw_shading(rng),
        lines=_draw_lines(rng),
        mottle=1.0 + 0.05 * _smooth_noise(rng, 1.3),
    )


def thickness_of(board: Board) -> tuple[np.ndarray, np.ndarray]:
    """Renders a board without any blur or noise.

    Returns:
        Two float32 [height, width]: thickness of the solder, and of everything else (negative in
        drilled holes); both relative to nominal solder.
    """
    solder = np.zeros((HEIGHT_PX, WIDTH_PX), np.float32)
    rest = np.zeros_like(solder)
    for plate in board.plates:
        window, u, v = _window(plate.x, plate.y, plate.half_width, plate.half_height, board.angle)
        rest[window] += plate.thickness * _plateau(plate, u, v)
    for lead in board.leads:
        window, u, v = _window(lead.x, lead.y, lead.half_width, lead.half_height, board.angle)
        np.maximum(solder[window], lead.thickness * _plateau(lead, u, v), out=solder[window])
    for joint in board.joints:
        window, u, v = _window(joint.x, joint.y, joint.half_width, joint.half_height, board.angle)
        rest[window] += _LAND_THICKNESS * _plateau(joint, u, v)
        np.maximum(solder[window], _solder_of(joint, u, v), out=solder[window])
    for bridge in board.bridges:
        window, u, v = _window(bridge.x, bridge.y, bridge.half_length, bridge.widest, board.angle)
        np.maximum(solder[window], _neck(bridge, u, v), out=solder[window])
    return solder, rest


def expose(board: Board, exposure: Exposure, noise: np.random.Generator | None) -> np.ndarray:
    """Takes a picture of `board`.

    Args:
        board: What is seen.
        exposure: How it is taken.
        noise: Draws photon and readout noise; None for the picture without them.

    Returns:
        float32 [height, width] in grey values, neither clipped to 0..255 nor rounded.
    """
    solder, rest = thickness_of(board)
    path = exposure.attenuation * (solder * exposure.mottle + rest) + exposure.shading
    counts = exposure.photons * _blur(np.exp(-path), _FOCAL_BLUR_PX)
    if noise is not None:
        counts = noise.poisson(counts).astype(np.float32)
    counts = _blur(counts, _SCINTILLATOR_BLUR_PX)
    measured = -np.log(np.maximum(counts, 1.0) / exposure.photons)
    surround = _blur(measured, _UNSHARP_PITCHES * board.pitch)
    grey = exposure.level + exposure.gain * (measured - exposure.unsharp * surround)
    grey += exposure.lines
    if noise is not None:
        grey += exposure.readout * noise.standard_normal(grey.shape, np.float32)
    return grey


def to_pixels(grey: np.ndarray) -> np.ndarray:
    """Rounds grey values to uint8, clipping them to 0..255."""
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def _blur(image: np.ndarray, sigma_px: float) -> np.ndarray:
    return ndimage.gaussian_filter(image, sigma_px, mode="nearest", truncate=3.0)


def _window(
    x: float, y: float, half_width: float, half_height: float, angle: float
) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
    """The pixels a part can touch, and where their centres lie along and across the part.

    The window is empty when the part lies outside the picture.
    """
    cos, sin = math.cos(angle), math.sin(angle)
    across = half_width * abs(cos) + half_height * abs(sin) + 1.0
    down = half_width * abs(sin) + half_height * abs(cos) + 1.0
    rows = slice(max(math.floor(y - down), 0), max(math.ceil(y + down), 0))
    columns = slice(max(math.floor(x - across), 0), max(math.ceil(x + across), 0))
    right = _CENTRES_X[:, columns] - np.float32(x)
    below = _CENTRES_Y[rows] - np.float32(y)
    return (rows, columns), right * cos + below * sin, below * cos - right * sin


_CENTRES_X = np.arange(WIDTH_PX, dtype=np.float32)[None] + np.float32(0.5)
_CENTRES_Y = np.arange(HEIGHT_PX, dtype=np.float32)[:, None] + np.float32(0.5)


def _inside_px(
    u: np.ndarray, v: np.ndarray, half_width: float, half_height: float, corner: float
) -> np.ndarray:
    """Distance to the outline of a rectangle with round corners, positive inside."""
    over_u = np.abs(u) - (half_width - corner)
    over_v = np.abs(v) - (half_height - corner)
    outside = np.hypot(np.maximum(over_u, 0.0), np.maximum(over_v, 0.0))
    return corner - outside - np.minimum(np.maximum(over_u, over_v), 0.0)


def _plateau(plate: Plate | Joint, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A flat plate or a joint's land: 1 inside, 0 outside, a pixel of edge between."""
    inside = _inside_px(u, v, plate.half_width, plate.half_height, plate.corner)
    return np.clip(inside + 0.5, 0.0, 1.0)


def _solder_of(joint: Joint, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Thickness of a joint: steep flanks, a rim, and a flatter middle; less its voids.

    Solder wets the flanks of what it holds, which makes the rim; the middle is up to
    `_MIDDLE_DIP` thinner.
    """
    half_width, half_height = joint.spread * joint.half_width, joint.spread * joint.half_height
    inside = _inside_px(u, v, half_width, half_height, joint.spread * joint.corner)
    flank = 0.45 * min(half_width, half_height)
    rise = np.clip(inside / flank, 0.0, 1.0)
    dip = np.clip(inside / flank - 1.0, 0.0, 1.0)
    thickness = joint.solder * rise * (2.0 - rise) * (1.0 - _MIDDLE_DIP * dip)
    for void in joint.voids:
        rho2 = ((u - void.u) ** 2 + (v - void.v) ** 2) / void.radius**2
        thickness = thickness * (1.0 - void.depth * np.cbrt(np.maximum(1.0 - rho2, 0.0)))
    return thickness


def _neck(bridge: Bridge, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Thickness of a bridge: round across, `half_width` in the middle, `widest` at its ends."""
    along = np.minimum(np.abs(u) / bridge.half_length, 1.0)
    half_width = bridge.half_width + (bridge.widest - bridge.half_width) * along**2
    rise = np.clip(1.0 - np.abs(v) / half_width, 0.0, 1.0)
    is_on = np.abs(u) <= bridge.half_length
    return bridge.solder * is_on * rise * (2.0 - rise)


def _draw_shading(rng: np.random.Generator) -> np.ndarray:
    """A slope, slow waves, and the weave of the board's glass fibre."""
    x, y = _CENTRES_X / WIDTH_PX, _CENTRES_Y / HEIGHT_PX
    slope_x, slope_y = rng.uniform(-0.25, 0.25, 2).tolist()
    shading = slope_x * (x - 0.5) + slope_y * (y - 0.5)
    for _ in range(3):
        wave = rng.uniform((-2.0, -2.0, 0.0, 0.0), (2.0, 2.0, 2 * math.pi, 0.07))
        cycles_x, cycles_y, phase, height = wave.tolist()
        angle = 2 * math.pi * (cycles_x * x + cycles_y * y) + phase
        shading = shading + height * np.cos(angle)
    weave = _smooth_noise(rng, 1.6)
    return shading + 0.028 * weave


def _draw_lines(rng: np.random.Generator) -> np.ndarray:
    """Rows and columns of unequal gain: fine lines that swell and fade along their length."""
    lines = np.zeros((HEIGHT_PX, WIDTH_PX), np.float32)
    for along, across, length in ((_CENTRES_X, 0, HEIGHT_PX), (_CENTRES_Y, 1, WIDTH_PX)):
        strength = ndimage.gaussian_filter1d(rng.standard_normal(length), 0.8)
        strength = np.expand_dims(rng.uniform(1.5, 3.5) * strength, 1 - across)
        wave, phase = rng.uniform(0.5, 2.0), rng.uniform(0.0, 2 * math.pi)
        lines += strength * (0.7 + 0.3 * np.cos(2 * math.pi * wave * along / along.size + phase))
    return lines


def _smooth_noise(rng: np.random.Generator, sigma_px: float) -> np.ndarray:
    """Gaussian noise correlated over a few pixels, with standard deviation 1."""
    noise = _blur(rng.standard_normal((HEIGHT_PX, WIDTH_PX), np.float32), sigma_px)
    return noise / noise.std()
