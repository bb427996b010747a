"""How alike two pictures are in their fine structure, once one is laid on the other.

Pictures are looked at in three sizes, from coarse to fine. In each, only structure a few pixels
broad counts: shading and the finest grain are filtered away, and strong and weak contrast are made
to count alike. One picture is stretched and shifted along both axes until it fits the other best
(Gauss-Newton steps of the inverse compositional method: Baker and Matthews, "Lucas-Kanade 20 Years
On", IJCV 56, 2004); how alike they are is then the correlation of the two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from records.fingerprints import (
    Fingerprints,
    Floats,
    Pixels,
    as_matrices,
    pixel_centres,
    turn_pixels,
    waves,
)

COARSE_PX = 32
FINE_PX = (64, 128)

# Standard deviations in pixels: of the two Gaussians whose difference passes structure between
# them, and of the neighbourhood over which contrast is made even.
_FINE, _BROAD, _NEIGHBOURHOOD = 1.0, 2.0, 4.0
# All three times this for what a fingerprint gives: it holds no structure as fine as the above.
_COARSE_SCALE = 1.5
# Contrast in grey levels that is not made stronger: what noise and coding leave.
_NOISE = 1.0
# The share of each side that is not compared, for there the other picture may have ended; and how
# far one may be stretched, and shifted in half widths, for its middle to stay within the other.
_EDGE = 0.1
_MOST_STRETCH, _MOST_SHIFT = 0.15, 2 * _EDGE
_STEPS = {COARSE_PX: 10, 64: 5, 128: 5}
_STEADY_PX = 0.1


@dataclass(frozen=True, slots=True)
class Placement:
    """How a picture is laid on another: x goes to `(1 + stretch) x + shift`, y likewise.

    x runs from -1 at the left edge to 1 at the right, y from top to bottom.
    """

    stretch_x: float = 0.0
    shift_x: float = 0.0
    stretch_y: float = 0.0
    shift_y: float = 0.0

    @property
    def largest_move(self) -> float:
        """How far a corner moves along an axis at most, as a share of the picture."""
        across = abs(self.stretch_x) + abs(self.shift_x)
        down = abs(self.stretch_y) + abs(self.shift_y)
        return max(across, down) / 2

    def less(self, step: np.ndarray) -> Placement:
        """This placement after the inverse of a small one, kept within what is allowed."""
        stretch_x, shift_x, stretch_y, shift_y = step.tolist()
        return Placement(
            *_less(self.stretch_x, self.shift_x, stretch_x, shift_x),
            *_less(self.stretch_y, self.shift_y, stretch_y, shift_y),
        )


def _less(stretch: float, shift: float, by_stretch: float, by_shift: float) -> tuple[float, float]:
    scale = (1.0 + stretch) / (1.0 + by_stretch)
    shift -= scale * by_shift
    stretch = min(max(scale - 1.0, -_MOST_STRETCH), _MOST_STRETCH)
    most = _MOST_SHIFT - (1.0 - 2 * _EDGE) * abs(stretch)
    return stretch, min(max(shift, -most), most)


class Target:
    """The structure of a picture in one size, for others to be laid on."""

    def __init__(self, structure: Floats) -> None:
        """Prepares for `structure` float32 `[side, side]`; `side` one of the sizes above."""
        self._side = len(structure)
        self._middle = _centred(_inner(structure))
        self._step = _step(structure)

    def fit(self, structure: Floats, turn: int, start: Placement) -> tuple[Placement, float]:
        """Lays another picture on this one as well as can be.

        Args:
            structure: Of the other, of the same size.
            turn: How the other is laid down first, one of `records.fingerprints.TURNS`.
            start: Where to begin.

        Returns:
            The placement, and the correlation there, -1 to 1.
        """
        other = Image.fromarray(np.ascontiguousarray(turn_pixels(structure, turn)))
        placement = start
        for _ in range(_STEPS[self._side]):
            laid = _lay(other, placement, Image.Resampling.BILINEAR)
            step = self._step @ (laid - self._middle)
            placement = placement.less(step)
            if np.abs(step).max() < _STEADY_PX * 2 / self._side:
                break
        laid = _lay(other, placement, Image.Resampling.BICUBIC)
        energy = np.vdot(laid, laid) * np.vdot(self._middle, self._middle)
        return placement, float(np.vdot(laid, self._middle) / np.sqrt(energy + 1e-12))


def coarse_structure(fingerprint: Fingerprints) -> Floats:
    """A picture's structure in `COARSE_PX` squared, which its fingerprint alone gives."""
    pixels = _WAVES @ as_matrices(fingerprint) @ _WAVES.T
    return _structure(pixels.astype(np.float32), _COARSE_SCALE)


