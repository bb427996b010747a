"""JPEG: what its segments say, and whether all of its picture data is there.

A JPEG whose picture data ends too early decodes without an error, even if its end marker is there:
the rest stays grey. libjpeg warns of it. A decoding without any warning is proof that nothing is
missing. After a warning that is of no consequence itself, the picture is decoded again with more
data behind it, which changes nothing where nothing is missing. A scan that is missing altogether is
found by counting which coefficients the others bring.

Not found is damage inside the data that still decodes to enough blocks (a stretch of zeros, say).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import simplejpeg

from records import faults
from records.encodings import (
    Header,
    PictureError,
    damaged,
    limit_pieces,
    unpack,
    unsupported,
)
from records.orientation import read_orientation
from records.pixels import decode_by_pillow

SCANS_AT_MOST = 500
"""Encoders write about ten. Every scan goes over the whole picture, however few bytes it has."""

# Neither a stuffed 0 nor a restart. Without the fill bytes before it: looked for by one expression,
# a long run of them would take time with the square of its length.
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_END, _SCAN, _EXIF = 0xD9, 0xDA, 0xE1
_FRAMES, _PROGRESSIVE = (0xC0, 0xC1, 0xC2), 0xC2
_SEGMENTS = frozenset((*_FRAMES, 0xC4, *range(0xDA, 0xDE), *range(0xE0, 0xF0), 0xFE))
_OTHER_FRAMES = frozenset(range(0xC3, 0xD0)) - _SEGMENTS
_COEFFICIENTS = 64
# Every block of 8 x 8 pixels has a code for its mean, and a code has a bit at least.
_PIXELS_A_BYTE = 8 * 64
_FILLERS = tuple(
    bits + b"".join(b"\xff%c" % (0xD0 + (first + index) % 8) + bits for index in range(8))
    for bits, first in ((bytes.fromhex("aa5533cc0f9669a5") * 4, 0), (b"\x55" * 32, 4))
)
_COLOUR_SPACES = {1: "GRAY", 3: "RGB", 4: "CMYK"}
# Parts of what libjpeg says (jerror.h) that do not make a picture useless. It tells of the first
# warning alone, so that these may hide that picture data is missing.
_HARMLESS = (
    "extraneous bytes",
    "JFIF revision",
    "Adobe color transform",
    "bad ICC marker",
    "Invalid SOS parameters",
    "Inconsistent progression",
    "subsampling level",
)


@dataclass(frozen=True, slots=True)
class JpegHeader(Header):
    """As `Header`.

    Attributes:
        components: The identifier of each of its components.
        is_progressive: Whether a scan may bring some coefficients only, or some of their bits.
        is_one_scan: Whether the first scan is to bring everything.
    """

    components: bytes = b""
    is_progressive: bool = False
    is_one_scan: bool = True


def read_header(encoded: bytes) -> JpegHeader:
    """Reads the segments before the picture data, and looks for an end marker.

    Source: ITU-T T.81, B.2; JEITA CP-3451 (Exif), 4.7.2.

    Raises:
        PictureError: They are damaged, too many, or there is none; the kind is one TensorFlow does
            not decode (lossless, hierarchical, arithmetic-coded, of 12 bit, of two components).
    """
    kind, frame, orientation = 0, 0, 0
    for marker, _, start, end in _walk(encoded):
        if marker in _FRAMES:
            kind, frame = marker, start
        elif marker == _EXIF and not orientation and encoded.startswith(b"Exif\0\0", start):
            orientation = read_orientation(encoded[start:end])
        elif marker in (_SCAN, _END):
            break
    if marker == _END or not frame or encoded.rfind(b"\xff\xd9", start) < 0:
        raise damaged("the JPEG is damaged or cut short: it has no picture data or no end")
    depth, height, width, count = unpack(">BHHB", encoded, frame)
    if depth != 8 or count not in _COLOUR_SPACES:
        raise unsupported(f"it is a JPEG with {count} components of {depth} bit")
    header = JpegHeader(
        width=width,
        height=height,
        is_grey=count == 1,
        orientation=orientation or 1,
        is_foreign=count == 4,
        is_cmyk=count == 4,
        components=encoded[frame + 6 : frame + 6 + 3 * count : 3],
        is_progressive=kind == _PROGRESSIVE,
        is_one_scan=kind != _PROGRESSIVE and encoded[start] == count,
    )
    if width * height > _PIXELS_A_BYTE * len(encoded):
        raise damaged("the JPEG is damaged or cut short: it has too few bytes for its pixels")
    return header


def decode(encoded: bytes, header: JpegHeader) -> np.ndarray:
    """Decodes a JPEG of which everything is there.

    Args:
        encoded: The file.
        header: As read from it.

    Returns:
        uint8 `[height, width]` or `[height, width, 3]`, not turned. Inks are turned into RGB by
        taking each from white.

    Raises:
        PictureError: Picture data or the end is missing.
        Exception: Whatever Pillow raises on damaged bytes.
    """
    if not header.is_one_scan:
        _require_all_scans(encoded, header)
    pixels = _decode_strictly(encoded, header)
    if pixels is None:
        _require_whole_scans(encoded, header)
    if pixels is None or header.is_cmyk:
        return decode_by_pillow(encoded, "jpeg", header)
    return pixels[..., 0] if header.is_grey else pixels


def _decode_strictly(encoded: bytes, header: JpegHeader) -> np.ndarray | None:
    """Decodes to `[height, width, channels]`; None where libjpeg finds fault with other things."""
    colour_space = _COLOUR_SPACES[len(header.components)]
    try:
        return simplejpeg.decode_jpeg(encoded, colour_space, strict=True)
    except ValueError as error:
        if any(text in str(error) for text in _HARMLESS):
            return None
        raise damaged(f"the JPEG is damaged or cut short: {error}") from error


def _require_whole_scans(encoded: bytes, header: JpegHeader) -> None:
    """Refuses a JPEG that decodes to something else when its scans are made longer."""
    pixels = decode_by_pillow(encoded, "jpeg", header)
    for longer in _lengthen_scans(encoded):
        if not np.array_equal(pixels, decode_by_pillow(longer, "jpeg", header)):
            raise damaged("the JPEG is damaged or cut short: picture data is missing")


def _require_all_scans(encoded: bytes, header: JpegHeader) -> None:
    """Counts which coefficients of which component the scans bring to the last bit.

    Source: ITU-T T.81, B.2.3 and G.1.1.1.
    """
    missing = {component: set(range(_COEFFICIENTS)) for component in header.components}
    scans = [start for marker, _, start, _ in _walk(encoded) if marker == _SCAN]
    if len(scans) > SCANS_AT_MOST:
        reason = f"it has {len(scans)} scans; up to {SCANS_AT_MOST} are decoded"
        raise PictureError(faults.TOO_LARGE_PICTURE, reason)
    for start in scans:
        behind = start + 1 + 2 * encoded[start]
        first, last, bits = (0, 63, 0)
        if header.is_progressive:
            first, last, bits = unpack("3B", encoded, behind)
        for component in set(encoded[start + 1 : behind : 2]) & missing.keys():
            band = range(first, last + 1)
            if bits & 15:  # How many low bits a later scan is to bring.
                missing[component].update(band)
            else:
                missing[component].difference_update(band)
    if any(missing.values()):
        raise damaged("the JPEG is damaged or cut short: a scan is missing")


def _walk(encoded: bytes) -> Iterator[tuple[int, int, int, int]]:
    """As `_walk_on`, but not for ever."""
    return limit_pieces(_walk_on(encoded))


def _walk_on(encoded: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yields each marker up to the end, where it starts, and where what it says starts and ends.

    Fill bytes belong to their marker. Source: ITU-T T.81, B.1.1 and table B.1. Bytes between
    segments are passed over, because libjpeg passes over them too.
    """
    end = 2
    while found := _MARKER.search(encoded, end):
        between = encoded[end : found.start()]
        at = end + len(between.rstrip(b"\xff"))
        marker, end = found.group()[-1], found.end()
        if marker in _OTHER_FRAMES:
            raise unsupported("it is a lossless, hierarchical or arithmetic-coded JPEG")
        start = end + 2
        if marker == _END:
            yield marker, at, end, end
            return
        if marker not in _SEGMENTS or start >= len(encoded):
            break
        end += int.from_bytes(encoded[end:start], "big")
        yield marker, at, start, end
    raise damaged("the JPEG is damaged or cut short: its end is not reached")


def _lengthen_scans(encoded: bytes) -> Iterator[bytes]:
    """Makes copies of a JPEG that have a filler behind the picture data of each scan.

    A decoder that has all blocks of a scan passes over what is left (libjpeg skips to the next
    marker), so that the copies of a whole JPEG decode to the same pixels as it. Where blocks are
    missing, it reads them from the filler instead of leaving them grey.

    One copy tells for nearly every scan. Two are made because in progressive JPEGs one code can say
    that all other blocks are empty, and because of restart intervals: the filler has restart
    markers in case the last one there is whole, and libjpeg takes a marker one or two ahead of the
    one it waits for as a sign of loss, hence two orders.
    """
    walked = [(marker, at) for marker, at, _, _ in _walk(encoded)]
    ends = [end for (marker, _), (_, end) in itertools.pairwise(walked) if marker == _SCAN]
    bounds = itertools.pairwise((0, *ends, len(encoded)))
    parts = [encoded[start:end] for start, end in bounds]
    for filler in _FILLERS:
        yield filler.join(parts)
