"""One small picture of every kind that is read."""

from __future__ import annotations

import struct

import numpy as np
from PIL import Image

from tests.records.picture_files import (
    COLOUR,
    COLOUR_PICTURE,
    DEEP,
    GREY,
    GREY_PICTURE,
    encode,
    encode_bmp,
    encode_interlaced_png,
)
from tests.records.tiff_files import PACKERS, colour_tiff, encode_tiff, grey_tiff, page

PALETTE_PICTURE = COLOUR_PICTURE.quantize(16)
BYTES = np.random.default_rng(0).integers(0, 256, 8 * 32, dtype=np.uint8).tobytes()
RAMP = b"".join(bytes([value, value, value, 0]) for value in range(256))
BGR_MASKS = (0xFF0000, 0xFF00, 0xFF)
TWO = RAMP[:4] + RAMP[-4:]

KEPT = {
    "jpeg grey": encode(GREY_PICTURE, "JPEG"),
    "jpeg colour": encode(COLOUR_PICTURE, "JPEG"),
    "jpeg progressive": encode(COLOUR_PICTURE, "JPEG", progressive=True),
    "jpeg with restarts": encode(COLOUR_PICTURE, "JPEG", restart_marker_blocks=1),
    "jpeg with a second picture": encode(
        COLOUR_PICTURE, "MPO", save_all=True, append_images=[COLOUR_PICTURE]
    ),
    "jpeg with bytes behind": encode(COLOUR_PICTURE, "JPEG") + b"camera data \xff\x0e",
    "jpeg that says it is upright": encode(COLOUR_PICTURE, "JPEG", orientation=1),
    "png grey": encode(GREY_PICTURE, "PNG"),
    "png colour": encode(COLOUR_PICTURE, "PNG"),
    "png 1 bit": encode(GREY_PICTURE.convert("1"), "PNG"),
    "png 16 bit": encode(Image.fromarray(GREY.astype(np.uint16) * 257), "PNG"),
    "png grey alpha": encode(GREY_PICTURE.convert("LA"), "PNG"),
    "png colour alpha": encode(COLOUR_PICTURE.convert("RGBA"), "PNG"),
    "png palette": encode(PALETTE_PICTURE, "PNG"),
    "png palette of 4 bit": encode(PALETTE_PICTURE, "PNG", bits=4),
    "png palette, one transparent": encode(PALETTE_PICTURE, "PNG", transparency=3),
    "png interlaced": encode_interlaced_png(),
    "png animated": encode(
        COLOUR_PICTURE, "PNG", save_all=True, append_images=[COLOUR_PICTURE.rotate(180)]
    ),
    "png that says it is upright": encode(COLOUR_PICTURE, "PNG", orientation=1),
    "bmp grey": encode(GREY_PICTURE, "BMP"),
    "bmp colour": encode(COLOUR_PICTURE, "BMP"),
    "bmp top row first": encode_bmp(24, BYTES[:192], height=-8),
    "bmp grey, short table": encode_bmp(8, bytes([3, 1] * 32), table=RAMP[:64]),
    "bmp 32 bit": encode_bmp(32, BYTES),
    "bmp 32 bit with masks": encode_bmp(32, BYTES, compression=3, masks=BGR_MASKS),
}
"""What is stored as it is."""

OTHER_BMPS = {
    "colour table": encode(COLOUR_PICTURE.quantize(16), "BMP"),
    "inverted": encode_bmp(8, BYTES[:64], table=RAMP[::-1]),
    "1 bit": encode(GREY_PICTURE.convert("1"), "BMP"),
    "1 bit, two colours": encode_bmp(1, BYTES[:32], table=bytes([9, 99, 199, 0, 200, 100, 0, 0])),
    "4 bit": encode_bmp(4, BYTES[:32], table=RAMP[64:128]),
    "16 bit": encode_bmp(16, BYTES[:128]),
    "16 bit, green of 6": encode_bmp(16, BYTES[:128], compression=3, masks=(0xF800, 0x7E0, 0x1F)),
    "red last": encode_bmp(
        32, BYTES, compression=3, masks=(0xFF000000, 0xFF0000, 0xFF00)
    ),
    "os/2": b"BM" + struct.pack("<IHHIIHHHH", 218, 0, 0, 26, 12, 8, 8, 1, 24) + BYTES[:192],
    "bytes behind": encode_bmp(24, BYTES[:192]) + b"\0\0",
    "top row first": encode_bmp(4, BYTES[:32], table=RAMP[64:128], height=-8),
}  # fmt: skip

WEBPS = {
    "lossy": encode(COLOUR_PICTURE, "WEBP", quality=70),
    "lossy with transparency": encode(COLOUR_PICTURE.convert("RGBA"), "WEBP", exact=True),
    "lossless": encode(COLOUR_PICTURE, "WEBP", lossless=True),
    "lossless with transparency": encode(
        Image.fromarray(np.dstack([COLOUR, GREY])), "WEBP", lossless=True, exact=True
    ),
    "with bytes behind": encode(COLOUR_PICTURE, "WEBP") + b"abc",
    "turned": encode(COLOUR_PICTURE, "WEBP", orientation=6),
}

OTHER_JPEGS = {
    "cmyk": encode(COLOUR_PICTURE.convert("CMYK"), "JPEG"),
    "cmyk progressive": encode(COLOUR_PICTURE.convert("CMYK"), "JPEG", progressive=True),
    "turned": encode(COLOUR_PICTURE, "JPEG", orientation=6),
    "turned grey": encode(GREY_PICTURE, "JPEG", orientation=7),
}
TIFFS = {
    **{f"{code} of 8 bit": grey_tiff(compression=code, rows=7) for code in PACKERS},
    **{f"{code} of 16 bit": grey_tiff(DEEP, compression=code, rows=7) for code in PACKERS},
    "white is 0": grey_tiff(DEEP, order=">", tag_262=0),
    "colour": colour_tiff([COLOUR[..., index] for index in range(3)], tag_274=8),
    "planes": colour_tiff([COLOUR[..., index] for index in range(3)], separate=True),
    "colour table": encode(PALETTE_PICTURE, "TIFF", compression="tiff_lzw"),
    "1 bit": encode(GREY_PICTURE.convert("1"), "TIFF"),
    "pages": encode_tiff(page(), page(tag_254=1)),
}
