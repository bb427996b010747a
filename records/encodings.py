"""What a picture's bytes say before they are decoded: which format it is, and how large."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from records import faults
from records.faults import Fault

EXTENSIONS: dict[str, tuple[str, ...]] = {
    "jpeg": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "png": (".png",),
    "bmp": (".bmp", ".dib"),
    "tiff": (".tif", ".tiff"),
    "webp": (".webp",),
}
"""What files of each format that is read are called, in lower case."""
READ_FORMATS = "JPEG, PNG, BMP, TIFF and WebP"
MAX_SIDE = 1_000_000
"""What libpng reads by default; TensorFlow leaves it at that."""
MAX_PIXELS = 2**28 // 3
"""89 million, a 256 MiB colour picture; a file that claims more is not decoded."""
PIECES_AT_MOST = 2**17
"""Chunks or segments of a file; encoders make one of 8 KiB or more."""

_Piece = TypeVar("_Piece")
_SIGNATURES = (
    (0, b"\xff\xd8\xff", "jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"BM", "bmp"),
    (0, b"II*\x00", "tiff"),
    (0, b"MM\x00*", "tiff"),
    (8, b"WEBP", "webp"),
)
_OTHER_SIGNATURES = (
    (0, b"II+\x00", "BigTIFF"),
    (0, b"MM\x00+", "BigTIFF"),
    (0, b"GIF8", "GIF"),
    (0, b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftyphei", "HEIF"),
    (4, b"ftypmif1", "HEIF"),
    (0, b"8BPS", "Photoshop"),
    (128, b"DICM", "DICOM"),
    (0, b"%PDF", "PDF"),
    (0, b"SIMPLE  =", "FITS"),
)


class PictureError(ValueError):
    """A picture cannot be used.

    Attributes:
        fault: Which kind of fault it has, with the remedy.
        reason: What is wrong with this one.
    """

    def __init__(self, fault: Fault, reason: str) -> None:
        super().__init__(reason)
        self.fault = fault
        self.reason = reason

    def __reduce__(self) -> tuple[type[PictureError], tuple[Fault, str]]:
        # An exception is rebuilt from its text alone, when another process sends it.
        return PictureError, (self.fault, self.reason)


@dataclass(frozen=True, slots=True)
class Header:
    """What a picture's file says of itself. Sizes are those of the rows as they lie in the file.

    Attributes:
        width: In pixels, before the orientation is applied.
        height: In pixels, likewise.
        is_grey: Whether the header alone says that there is no colour.
        orientation: EXIF's, 1 to 8: how the rows have to be turned; 1 is not at all.
        is_foreign: Whether TensorFlow does not decode it to the right pixels.
        is_cmyk: Whether its colours are those of printing inks.
        bit_depth: Of a channel as it is decoded: 8, or 16 for everything deeper.

    Raises:
        PictureError: It has no pixels, or more than `MAX_PIXELS`.
    """

    width: int
    height: int
    is_grey: bool
    orientation: int = 1
    is_foreign: bool = False
    is_cmyk: bool = False
    bit_depth: int = 8

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise damaged(f"it says that it is {self.width} x {self.height} pixels")
        if max(self.width, self.height) > MAX_SIDE:
            raise PictureError(
                faults.TOO_LARGE_PICTURE,
                f"it says that it is {self.width} x {self.height} pixels; TensorFlow decodes up to "
                f"{MAX_SIDE} pixels a side",
            )
        if self.width * self.height > MAX_PIXELS:
            raise PictureError(
                faults.TOO_LARGE_PICTURE,
                f"it says that it is {self.width} x {self.height} pixels; up to {MAX_PIXELS} "
                "pixels are decoded",
            )


def find_format(encoded: bytes) -> str:
    """Tells by the first bytes which of the formats in `EXTENSIONS` a picture has.

    Raises:
        PictureError: It has none of them; the reason names what it is, if known.
    """
    for offset, signature, source_format in _SIGNATURES:
        if encoded.startswith(signature, offset):
            return source_format
    for offset, signature, name in _OTHER_SIGNATURES:
        if encoded.startswith(signature, offset):
            raise PictureError(
                faults.UNSUPPORTED_PICTURE, f"it is a {name} file; {READ_FORMATS} are read"
            )
    raise PictureError(
        faults.UNREADABLE_PICTURE, f"it does not begin like a picture; {READ_FORMATS} are read"
    )


def limit_pieces(pieces: Iterable[_Piece]) -> Iterator[_Piece]:
    """Yields the pieces of a file, which takes memory and time for each, however short it is.

    Raises:
        PictureError: There are more than `PIECES_AT_MOST`.
    """
    for number, piece in enumerate(pieces):
        if number == PIECES_AT_MOST:
            reason = f"it is in more than {PIECES_AT_MOST} pieces"
            raise PictureError(faults.TOO_LARGE_PICTURE, reason)
        yield piece


def damaged(reason: str) -> PictureError:
    """The error of a picture whose bytes are not what they were."""
    return PictureError(faults.UNREADABLE_PICTURE, reason)


def unsupported(reason: str) -> PictureError:
    """The error of a picture that may be whole, but of a kind that is not read."""
    return PictureError(faults.UNSUPPORTED_PICTURE, reason)


def unpack(layout: str, encoded: bytes, start: int) -> tuple[int, ...]:
    """As `struct.unpack_from`, for integers.

    Raises:
        PictureError: The bytes end before.
    """
    try:
        return struct.unpack_from(layout, encoded, start)
    except struct.error as error:
        raise damaged("it is cut short in its header") from error
