"""Makes TIFFs byte by byte, of kinds that Pillow does not write (TIFF 6.0)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tests.records.picture_files import GREY, HEIGHT, WIDTH

BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, ROWS, PLANES = 258, 259, 262, 277, 278, 284
TILE_WIDTH, TILE_HEIGHT, EXTRA, FORMAT = 322, 323, 338, 339
ORIENTATION = 274
SIZE = {256: WIDTH, 257: HEIGHT}


Tags = Mapping[int, int | tuple[int, ...]]


def encode_tiff(*pages: tuple[Sequence[bytes], Tags], order: str = "<") -> bytes:
    """A TIFF (TIFF 6.0, section 2).

    Args:
        *pages: The strips (or tiles, where the tags say how large they are), and the other tags.
        order: `<` for little-endian numbers, `>` for big-endian ones.
    """
    encoded = bytearray((b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 0))
    link = 4
    for parts, tags in pages:
        offsets = []
        for part in parts:
            offsets.append(len(encoded))
            encoded += part
        places = (324, 325) if 322 in tags else (273, 279)
        sizes = tuple(map(len, parts))
        every = {places[0]: tuple(offsets), places[1]: sizes, **tags}
        directory = _encode_directory(encoded, every, order)
        struct.pack_into(f"{order}I", encoded, link, len(encoded))
        encoded += directory
        link = len(encoded) - 4
    return bytes(encoded)


def _encode_directory(encoded: bytearray, tags: Tags, order: str) -> bytes:
    directory = struct.pack(f"{order}H", len(tags))
    for tag in sorted(tags):
        value = tags[tag]
        values = value if isinstance(value, tuple) else (value,)
        kind, layout = (3, "H") if max(values) < 2**16 else (4, "I")
        data = struct.pack(f"{order}{len(values)}{layout}", *values)
        if len(data) > 4:
            place = struct.pack(f"{order}I", len(encoded))
            encoded += data
            data = place
        directory += struct.pack(f"{order}HHI", tag, kind, len(values)) + data.ljust(4, b"\0")
    return directory + b"\0" * 4


def pack_bits(data: bytes) -> bytes:
    """PackBits without any run (TIFF 6.0, section 9)."""
    chunks = [data[start : start + 128] for start in range(0, len(data), 128)]
    return b"".join(bytes([len(chunk) - 1]) + chunk for chunk in chunks)


def lzw(data: bytes) -> bytes:
    """LZW that starts its table anew before codes grow beyond 9 bit (TIFF 6.0, section 13)."""
    codes = []
    for start in range(0, len(data), 200):
        codes += [256, *data[start : start + 200]]
    bits = "".join(f"{code:09b}" for code in [*codes, 257])
    length = -(-len(bits) // 8)
    return int(bits.ljust(8 * length, "0"), 2).to_bytes(length, "big")


PACKERS: dict[int, Callable[[bytes], bytes]] = {
    1: lambda data: data,
    5: lzw,
    8: zlib.compress,
    32946: zlib.compress,
    32773: pack_bits,
}


def grey_tiff(
    pixels: np.ndarray = GREY, *, compression: int = 1, order: str = "<", rows: int = HEIGHT,
    **more: Any,
) -> bytes:  # fmt: skip
    """Strips of so many rows of uint8 or uint16 pixels; `more` are tags, named `tag_262`."""
    values = pixels.astype(f"{order}u{pixels.dtype.itemsize}")
    strips = [values[start : start + rows].tobytes() for start in range(0, HEIGHT, rows)]
    tags = {
        **SIZE,
        BITS: 8 * pixels.dtype.itemsize,
        COMPRESSION: compression,
        PHOTOMETRIC: 1,
        ROWS: rows,
        **{int(name[4:]): value for name, value in more.items()},
    }
    return encode_tiff(([PACKERS[compression](strip) for strip in strips], tags), order=order)


def tile(pixels: np.ndarray, side: int = 16) -> list[bytes]:
    """Tiles of 16 x 16 pixels, as section 15 of TIFF 6.0 has it: filled up at the edges."""
    rows, columns = -HEIGHT % side, -WIDTH % side
    padded = np.pad(pixels, [(0, rows), (0, columns)], constant_values=77)
    return [
        padded[y : y + side, x : x + side].tobytes()
        for y in range(0, HEIGHT, side)
        for x in range(0, WIDTH, side)
    ]


def colour_tiff(planes: list[np.ndarray], *, separate: bool = False, **more: Any) -> bytes:
    tags: dict[int, Any]
    tags = {**SIZE, BITS: (8,) * len(planes), PHOTOMETRIC: 2, SAMPLES: len(planes), ROWS: HEIGHT}
    tags |= {int(name[4:]): value for name, value in more.items()}
    if separate:
        return encode_tiff(([plane.tobytes() for plane in planes], {**tags, PLANES: 2}))
    return encode_tiff(([np.stack(planes, axis=-1).tobytes()], tags))


def page(**more: Any) -> tuple[list[bytes], dict[int, Any]]:
    tags: dict[int, Any] = {**SIZE, BITS: 8, PHOTOMETRIC: 1, ROWS: HEIGHT}
    return [GREY.tobytes()], {**tags, **{int(name[4:]): value for name, value in more.items()}}
