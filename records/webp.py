"""WebP: its chunks. TensorFlow does not decode it, so that it is stored as PNG.

Source: RFC 9649, sections 2.3 to 2.7; RFC 6386, 9.1.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from records.encodings import Header, damaged, limit_pieces, unpack, unsupported
from records.orientation import read_orientation
from records.pixels import decode_by_pillow

_FIRST_CHUNK_AT = 12
_ANIMATED, _WITH_EXIF = 2, 8


def read_header(encoded: bytes) -> Header:
    """Walks over all chunks.

    Raises:
        PictureError: It is cut short, animated, or in too many chunks.
    """
    chunks = list(limit_pieces(_walk(encoded)))
    kind, start, _ = chunks[0]
    flags = 0
    if kind == b"VP8X":
        flags, *sides = unpack("<BxxxHBHB", encoded, start)
        width, height = sides[0] + (sides[1] << 16) + 1, sides[2] + (sides[3] << 16) + 1
        if flags & _ANIMATED or any(kind in (b"ANIM", b"ANMF") for kind, _, _ in chunks):
            raise unsupported("it is an animated WebP")
    elif kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in unpack("<HH", encoded, start + 6))
    elif kind == b"VP8L":
        (bits,) = unpack("<I", encoded, start + 1)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        raise damaged("the WebP is damaged: it does not begin with its picture")
    exif = next((encoded[start:end] for kind, start, end in chunks if kind == b"EXIF"), b"")
    orientation = read_orientation(exif) if flags & _WITH_EXIF else 1
    return Header(width, height, is_grey=False, orientation=orientation, is_foreign=True)


def decode(encoded: bytes, header: Header) -> np.ndarray:
    """Decodes a WebP, lossy or lossless; transparency is left out.

    Returns:
        uint8 `[height, width, 3]`, not turned.

    Raises:
        Exception: Whatever Pillow raises on damaged bytes.
    """
    return decode_by_pillow(encoded, "webp", header)


def _walk(encoded: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yields the kind of each chunk, and where its data starts and ends."""
    file_end = 8 + unpack("<I", encoded, 4)[0]
    start = _FIRST_CHUNK_AT + 8
    while True:
        kind, length = encoded[start - 8 : start - 4], unpack("<I", encoded, start - 4)[0]
        end = start + length
        if end > min(file_end, len(encoded)):
            raise damaged("the WebP is cut short: a chunk is missing")
        yield kind, start, end
        start = end + length % 2 + 8
        if start > file_end:
            return
