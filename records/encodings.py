"""What a picture's bytes say before they are decoded: its format, and whether all of it is there.

Pillow is lenient where TensorFlow is not (a PNG's checksums, a JPEG's end, a BMP's length), so
these are looked at here.
"""

from __future__ import annotations

import itertools
import re
import struct
import zlib
from collections.abc import Iterator

from records import faults
from records.faults import Fault

_SIGNATURES = {b"\xff\xd8\xff": "jpeg", b"\x89PNG\r\n\x1a\n": "png", b"BM": "bmp"}
_OTHER_SIGNATURES = (
    (0, b"II*\x00", "TIFF"),
    (0, b"MM\x00*", "TIFF"),
    (0, b"II+\x00", "BigTIFF"),
    (0, b"MM\x00+", "BigTIFF"),
    (0, b"GIF8", "GIF"),
    (8, b"WEBP", "WebP"),
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
_JPEG_MARKER = re.compile(rb"\xff+[\x01-\xcf\xd8-\xfe]")  # neither a stuffed 0 nor a restart
_JPEG_END, _JPEG_SCAN = 0xD9, 0xDA
_JPEG_SEGMENTS = frozenset((0xC0, 0xC1, 0xC2, 0xC4, *range(0xDA, 0xDE), *range(0xE0, 0xF0), 0xFE))
_JPEG_OTHER_FRAMES = frozenset(range(0xC3, 0xD0)) - _JPEG_SEGMENTS
_JPEG_FILLERS = tuple(
    bits + b"".join(b"\xff%c" % (0xD0 + (first + index) % 8) + bits for index in range(8))
    for bits, first in ((bytes.fromhex("aa5533cc0f9669a5") * 4, 0), (b"\x55" * 32, 4))
)
_JPEG_PROGRESSIVE, _JPEG_RESTARTS = 0xC2, 0xDD
_BMP_MASKS = (0xFF0000, 0xFF00, 0xFF)
_BI_RGB, _BI_BITFIELDS = 0, 3


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


def find_format(encoded: bytes) -> str:
    """Tells by the first bytes whether a picture is a `jpeg`, a `png` or a `bmp`.

    Raises:
        PictureError: It is none of them; the reason names what it is, if known.
    """
    for signature, image_format in _SIGNATURES.items():
        if encoded.startswith(signature):
            return image_format
    for offset, signature, name in _OTHER_SIGNATURES:
        if encoded.startswith(signature, offset):
            raise PictureError(
                faults.UNSUPPORTED_PICTURE, f"it is a {name} file; JPEG, PNG and BMP are read"
            )
    raise PictureError(
        faults.UNREADABLE_PICTURE, "it does not begin like a JPEG, PNG or BMP picture"
    )


def require_decodable(encoded: bytes, image_format: str) -> None:
    """Refuses what is cut short, and what TensorFlow decodes wrongly or not at all.

    Raises:
        PictureError: With the reason.
    """
    try:
        _CHECKS[image_format](encoded)
    except struct.error as error:
        raise PictureError(
            faults.UNREADABLE_PICTURE, f"the {image_format.upper()} is cut short in its header"
        ) from error


def lengthen_scans(encoded: bytes) -> Iterator[bytes]:
    """Makes copies of a JPEG that have a filler behind the picture data of each scan.

    A decoder that has all blocks of a scan passes over what is left (libjpeg skips to the next
    marker), so that the copies of a whole JPEG decode to the same pixels as it. Where blocks are
    missing, it reads them from the filler instead of leaving them grey.

    One copy tells for nearly every scan. Two are made of progressive JPEGs, where one code can say
    that all other blocks are empty, and of those with restart intervals: the filler has restart
    markers in case the last one there is whole, and libjpeg takes a marker one or two ahead of the
    one it waits for as a sign of loss, hence two orders.

    Args:
        encoded: A JPEG that `require_decodable` lets pass.
    """
    walked = list(_walk_jpeg(encoded))
    ends = [end for (marker, _), (_, end) in itertools.pairwise(walked) if marker == _JPEG_SCAN]
    bounds = itertools.pairwise((0, *ends, len(encoded)))
    parts = [encoded[start:end] for start, end in bounds]
    needs_two = any(marker in (_JPEG_PROGRESSIVE, _JPEG_RESTARTS) for marker, _ in walked)
    for filler in _JPEG_FILLERS[: 1 + needs_two]:
        yield filler.join(parts)


def _require_whole_png(encoded: bytes) -> None:
    """Walks over all chunks: Pillow decodes a PNG without its end and past wrong checksums.

    Source: PNG specification, third edition, 5.3.
    """
    start = 8
    while start + 12 <= len(encoded):
        length, kind = struct.unpack_from(">I4s", encoded, start)
        end = start + 12 + length
        if end > len(encoded):
            break
        (checksum,) = struct.unpack_from(">I", encoded, end - 4)
        if zlib.crc32(memoryview(encoded)[start + 4 : end - 4]) != checksum:
            raise PictureError(faults.UNREADABLE_PICTURE, "the PNG is damaged: a checksum is wrong")
        if kind == b"IEND":
            return
        start = end
    raise PictureError(faults.UNREADABLE_PICTURE, "the PNG is cut short: its end is missing")


def _require_whole_jpeg(encoded: bytes) -> None:
    """Walks over all markers up to the end, as TensorFlow does; Pillow stops at the last row."""
    for _ in _walk_jpeg(encoded):
        pass


def _walk_jpeg(encoded: bytes) -> Iterator[tuple[int, int]]:
    """Yields each marker up to the end, and where it starts, its fill bytes included.

    Source: ITU-T T.81, B.1.1 and table B.1. Bytes between segments are passed over, because
    libjpeg passes over them too.
    """
    start = 2
    while found := _JPEG_MARKER.search(encoded, start):
        marker, start = found.group()[-1], found.end()
        yield marker, found.start()
        if marker == _JPEG_END:
            return
        if marker in _JPEG_OTHER_FRAMES:
            raise PictureError(
                faults.UNSUPPORTED_PICTURE,
                "it is a lossless, hierarchical or arithmetic-coded JPEG",
            )
        if marker not in _JPEG_SEGMENTS or start + 2 > len(encoded):
            break
        start += int.from_bytes(encoded[start : start + 2], "big")
    raise PictureError(
        faults.UNREADABLE_PICTURE, "the JPEG is damaged or cut short: its end is not reached"
    )


def _require_plain_bmp(encoded: bytes) -> None:
    """Refuses BMPs that TensorFlow does not decode, or decodes to something else.

    Source: Microsoft, "Bitmap Storage" and `BITMAPINFOHEADER`.
    """
    pixels_at, header_bytes, width, height, _, bits, compression = struct.unpack_from(
        "<IIiiHHI", encoded, 10
    )
    if header_bytes < 40:
        raise _refuse_bmp("with an OS/2 header")
    if bits not in (8, 24, 32):
        raise _refuse_bmp(f"of {bits} bit")
    if bits == 8 and not _has_grey_table(encoded, 14 + header_bytes):
        raise _refuse_bmp("with a colour table")
    if compression == _BI_BITFIELDS and bits == 32:
        if struct.unpack_from("<III", encoded, 54) != _BMP_MASKS:
            raise _refuse_bmp("with channels in an unusual order")
    elif compression != _BI_RGB:
        raise _refuse_bmp("with compressed pixels")
    size = pixels_at + (bits * width + 31) // 32 * 4 * abs(height)
    if len(encoded) > size:
        raise _refuse_bmp("with bytes behind its last row")
    if len(encoded) < size:
        raise PictureError(faults.UNREADABLE_PICTURE, "the BMP is cut short: rows are missing")


def _has_grey_table(encoded: bytes, table_at: int) -> bool:
    """Whether every value is its own shade of grey, so that the table may be left out."""
    (count,) = struct.unpack_from("<I", encoded, 46)
    count = count or 256
    table = encoded[table_at : table_at + 4 * min(count, 256)]
    return all(table[4 * value : 4 * value + 3] == bytes([value] * 3) for value in range(count))


def _refuse_bmp(what: str) -> PictureError:
    return PictureError(
        faults.UNSUPPORTED_PICTURE, f"it is a BMP {what}, which TensorFlow does not decode rightly"
    )


_CHECKS = {"jpeg": _require_whole_jpeg, "png": _require_whole_png, "bmp": _require_plain_bmp}
