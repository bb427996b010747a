"""Which way up a picture is: EXIF's orientation, applied to pixels and to boxes."""

from __future__ import annotations

import numpy as np
from PIL import ExifTags, Image

from records.types import BoundingBox

# To turn a picture upright: exchange rows and columns; then mirror left-right; then top-bottom.
# Source: Exif 2.32 (CIPA DC-008), 4.6.4 A, tag Orientation.
_TURNS = {
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}


def read_orientation(exif: bytes) -> int:
    """The orientation that EXIF metadata give, 1 to 8; 1 also where they say nothing or nonsense.

    Args:
        exif: A TIFF header and its directory, with or without `Exif` and two zeros before it.
    """
    tags = Image.Exif()
    try:
        tags.load(exif)
        value = tags.get(ExifTags.Base.Orientation)
    except Exception:  # Pillow raises about ten kinds on damaged bytes; they are no pixels.
        return 1
    return accept_orientation(value)


def accept_orientation(value: object) -> int:
    """The value of an orientation tag, or 1 where it is none of 1 to 8."""
    return value if isinstance(value, int) and value in _TURNS else 1


def swaps_sides(orientation: int) -> bool:
    """Whether turning upright exchanges width and height."""
    return _TURNS[orientation][0]


def turn_pixels(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turns pixels upright.

    Args:
        pixels: `[height, width]` or `[height, width, channels]`, as they lie in the file.
        orientation: 1 to 8.

    Returns:
        A view of the same pixels; height and width are exchanged for an orientation above 4.
    """
    is_transposed, flips_x, flips_y = _TURNS[orientation]
    turned = pixels.swapaxes(0, 1) if is_transposed else pixels
    return turned[:: -1 if flips_y else 1, :: -1 if flips_x else 1]


def turn_box(box: BoundingBox, orientation: int, width: int, height: int) -> BoundingBox:
    """Finds the place of a box, drawn on the picture as it lies in the file, in the upright one.

    Args:
        box: In pixels of the picture as it lies in the file.
        orientation: 1 to 8.
        width: Of the picture as it lies in the file, in pixels.
        height: Likewise.

    Returns:
        The box in pixels of the upright picture. It is as empty, reversed or far outside as before.
    """
    is_transposed, flips_x, flips_y = _TURNS[orientation]
    xmin, ymin, xmax, ymax = box.xmin, box.ymin, box.xmax, box.ymax
    if is_transposed:
        xmin, ymin, xmax, ymax = ymin, xmin, ymax, xmax
        width, height = height, width
    if flips_x:
        xmin, xmax = width - xmax, width - xmin
    if flips_y:
        ymin, ymax = height - ymax, height - ymin
    return BoundingBox(xmin, ymin, xmax, ymax)
