from __future__ import annotations

import io
import random
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from records import faults
from records.pictures import GREY_TOLERANCE, PictureError, probe_bytes

WIDTH, HEIGHT = 31, 23
GREY = np.clip(np.add.outer(np.arange(HEIGHT) * 5, np.arange(WIDTH) * 4), 0, 255).astype(np.uint8)
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1)
GREY_PICTURE, COLOUR_PICTURE = Image.fromarray(GREY), Image.fromarray(COLOUR)
PALETTE_PICTURE = COLOUR_PICTURE.quantize(16)


def encode(picture: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


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


def encode_png(header: tuple[int, ...], data: bytes) -> bytes:
    """A PNG of given IHDR values and filtered rows (PNG specification, 5.3 and 11.2.1)."""
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", *header)),
        (b"IDAT", zlib.compress(data)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


def encode_interlaced_png() -> bytes:
    """An 8 x 8 grey PNG in Adam7 order, which Pillow does not write (PNG specification, 8.2)."""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
    passes.append((0, 1, 1, 2))
    lines = [
        b"\0" + GREY[row, x:8:dx].tobytes() for x, y, dx, dy in passes for row in range(y, 8, dy)
    ]
    return encode_png((8, 8, 8, 0, 0, 0, 1), b"".join(lines))


NOISE = np.random.default_rng(0).integers(0, 256, 8 * 32, dtype=np.uint8).tobytes()
RAMP = b"".join(bytes([value, value, value, 0]) for value in range(256))
BGR_MASKS = (0xFF0000, 0xFF00, 0xFF)

ACCEPTED = {
    "jpeg grey": encode(GREY_PICTURE, "JPEG"),
    "jpeg colour": encode(COLOUR_PICTURE, "JPEG"),
    "jpeg progressive": encode(COLOUR_PICTURE, "JPEG", progressive=True),
    "jpeg with restarts": encode(COLOUR_PICTURE, "JPEG", restart_marker_blocks=1),
    "jpeg with a second picture": encode(
        COLOUR_PICTURE, "MPO", save_all=True, append_images=[COLOUR_PICTURE]
    ),
    "jpeg with bytes behind": encode(COLOUR_PICTURE, "JPEG") + b"camera data \xff\x0e",
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
    "bmp grey": encode(GREY_PICTURE, "BMP"),
    "bmp colour": encode(COLOUR_PICTURE, "BMP"),
    "bmp top row first": encode_bmp(24, NOISE[:192], height=-8),
    "bmp grey, short table": encode_bmp(8, bytes([3, 1] * 32), table=RAMP[:64]),
    "bmp 32 bit": encode_bmp(32, NOISE),
    "bmp 32 bit with masks": encode_bmp(32, NOISE, compression=3, masks=BGR_MASKS),
}
REFUSED = {
    "jpeg cmyk": (encode(COLOUR_PICTURE.convert("CMYK"), "JPEG"), "colours are CMYK"),
    "jpeg lossless": (
        ACCEPTED["jpeg grey"].replace(b"\xff\xc0", b"\xff\xc3"),
        "lossless, hierarchical or arithmetic-coded JPEG",
    ),
    "bmp colour table": (encode(PALETTE_PICTURE, "BMP"), "a BMP with a colour table"),
    "bmp inverted": (encode_bmp(8, NOISE[:64], table=RAMP[::-1]), "a BMP with a colour table"),
    "bmp black and white": (
        encode_bmp(8, bytes([0, 1] * 32), table=RAMP[:4] + RAMP[-4:]),
        "a BMP with a colour table",
    ),
    "bmp 1 bit": (encode(GREY_PICTURE.convert("1"), "BMP"), "a BMP of 1 bit"),
    "bmp 4 bit": (encode_bmp(4, NOISE[:32], table=RAMP[:64]), "a BMP of 4 bit"),
    "bmp 16 bit": (encode_bmp(16, NOISE[:128]), "a BMP of 16 bit"),
    "bmp run-length": (
        encode_bmp(8, bytes([8, 7, 0, 0] * 8 + [0, 1]), table=RAMP, compression=1),
        "a BMP with compressed pixels",
    ),
    "bmp red last": (
        encode_bmp(32, NOISE, compression=3, masks=BGR_MASKS[::-1]),
        "channels in an unusual order",
    ),
    "bmp os/2": (
        b"BM" + struct.pack("<IHHIIHHHH", 218, 0, 0, 26, 12, 8, 8, 1, 24) + NOISE[:192],
        "an OS/2 header",
    ),
    "bmp bytes behind": (encode_bmp(24, NOISE[:192]) + b"\0\0", "bytes behind its last row"),
    "tiff": (encode(GREY_PICTURE, "TIFF"), "it is a TIFF file; JPEG, PNG and BMP are read"),
    "gif": (encode(GREY_PICTURE, "GIF"), "it is a GIF file"),
    "webp": (encode(GREY_PICTURE, "WEBP"), "it is a WebP file"),
    "dicom": (b"\0" * 128 + b"DICM" + NOISE, "it is a DICOM file"),
}


def refuse(encoded: bytes) -> PictureError:
    with pytest.raises(PictureError) as caught:
        probe_bytes(encoded)
    return caught.value


@pytest.mark.parametrize("kind", ACCEPTED)
def test_what_is_accepted_tensorflow_decodes_to_the_same_pixels(kind: str) -> None:
    import tensorflow as tf

    facts = probe_bytes(ACCEPTED[kind])
    decoded = tf.io.decode_image(ACCEPTED[kind], channels=3, expand_animations=False).numpy()
    with Image.open(io.BytesIO(ACCEPTED[kind])) as picture:
        pixels = np.asarray(picture)
        if picture.mode == "I;16":
            expected = np.repeat(pixels[..., None] // 257, 3, axis=-1)
        else:
            expected = np.asarray(picture.convert("RGB"))
    assert (facts.height, facts.width) == decoded.shape[:2]
    assert facts.image_format == kind.split()[0]
    difference = np.abs(decoded.astype(int) - expected)
    assert difference.max() <= (3 if facts.image_format == "jpeg" else 0)
    assert facts.is_grey == (np.ptp(expected, axis=-1).max() <= GREY_TOLERANCE)


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_supported_is_named(kind: str) -> None:
    encoded, reason = REFUSED[kind]
    error = refuse(encoded)
    assert error.fault is faults.UNSUPPORTED_PICTURE
    assert reason in error.reason


@pytest.mark.parametrize("kind", ["jpeg colour", "jpeg progressive", "png grey", "bmp colour"])
def test_every_cut_is_found(kind: str) -> None:
    encoded = ACCEPTED[kind]
    # The end of a picture is where decoders differ in what they let pass.
    lengths = {*range(1, len(encoded), 13), *range(len(encoded) - 20, len(encoded))}
    for length in sorted(lengths):
        assert refuse(encoded[:length]).fault is faults.UNREADABLE_PICTURE, length


def test_a_wrong_checksum_is_found() -> None:
    encoded = bytearray(ACCEPTED["png grey"])
    encoded[-16] ^= 1  # In the checksum of the pixels, which Pillow alone does not look at.
    assert refuse(bytes(encoded)).reason == "the PNG is damaged: a checksum is wrong"


@pytest.mark.filterwarnings("ignore")
def test_mutated_pictures_are_refused_or_decoded_by_tensorflow() -> None:
    import tensorflow as tf

    rng = random.Random(0)
    sources = [ACCEPTED[kind] for kind in sorted(ACCEPTED)]
    accepted = 0
    for _ in range(3000):
        encoded = bytearray(rng.choice(sources))
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(encoded))
            encoded[at : at + rng.choice([0, 1, 1, 8])] = rng.randbytes(rng.choice([0, 1, 1, 8]))
        try:
            facts = probe_bytes(bytes(encoded))
        except PictureError:
            continue
        accepted += 1
        decoded = tf.io.decode_image(bytes(encoded), channels=3, expand_animations=False)
        assert decoded.shape == (facts.height, facts.width, 3)
    assert 300 < accepted < 2700
