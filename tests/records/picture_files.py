"""Makes picture files byte by byte, of kinds that Pillow does not write."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from records.pictures import encode_stored

WIDTH, HEIGHT = 31, 23
GREY = np.clip(np.add.outer(np.arange(HEIGHT) * 5, np.arange(WIDTH) * 4), 0, 255).astype(np.uint8)
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1)
DEEP = (np.arange(HEIGHT * WIDTH) * 91 % 65536).astype(np.uint16).reshape(HEIGHT, WIDTH)
NOISE = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
GREY_PICTURE, COLOUR_PICTURE = Image.fromarray(GREY), Image.fromarray(COLOUR)
NOISE_PICTURE = Image.fromarray(NOISE)
ORIENTATION = 0x0112


def encode(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """By Pillow. `orientation` adds EXIF metadata that say so."""
    if "orientation" in options:
        options["exif"] = make_exif(options.pop("orientation"))
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def make_exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def encode_png(header: tuple[int, ...], data: bytes) -> bytes:
    """A PNG of given IHDR values and filtered rows (PNG specification, 5.3 and 11.2.1)."""
    header_bytes = struct.pack(">IIBBBBB", *header)
    return join_png([(b"IHDR", header_bytes), (b"IDAT", zlib.compress(data)), (b"IEND", b"")])


def join_png(chunks: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A PNG of given chunks, with right checksums."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def split_png(encoded: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks of a whole PNG."""
    chunks, start = [], 8
    while start < len(encoded):
        length, kind = struct.unpack_from(">I4s", encoded, start)
        chunks.append((kind, encoded[start + 8 : start + 8 + length]))
        start += 12 + length
    return chunks


def encode_interlaced_png() -> bytes:
    """An 8 x 8 grey PNG in Adam7 order, which Pillow does not write (PNG specification, 8.2)."""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
    passes.append((0, 1, 1, 2))
    lines = [
        b"\0" + GREY[row, x:8:dx].tobytes() for x, y, dx, dy in passes for row in range(y, 8, dy)
    ]
    return encode_png((8, 8, 8, 0, 0, 0, 1), b"".join(lines))


def encode_bmp(
    bits: int,
    pixels: bytes,
    *,
    height: int = 8,
    table: bytes = b"",
    compression: int = 0,
    masks: tuple[int, ...] = (),
) -> bytes:
    """A BMP 8 pixels wide, as Microsoft's BITMAPINFOHEADER lays it out."""
    values = (40, 8, height, 1, bits, compression, len(pixels), 0, 0, len(table) // 4, 0)
    header = struct.pack("<IiiHHIIiiII", *values) + struct.pack(f"<{len(masks)}I", *masks) + table
    start = 14 + len(header)
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + header + pixels


def decode_stored(encoded: bytes) -> np.ndarray:
    """As TensorFlow decodes it, with the depth that the PNG has."""
    import tensorflow as tf

    stored = encode_stored(encoded)
    is_deep = stored[24] == 16
    pixels = tf.io.decode_png(stored, dtype=tf.uint16 if is_deep else tf.uint8).numpy()
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels
