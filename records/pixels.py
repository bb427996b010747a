"""Decoded pixels, in one of three forms: uint8 `[h, w]`, uint8 `[h, w, 3]` or uint16 `[h, w]`."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image

from records.encodings import Header, damaged

GREY_TOLERANCE = 2
"""How far the channels of a grey picture may lie apart, of 255: colour conversion of a JPEG rounds
twice, each time by up to one unit."""

_PIXELS_TOGETHER = 2**20  # Bounds the memory that is needed beside a whole picture.
_PNG_LEVEL = 4
_GREY_MODES = ("1", "L", "LA", "La")
# What Pillow warns of is either refused with a finding or of no effect on the pixels.
for _category in (UserWarning, RuntimeWarning):
    warnings.filterwarnings("ignore", category=_category, module="PIL")


def decode_by_pillow(encoded: bytes, source_format: str, header: Header) -> np.ndarray:
    """Decodes by Pillow, in one of the three forms; transparency is left out, not applied.

    Args:
        encoded: The file.
        source_format: One of `EXTENSIONS`.
        header: As read from the file.

    Raises:
        PictureError: Pillow finds another size in the file.
        Exception: Whatever Pillow raises on damaged bytes.
    """
    with Image.open(io.BytesIO(encoded), formats=(source_format.upper(),)) as picture:
        picture.info.pop("xmp", None)  # Pillow turns a TIFF by the orientation that XMP gives.
        if picture.size != (header.width, header.height):
            raise damaged(f"the {source_format.upper()} gives its size twice, and differently")
        picture.load()
        if picture.mode.startswith("I;16"):
            return np.asarray(picture).astype(np.uint16, copy=False)
        mode = "L" if picture.mode in _GREY_MODES else "RGB"
        shape = (header.height, header.width, 3)[: 2 if mode == "L" else 3]
        pixels = np.empty(shape, np.uint8)
        for rows in _split_rows(header.width, header.height):
            part = picture.crop((0, rows.start, header.width, rows.stop))
            pixels[rows] = np.asarray(_convert(part, mode))
        return pixels


def measure_luma(pixels: np.ndarray) -> tuple[np.ndarray, bool]:
    """Turns pixels into grey.

    Args:
        pixels: In one of the three forms.

    Returns:
        uint8 `[h, w]`: luma (ITU-R BT.601) of colour; 16-bit values are scaled so that the most
        that 10, 12, 14 or 16 bits hold becomes 255, the fewest that hold all of them:
        detectors deliver so many bits. And whether the picture is grey: no two channels of any
        pixel lie more than `GREY_TOLERANCE` apart.
    """
    if pixels.dtype == np.uint16:
        return (pixels.astype(np.uint32) * 255 // _find_most(pixels)).astype(np.uint8), True
    if pixels.ndim == 2:
        return np.ascontiguousarray(pixels), True
    height, width, _ = pixels.shape
    parts = list(_split_rows(width, height))
    if all(_are_channels_equal(pixels[rows]) for rows in parts):
        return np.ascontiguousarray(pixels[..., 0]), True
    luma = np.empty((height, width), np.uint8)
    is_grey = True
    for rows in parts:
        luma[rows] = np.asarray(Image.fromarray(pixels[rows]).convert("L"))
        is_grey = is_grey and _are_channels_close(pixels[rows])
    return luma, is_grey


def encode_png(pixels: np.ndarray) -> bytes:
    """Encodes pixels, in one of the three forms, as PNG of their depth, without metadata."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=_PNG_LEVEL)
    return file.getvalue()


def _split_rows(width: int, height: int) -> list[slice]:
    rows = max(1, _PIXELS_TOGETHER // width)
    return [slice(start, min(start + rows, height)) for start in range(0, height, rows)]


def _convert(picture: Image.Image, mode: str) -> Image.Image:
    if picture.mode == "La":  # Pillow has no way to L from here.
        picture = picture.convert("LA")
    return picture.convert(mode)


def _find_most(pixels: np.ndarray) -> int:
    used = int(pixels.max()).bit_length()
    return 2 ** min(depth for depth in (10, 12, 14, 16) if depth >= used) - 1


def _are_channels_equal(pixels: np.ndarray) -> bool:
    # Neighbouring bytes differ from pixel to pixel alone. Three times as fast as by channels.
    values = pixels.reshape(-1)
    is_step = values[1:] != values[:-1]
    is_step[2::3] = False
    return not is_step.any()


def _are_channels_close(pixels: np.ndarray) -> bool:
    red, green, blue = np.moveaxis(pixels, -1, 0)
    highest = np.maximum(np.maximum(red, green), blue)
    lowest = np.minimum(np.minimum(red, green), blue)
    return bool((highest - lowest).max() <= GREY_TOLERANCE)
