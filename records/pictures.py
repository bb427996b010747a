"""Looks at a picture's bytes before TensorFlow does, and makes them what TensorFlow decodes.

JPEG, PNG (8 and 16 bit) and BMP are kept byte for byte where TensorFlow 2.21 decodes them to the
same pixels as Pillow. (A JPEG it does with `dct_method="INTEGER_ACCURATE"`; its default is a
coarser transform, which is up to 12 units off on NEU's pictures.) What it does not decode, or not
rightly, becomes a lossless PNG of the same depth: TIFF, WebP, JPEG of printing inks, BMP of unusual
kinds; and so does what an orientation tag turns, because TensorFlow does not look at it.
Transparency is left out in all, as TensorFlow does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import UnidentifiedImageError

from records import bmp, faults, jpeg, png, tiff, webp
from records.encodings import EXTENSIONS, Header, damaged, find_format
from records.encodings import PictureError as PictureError
from records.faults import Fault
from records.orientation import swaps_sides, turn_pixels
from records.pixels import encode_png, measure_luma
from records.places import Place, read_at_most

MAX_FILE_BYTES = 2**28
"""An uncompressed colour picture of `records.encodings.MAX_PIXELS`."""

_READERS: dict[str, Callable[[bytes], Any]] = {
    "jpeg": jpeg.read_header,
    "png": png.read_header,
    "bmp": bmp.read_header,
    "tiff": tiff.read_header,
    "webp": webp.read_header,
}
_DECODERS: dict[str, Callable[[bytes, Any], np.ndarray]] = {
    "jpeg": jpeg.decode,
    "png": png.decode,
    "bmp": bmp.decode,
    "tiff": tiff.decode,
    "webp": webp.decode,
}


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """What a picture's bytes are.

    Attributes:
        source_format: What they are: a key of `EXTENSIONS`.
        image_format: `jpeg`, `png` or `bmp`: what `encode_stored` makes of them.
        is_converted: Whether that is other bytes, a PNG.
        width: In pixels, upright.
        height: In pixels, likewise.
        bit_depth: Of a channel, 8 or 16.
        is_grey: Whether it is grey, as `records.pixels.measure_luma` says.
        size_bytes: How many they are.
        sha256: Of the bytes, in hexadecimal.
        orientation: EXIF's, 1 to 8: how the rows in the file were turned to stand upright; 1 is not
            at all.
        remarks: What is remarkable, though the picture can be used: a warning and its reason each.
    """

    source_format: str
    image_format: str
    is_converted: bool
    width: int
    height: int
    bit_depth: int
    is_grey: bool
    size_bytes: int
    sha256: str
    orientation: int
    remarks: tuple[tuple[Fault, str], ...]


def read_file(path: Place) -> bytes:
    """Reads a file, but no more of it than a picture may have.

    Raises:
        PictureError: It cannot be read, or is too large.
    """
    try:
        encoded = read_at_most(path, MAX_FILE_BYTES)
    except OSError as error:
        raise PictureError(
            faults.UNREADABLE_PICTURE, f"the file cannot be read: {error.strerror}"
        ) from error
    _require_size(encoded)
    return encoded


def probe_pixels(encoded: bytes) -> tuple[PictureFacts, np.ndarray]:
    """Decodes a picture whole.

    Of the largest picture it takes up to 1 GiB of memory, of a WebP 1.5 GiB.

    Returns:
        What the picture is, and its luma: uint8 `[height, width]`, upright, as
        `records.pixels.measure_luma` makes it.

    Raises:
        PictureError: It is empty, damaged or cut short, is too large, or is of a kind that is not
            read.
    """
    source_format, header = _read_header(encoded)
    luma, is_grey = measure_luma(_decode(encoded, source_format, header))
    facts = _describe(encoded, source_format, header, is_grey)
    return facts, np.ascontiguousarray(turn_pixels(luma, header.orientation))


def probe_bytes(encoded: bytes) -> PictureFacts:
    """As `probe_pixels`, without the pixels."""
    return probe_pixels(encoded)[0]


def probe_header(encoded: bytes) -> PictureFacts:
    """Looks at a picture without decoding it.

    Sizes, kind and the end of the file are looked at as by `probe_pixels`; damage between is not
    found. `is_grey` is true only where the header alone says so.

    Raises:
        PictureError: As `probe_pixels`, as far as it is seen.
    """
    source_format, header = _read_header(encoded)
    return _describe(encoded, source_format, header, header.is_grey)


def encode_stored(encoded: bytes) -> bytes:
    """Makes the bytes that records hold and models are given: `encoded` itself, or a PNG.

    The PNG is upright, of the depth of the picture, and holds nothing but pixels. It is the same
    for the same bytes as long as Pillow is the same.

    Args:
        encoded: A picture that `probe_pixels` lets pass.

    Raises:
        PictureError: It does not.
    """
    source_format, header = _read_header(encoded)
    if not _is_converted(header):
        return encoded
    pixels = _decode(encoded, source_format, header)
    return encode_png(np.ascontiguousarray(turn_pixels(pixels, header.orientation)))


def fits_extension(source_format: str, extension: str) -> bool:
    """Whether a file that is called so (`.JPG`) may hold a picture of that format."""
    return extension.lower() in EXTENSIONS[source_format]


def _require_size(encoded: bytes) -> None:
    if not encoded:
        raise PictureError(faults.EMPTY_FILE, "the file holds no bytes")
    if len(encoded) > MAX_FILE_BYTES:
        raise PictureError(
            faults.TOO_LARGE_PICTURE, f"the file is larger than {MAX_FILE_BYTES // 2**20} MiB"
        )


def _read_header(encoded: bytes) -> tuple[str, Header]:
    _require_size(encoded)
    source_format = find_format(encoded)
    try:
        return source_format, _READERS[source_format](encoded)
    except PictureError:
        raise
    except Exception as error:
        raise _translate(error, source_format) from error


def _decode(encoded: bytes, source_format: str, header: Header) -> np.ndarray:
    try:
        return _DECODERS[source_format](encoded, header)
    except PictureError:
        raise
    except Exception as error:
        raise _translate(error, source_format) from error


def _translate(error: Exception, source_format: str) -> PictureError:
    """Says of any error what it means for the picture; Pillow raises about ten kinds of them."""
    if isinstance(error, MemoryError):
        return PictureError(
            faults.TOO_LARGE_PICTURE, "this machine has not the memory to decode it"
        )
    reason = str(error) or type(error).__name__
    if isinstance(error, UnidentifiedImageError):  # Its text holds an address in memory.
        reason = "its header cannot be read"
    return damaged(f"the {source_format.upper()} is damaged or cut short: {reason}")


def _is_converted(header: Header) -> bool:
    return header.is_foreign or header.orientation != 1


def _describe(encoded: bytes, source_format: str, header: Header, is_grey: bool) -> PictureFacts:
    width, height = header.width, header.height
    if swaps_sides(header.orientation):
        width, height = height, width
    is_converted = _is_converted(header)
    return PictureFacts(
        source_format=source_format,
        image_format="png" if is_converted else source_format,
        is_converted=is_converted,
        width=width,
        height=height,
        bit_depth=header.bit_depth,
        is_grey=is_grey,
        size_bytes=len(encoded),
        sha256=hashlib.sha256(encoded).hexdigest(),
        orientation=header.orientation,
        remarks=_remark(header),
    )


def _remark(header: Header) -> tuple[tuple[Fault, str], ...]:
    remarks = []
    if header.is_cmyk:
        remarks.append((faults.CMYK_PICTURE, "its colours are those of printing inks (CMYK)"))
    if header.orientation != 1:
        reason = f"its orientation tag is {header.orientation}; it was turned upright"
        remarks.append((faults.TURNED_PICTURE, reason))
    return tuple(remarks)
