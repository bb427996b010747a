"""PNG: its chunks.

Pillow decodes a PNG without its end or its last rows, past wrong checksums and past much that has
no meaning; TensorFlow does not. So all that is looked at here.

Source: PNG specification, third edition, 5.3, 5.6, 8.1 and 11.2.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from records.encodings import Header, damaged, limit_pieces, unpack, unsupported
from records.orientation import read_orientation
from records.pixels import decode_by_pillow

_GREY, _COLOUR, _TABLE, _GREY_ALPHA, _COLOUR_ALPHA = 0, 2, 3, 4, 6
_CHANNELS = {_GREY: 1, _COLOUR: 3, _TABLE: 1, _GREY_ALPHA: 2, _COLOUR_ALPHA: 4}
_DEPTHS = {_GREY: (1, 2, 4, 8, 16), _TABLE: (1, 2, 4, 8)}
_OTHER_DEPTHS = (8, 16)
_HEADER_BYTES = 13
# First column and row, and the steps to the next ones, of each pass of an interlaced picture.
_PASSES = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
_FED_BYTES = 2**14  # Decompressed together: become 16 MiB at most.
_EXCESS_BYTES = 2**20  # Decoders pass over what is too much.
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")

_Chunk = tuple[bytes, int, int]


@dataclass(frozen=True, slots=True)
class PngHeader(Header):
    """As `Header`.

    Attributes:
        data: Where each piece of the pixels' data starts and ends.
        data_bytes: How many bytes they are when decompressed.
    """

    data: tuple[tuple[int, int], ...] = ()
    data_bytes: int = 0


def read_header(encoded: bytes) -> PngHeader:
    """Walks over all chunks up to the end, without their checksums.

    Raises:
        PictureError: One that is needed is missing, out of place or without meaning; there are too
            many; the picture is to be turned, and would lose depth by that.
    """
    chunks = list(limit_pieces(_walk(encoded)))
    kinds = [kind for kind, _, _ in chunks]
    _, start, end = chunks[0]
    if kinds.count(b"IHDR") != 1 or kinds[0] != b"IHDR" or end - start != _HEADER_BYTES:
        raise damaged("the PNG is damaged: it does not begin with one header")
    width, height, depth, kind, compression, filtering, interlaced = unpack(
        ">IIBBBBB", encoded, start
    )
    is_known = kind in _CHANNELS and depth in _DEPTHS.get(kind, _OTHER_DEPTHS)
    if not is_known or compression or filtering or interlaced > 1:
        raise damaged("the PNG is damaged: its header has no meaning")
    exif = next((encoded[start:end] for kind, start, end in chunks if kind == b"eXIf"), b"")
    orientation = read_orientation(exif) if exif else 1
    if orientation != 1 and depth == 16 and kind != _GREY:
        raise unsupported("it is a PNG of 16 bit with colour or transparency, stored lying")
    if kind == _TABLE:
        _require_table(chunks)
    return PngHeader(
        width=width,
        height=height,
        is_grey=kind in (_GREY, _GREY_ALPHA),
        orientation=orientation,
        bit_depth=max(depth, 8),
        data=_find_data(chunks),
        data_bytes=_count_bytes(width, height, depth * _CHANNELS[kind], bool(interlaced)),
    )


def decode(encoded: bytes, header: PngHeader) -> np.ndarray:
    """Decodes a PNG of which everything is there; 16 bit a channel of colour are cut to 8.

    Returns:
        One of the forms of `records.pixels`, not turned.

    Raises:
        PictureError: A checksum is wrong; pixels are missing.
        Exception: Whatever Pillow or zlib raise on damaged bytes.
    """
    view = memoryview(encoded)
    for _, start, end in _walk(encoded):
        if zlib.crc32(view[start - 4 : end]) != unpack(">I", encoded, end)[0]:
            raise damaged("the PNG is damaged: a checksum is wrong")
    _require_whole_data(view, header)
    return decode_by_pillow(encoded, "png", header)


def _walk(encoded: bytes) -> Iterator[_Chunk]:
    """Yields the kind of each chunk, and where its data starts and ends."""
    start = 16
    while start + 4 <= len(encoded):
        end = start + int.from_bytes(encoded[start - 8 : start - 4], "big")
        if end + 4 > len(encoded):
            break
        kind = encoded[start - 4 : start]
        if not kind.isalpha() or (kind[:1].isupper() and kind not in _CRITICAL):
            raise damaged("the PNG is damaged: it has a chunk of an unknown kind")
        yield kind, start, end
        if kind == b"IEND":
            return
        start = end + 12
    raise damaged("the PNG is cut short: its end is missing")


def _find_data(chunks: Sequence[_Chunk]) -> tuple[tuple[int, int], ...]:
    """The first chunks of pixels that follow one another; decoders leave out any others."""
    kinds = [kind for kind, _, _ in chunks]
    if b"IDAT" not in kinds:
        raise damaged("the PNG is damaged: it has no pixels")
    first = kinds.index(b"IDAT")
    last = next(index for index in range(first, len(kinds)) if kinds[index] != b"IDAT")
    if b"PLTE" in kinds[last:] or kinds.count(b"PLTE") > 1:
        raise damaged("the PNG is damaged: its colour table is out of place")
    return tuple((start, end) for _, start, end in chunks[first:last])


def _require_table(chunks: Sequence[_Chunk]) -> None:
    length = sum(end - start for kind, start, end in chunks if kind == b"PLTE")
    if length % 3 or not 0 < length <= 3 * 256:
        raise damaged("the PNG is damaged: its colour table has no meaning")


def _count_bytes(width: int, height: int, bits: int, interlaced: bool) -> int:
    total = 0
    for x, y, step_x, step_y in _PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - x) // step_x), -(-(height - y) // step_y)
        if columns > 0:
            total += max(rows, 0) * (1 + (columns * bits + 7) // 8)
    return total


def _require_whole_data(view: memoryview, header: PngHeader) -> None:
    inflater, missing = zlib.decompressobj(), header.data_bytes
    for start, end in header.data:
        for at in range(start, end, _FED_BYTES):
            missing -= len(inflater.decompress(view[at : min(at + _FED_BYTES, end)]))
            if missing < -_EXCESS_BYTES:
                raise damaged("the PNG is damaged: it holds more pixels than it says")
    if missing > 0 or not inflater.eof:
        raise damaged("the PNG is cut short: pixels are missing")
