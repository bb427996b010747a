"""Small pictures for the audit's page, made from the data folder when the page is written."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import TiffImageFile

from pipeline.figures.overlay import draw_boxes
from pipeline.pages.page import data_uri
from records.pictures import read_file
from records.places import Place
from records.types import AnnotatedObject

THUMBNAIL_PX = 200
"""Longest side; a smaller picture is enlarged by a whole number, up to this."""

_FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
_SCALED_MODES = ("L", "RGB", "CMYK")  # others are scaled badly or with their transparency
_PHOTOMETRIC = 262  # tag of a TIFF that says what its values mean
_SHOWN_PERCENTILES = (0.5, 99.5)
_QUALITIES = (80, 50, 25)  # of JPEG; the first that is small enough, or the last
_BYTES = 16_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """A picture to be shown.

    Attributes:
        source_id: Its path below the data folder.
        objects: Boxes to draw, in pixels of the upright picture.
        is_turned: Whether an EXIF orientation is applied, as it is to what a record converts.
    """

    source_id: str
    objects: tuple[AnnotatedObject, ...] = ()
    is_turned: bool = True


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small picture inside the page.

    Attributes:
        uri: A JPEG as `data:` URI.
        width: In pixels.
        height: In pixels.
        remark: How its grey values were changed for display; empty when they were not.
    """

    uri: str
    width: int
    height: int
    remark: str = ""


def make_thumbnails(source: Place, wanted: Sequence[Wanted]) -> list[Thumbnail | None]:
    """A thumbnail of each picture, in order; None for one that cannot be opened any more.

    Args:
        source: The data folder.
        wanted: What to open in it.
    """
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        return list(threads.map(lambda item: _make_thumbnail(source, item), wanted))


def _make_thumbnail(source: Place, wanted: Wanted) -> Thumbnail | None:
    try:
        small, scale, remark = _open_small(source / wanted.source_id, is_turned=wanted.is_turned)
    except Exception:  # Pillow raises about ten kinds on a file that changed since the audit.
        return None
    draw_boxes(small, wanted.objects, scale=scale, named=False)
    return Thumbnail(_encode(small), *small.size, remark)


def _open_small(path: Place, *, is_turned: bool) -> tuple[Image.Image, float, str]:
    """The picture as RGB of `THUMBNAIL_PX`, its size over the original's, and a remark."""
    picture: Image.Image
    with Image.open(io.BytesIO(read_file(path)), formats=_FORMATS) as picture:
        picture.info.pop("xmp", None)  # Pillow would turn by it; the records do not.
        longest_px = max(picture.size)
        is_deep = picture.mode.startswith(("I", "F"))
        is_inverted = is_deep and _is_white_zero(picture)
        if is_deep or picture.mode not in _SCALED_MODES:
            picture = picture.convert("F" if is_deep else "RGB")
        picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
        if is_turned:
            ImageOps.exif_transpose(picture, in_place=True)
        picture, remark = _stretch_grey(picture) if is_deep else (picture.convert("RGB"), "")
        picture = ImageOps.invert(picture) if is_inverted else picture
    factor = THUMBNAIL_PX // max(picture.size)
    if factor > 1:
        picture = picture.resize(
            (factor * picture.width, factor * picture.height), Image.Resampling.NEAREST
        )
    return picture, max(picture.size) / longest_px, remark


def _is_white_zero(picture: Image.Image) -> bool:
    """Whether it is a TIFF whose largest value is black: of 8 bits Pillow inverts it, of 16 not."""
    return isinstance(picture, TiffImageFile) and picture.tag_v2.get(_PHOTOMETRIC) == 0


def _stretch_grey(deep: Image.Image) -> tuple[Image.Image, str]:
    """Brings more than 8 bits to 8: darkest to black and lightest to white, but for outliers."""
    values = np.asarray(deep, np.float32)
    low, high = np.percentile(values, _SHOWN_PERCENTILES)
    grey = np.clip((values - low) * (255 / max(high - low, 1)), 0, 255).round().astype(np.uint8)
    remark = f"more than 8 bit: shown with its own range, {low:,.0f} to {high:,.0f}"
    return Image.fromarray(grey).convert("RGB"), remark


def _encode(small: Image.Image) -> str:
    small.info = {}  # Pillow would write the comment of the original
    for quality in _QUALITIES:
        buffer = io.BytesIO()
        # Without subsampling the thin coloured lines stay sharp.
        small.save(buffer, format="JPEG", quality=quality, subsampling=0)
        if buffer.tell() <= _BYTES:
            break
    return data_uri(buffer.getvalue(), image_format="jpeg")
