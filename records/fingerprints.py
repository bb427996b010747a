"""Small descriptions of pictures, by which those that look alike are found among very many.

A fingerprint holds the lowest frequencies of a picture's discrete cosine transform (type II). It is
chosen for what turning does to it: mirroring changes the sign of every odd frequency, transposing
transposes the matrix, so one fingerprint a picture answers for all eight ways to lay it down.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FREQUENCIES = 11
FINGERPRINT_LENGTH = FREQUENCIES * FREQUENCIES
FINGERPRINT_DTYPE = np.float16
TURNS = range(8)

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Fingerprints = NDArray[np.float16]

_SIDE_PX = 64
# Contrast (standard deviation in grey levels) below which a picture has no structure to go by.
_FLAT = 0.02


def fingerprint(grey: Pixels) -> Fingerprints:
    """Describes a picture by its lowest `FREQUENCIES` x `FREQUENCIES` cosine coefficients.

    Entry `[v, u]` of the matrix belongs to v half waves down and u half waves across. It is scaled
    so that `[0, 0]` is the mean grey value, and the squares of the others add up to the variance
    that the picture has in these frequencies. The picture is stretched to a square first; a picture
    without structure keeps its mean alone, rounded.

    Args:
        grey: uint8 `[height, width]`, at least 1 x 1.

    Returns:
        `FINGERPRINT_DTYPE` `[FINGERPRINT_LENGTH]`, in grey levels: the matrix row by row.
    """
    picture = Image.fromarray(np.ascontiguousarray(grey))
    square = picture.resize((_SIDE_PX, _SIDE_PX), Image.Resampling.BOX)
    matrix = ANALYSIS @ np.asarray(square, np.float32) @ ANALYSIS.T
    mean, matrix[0, 0] = float(matrix[0, 0]), 0.0
    if np.vdot(matrix, matrix) < _FLAT**2:
        mean, matrix[:] = round(mean), 0.0
    matrix[0, 0] = mean
    return matrix.astype(FINGERPRINT_DTYPE).ravel()


def as_matrices(fingerprints: Fingerprints) -> Floats:
    """Fingerprints `[..., FINGERPRINT_LENGTH]` as float32 `[..., FREQUENCIES, FREQUENCIES]`."""
    shape = (*fingerprints.shape[:-1], FREQUENCIES, FREQUENCIES)
    return fingerprints.astype(np.float32).reshape(shape)


def is_flat(fingerprints: Fingerprints) -> NDArray[np.bool_]:
    """Which of fingerprints `[n, FINGERPRINT_LENGTH]` are of pictures without structure."""
    return ~np.any(fingerprints[:, 1:], axis=1)


def turn_pixels(pixels: np.ndarray, turn: int) -> np.ndarray:
    """Lays a picture `[height, width]` down in one of eight ways.

    Args:
        pixels: Of any type.
        turn: One of `TURNS`; bit 2 transposes, then bit 1 mirrors top to bottom, then bit 0 left to
            right.
    """
    pixels = pixels.T if turn & 4 else pixels
    return pixels[:: -1 if turn & 2 else 1, :: -1 if turn & 1 else 1]


def turn_matrices(matrices: Floats, turn: int) -> Floats:
    """As `turn_pixels`, for matrices `[..., FREQUENCIES, FREQUENCIES]` of fingerprints."""
    matrices = np.swapaxes(matrices, -1, -2) if turn & 4 else matrices
    matrices = matrices * _MIRRORED[:, None] if turn & 2 else matrices
    return matrices * _MIRRORED if turn & 1 else matrices


def undo_turn(turn: int) -> int:
    """The turn that leads back: each is its own, but for the two by 90 degrees."""
    return {5: 6, 6: 5}.get(turn, turn)


def waves(places: NDArray[np.float64]) -> Floats:
    """The cosines whose coefficients make a fingerprint.

    Args:
        places: `[n]`, 0 at one edge of the picture, 1 at the other.

    Returns:
        float32 `[n, FREQUENCIES]`. A picture that has no other frequencies is
        `waves(y) @ matrix @ waves(x).T`.
    """
    frequencies = np.arange(FREQUENCIES)
    scales = np.where(frequencies > 0, np.sqrt(2.0), 1.0)
    return (scales * np.cos(np.pi * places[:, None] * frequencies)).astype(np.float32)


def pixel_centres(count: int) -> NDArray[np.float64]:
    """Where the centres of `count` pixels in a row are, between 0 and 1."""
    return (np.arange(count) + 0.5) / count


# From the pixels of an axis to its coefficients.
ANALYSIS: Floats = waves(pixel_centres(_SIDE_PX)).T / np.float32(_SIDE_PX)
_MIRRORED = np.where(np.arange(FREQUENCIES) % 2, -1, 1).astype(np.float32)
