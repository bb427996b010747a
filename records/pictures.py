"""Looks at a picture's bytes before TensorFlow does.

What is accepted here, `tf.io.decode_image` of TensorFlow 2.21 decodes to the same pixels (a JPEG
within a few units, since decoders round differently). Its gaps, as tried: a BMP with a colour table
comes out as table indices, without an error; BMPs of 1, 4 or 16 bit, run-length compressed, with an
OS/2 header or with bytes behind the last row are refused; a CMYK JPEG cannot be decoded to one
channel. It decodes progressive JPEGs, interlaced and 1-bit PNGs and those with a palette or
transparency, which it leaves out like Pillow.

A JPEG whose picture data ends too early decodes with neither to an error, even if its end marker is
there: the rest stays grey. Here it is decoded again with more data behind it, which changes nothing
where nothing is missing. Not found are damage inside the data that still decodes to enough blocks
(a stretch of zeros, say), and a progressive JPEG cut exactly between two scans, which is whole but
coarser.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from PIL import Image, ImageChops, UnidentifiedImageError

from records import faults
from records.encodings import PictureError as PictureError
from records.encodings import find_format, lengthen_scans, require_decodable

MAX_PIXELS = 2**28 // 3
"""89 million, a 256 MiB colour picture; a file that claims more is not decoded."""
MAX_FILE_BYTES = 2**28
"""An uncompressed colour picture of `MAX_PIXELS`."""
GREY_TOLERANCE = 2
"""How far the channels of a grey picture may lie apart, of 255: colour conversion of a JPEG rounds
twice, each time by up to one unit."""

_GREY_MODES = ("1", "L", "LA", "I;16", "I;16B", "I")
# What Pillow warns of is either refused with a finding here or of no effect on the pixels.
for _category in (UserWarning, RuntimeWarning):
    warnings.filterwarnings("ignore", category=_category, module="PIL")


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """What a picture's bytes are.

    Attributes:
        image_format: `jpeg`, `png` or `bmp`.
        width: In pixels, as TensorFlow decodes it: an EXIF orientation is not applied.
        height: In pixels, likewise.
        is_grey: Whether no two channels of any pixel lie more than `GREY_TOLERANCE` apart.
        sha256: Of the bytes, in hexadecimal.
    """

    image_format: str
    width: int
    height: int
    is_grey: bool
    sha256: str


def probe(path: Path) -> PictureFacts:
    """Reads a picture and decodes it whole. The file's name is not looked at.

    Holds the file and its decoded pixels, those of a JPEG up to three times: at most about 1.6 GiB,
    until it returns.

    Raises:
        PictureError: The file is empty, cannot be read, is damaged or cut short, is too large, or
            is a picture of a kind that TensorFlow does not decode.
    """
    try:
        with path.open("rb") as file:
            encoded = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise PictureError(
            faults.UNREADABLE_PICTURE, f"the file cannot be read: {error.strerror}"
        ) from error
    return probe_bytes(encoded)


def probe_bytes(encoded: bytes) -> PictureFacts:
    """As `probe`, for bytes already read.

    Raises:
        PictureError: As `probe`.
    """
    if not encoded:
        raise PictureError(faults.EMPTY_FILE, "the file holds no bytes")
    if len(encoded) > MAX_FILE_BYTES:
        raise PictureError(
            faults.TOO_LARGE_PICTURE, f"the file is larger than {MAX_FILE_BYTES // 2**20} MiB"
        )
    image_format = find_format(encoded)
    try:
        with _open(encoded, image_format) as picture:
            width, height = picture.size
            is_grey = _decode_is_grey(picture)
            if image_format == "jpeg":
                _require_whole_scans(encoded, picture)
    except PictureError:
        raise
    except Image.DecompressionBombError as error:
        raise PictureError(faults.TOO_LARGE_PICTURE, str(error)) from error
    except Exception as error:  # Pillow raises about ten kinds on damaged bytes.
        raise PictureError(
            faults.UNREADABLE_PICTURE,
            f"the {image_format.upper()} is damaged or cut short: {_explain(error)}",
        ) from error
    return PictureFacts(image_format, width, height, is_grey, hashlib.sha256(encoded).hexdigest())


def _explain(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):  # Its text holds an address in memory.
        return "its header cannot be read"
    return str(error) or type(error).__name__


def _open(encoded: bytes, image_format: str) -> Image.Image:
    """Opens without decoding, and refuses what must not or need not be decoded."""
    require_decodable(encoded, image_format)
    picture = Image.open(io.BytesIO(encoded), formats=(image_format.upper(),))
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise PictureError(
            faults.TOO_LARGE_PICTURE,
            f"it says that it is {width} x {height} pixels; up to {MAX_PIXELS} pixels are decoded",
        )
    if picture.mode == "CMYK":
        raise PictureError(
            faults.UNSUPPORTED_PICTURE, "its colours are CMYK, which cannot be decoded to grey"
        )
    return picture


def _require_whole_scans(encoded: bytes, picture: Image.Image) -> None:
    """Refuses a JPEG that decodes to something else when its scans are made longer."""
    for longer in lengthen_scans(encoded):
        with Image.open(io.BytesIO(longer), formats=("JPEG",)) as again:
            if ImageChops.difference(picture, again).getbbox():
                raise PictureError(
                    faults.UNREADABLE_PICTURE, "the JPEG is cut short: picture data is missing"
                )


def _decode_is_grey(picture: Image.Image) -> bool:
    picture.load()
    if picture.mode in _GREY_MODES:
        return True
    colour = picture if picture.mode in ("RGB", "RGBA") else picture.convert("RGB")
    channels = [colour.getchannel(index) for index in range(3)]
    return all(
        _find_maximum(ImageChops.difference(first, second)) <= GREY_TOLERANCE
        for first, second in itertools.combinations(channels, 2)
    )


def _find_maximum(channel: Image.Image) -> int:
    return cast(tuple[int, int], channel.getextrema())[1]