def thumbnail(grey: Pixels) -> Pixels:
    """Stretches a picture uint8 `[height, width]` to the largest of `FINE_PX` squared."""
    picture = Image.fromarray(np.ascontiguousarray(grey))
    size = (FINE_PX[-1], FINE_PX[-1])
    return np.asarray(picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0))


def fine_structure(small: Pixels, side: int) -> Floats:
    """A picture's structure in `side` squared, one of `FINE_PX`, from its `thumbnail`."""
    share = len(small) // side
    blocks = small.reshape(side, share, side, share)
    return _structure(blocks.mean(axis=(1, 3), dtype=np.float32), 1.0)


def _structure(pixels: Floats, scale: float) -> Floats:
    structure = _blur(pixels, scale * _FINE) - _blur(pixels, scale * _BROAD)
    contrast = np.sqrt(_blur(np.square(structure), scale * _NEIGHBOURHOOD) + _NOISE**2)
    return (structure / contrast).astype(np.float32)


def _blur(pixels: Floats, deviation: float) -> Floats:
    blurred: Floats = gaussian_filter(pixels, deviation, mode="nearest", truncate=3.0)
    return blurred


def _inner(pixels: np.ndarray) -> np.ndarray:
    edge = round(_EDGE * len(pixels))
    return pixels[edge:-edge, edge:-edge]


def _centred(pixels: Floats) -> Floats:
    return (pixels - pixels.mean()).ravel()


def _step(structure: Floats) -> Floats:
    """What turns the difference to a picture laid on this one into a small placement."""
    side = len(structure)
    down, across = (_inner(np.gradient(structure, axis=axis)) * (side / 2) for axis in (0, 1))
    x, y = np.meshgrid(*[2 * pixel_centres(side) - 1] * 2)
    moved = (across * _inner(x), across, down * _inner(y), down)
    slopes = np.stack([change.ravel() for change in moved]).astype(np.float64)
    normal = slopes @ slopes.T
    damping = 1e-3 * np.trace(normal) / len(normal) + 1e-9
    return np.linalg.solve(normal + damping * np.eye(len(normal)), slopes).astype(np.float32)


def _lay(picture: Image.Image, placement: Placement, kernel: Image.Resampling) -> Floats:
    """What of a picture comes to lie on the other's middle, as one row less its mean."""
    side = picture.width
    edge = round(_EDGE * side)
    left, right = _ends(placement.stretch_x, placement.shift_x, side, edge)
    top, bottom = _ends(placement.stretch_y, placement.shift_y, side, edge)
    size = (side - 2 * edge, side - 2 * edge)
    return _centred(np.asarray(picture.resize(size, kernel, box=(left, top, right, bottom))))


def _ends(stretch: float, shift: float, side: int, edge: int) -> tuple[float, float]:
    """Where, in pixels, the ends of the other's middle are."""
    reach = (1.0 + stretch) * (1 - 2 * edge / side)
    low, high = ((place + shift + 1.0) * side / 2 for place in (-reach, reach))
    return max(low, 0.0), min(high, float(side))


_WAVES = waves(pixel_centres(COARSE_PX))
