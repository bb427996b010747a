"""What is stored byte for byte, what is not read, and that cut pictures are found."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest
from PIL import Image

from records import faults
from records.pictures import (
    PictureError,
    encode_stored,
    probe_bytes,
    probe_header,
    probe_pixels,
)
from records.pixels import GREY_TOLERANCE
from tests.records.picture_files import COLOUR_PICTURE, GREY_PICTURE, encode, encode_bmp
from tests.records.picture_kinds import BYTES, KEPT, RAMP

REFUSED = {
    "jpeg lossless": (
        KEPT["jpeg grey"].replace(b"\xff\xc0", b"\xff\xc3"),
        "lossless, hierarchical or arithmetic-coded JPEG",
    ),
    "jpeg arithmetic": (
        KEPT["jpeg grey"].replace(b"\xff\xc0", b"\xff\xc9"),
        "lossless, hierarchical or arithmetic-coded JPEG",
    ),
    "jpeg 12 bit": (
        KEPT["jpeg grey"].replace(b"\xff\xc0\0\x0b\x08", b"\xff\xc1\0\x0b\x0c"),
        "it is a JPEG with 1 components of 12 bit",
    ),
    "bmp 2 bit": (encode_bmp(2, BYTES[:32], table=RAMP[:16]), "a BMP of 2 bit"),
    "bmp run-length": (
        encode_bmp(8, bytes([8, 7, 0, 0] * 8 + [0, 1]), table=RAMP, compression=1),
        "a BMP with compressed pixels",
    ),
    "bmp wide masks": (
        encode_bmp(32, BYTES, compression=3, masks=(0xFFFFFF00, 0xF0, 0x0F)),
        "a BMP with channels of an unusual width",
    ),
    "gif": (encode(GREY_PICTURE, "GIF"), "a GIF file; JPEG, PNG, BMP, TIFF and WebP are read"),
    "dicom": (b"\0" * 128 + b"DICM" + BYTES, "it is a DICOM file"),
}


def refuse(encoded: bytes) -> PictureError:
    with pytest.raises(PictureError) as caught:
        probe_bytes(encoded)
    return caught.value


@pytest.mark.parametrize("kind", KEPT)
def test_what_is_kept_tensorflow_decodes_to_the_same_pixels(kind: str) -> None:
    import tensorflow as tf

    encoded = KEPT[kind]
    assert encode_stored(encoded) is encoded
    facts, luma = probe_pixels(encoded)
    decoded = tf.io.decode_image(encoded, channels=3, expand_animations=False).numpy()
    with Image.open(io.BytesIO(encoded)) as picture:
        pixels = np.asarray(picture)
        if picture.mode == "I;16":
            expected = np.repeat(pixels[..., None] // 257, 3, axis=-1).astype(np.uint8)
        else:
            expected = np.asarray(picture.convert("RGB"))
    assert (facts.height, facts.width) == decoded.shape[:2] == luma.shape
    assert facts.image_format == facts.source_format == kind.split()[0]
    assert not facts.is_converted
    tolerance = 3 if facts.image_format == "jpeg" else 0
    assert np.abs(decoded.astype(int) - expected).max() <= tolerance
    expected_luma = np.asarray(Image.fromarray(expected).convert("L"))
    assert np.abs(luma.astype(int) - expected_luma).max() <= tolerance
    assert facts.is_grey == (np.ptp(expected, axis=-1).max() <= GREY_TOLERANCE)


@pytest.mark.parametrize("kind", KEPT)
def test_the_header_says_the_same_as_the_pixels(kind: str) -> None:
    facts, header = probe_bytes(KEPT[kind]), probe_header(KEPT[kind])
    for name in facts.__slots__:
        if name != "is_grey":
            assert getattr(facts, name) == getattr(header, name), name
    assert facts.is_grey or not header.is_grey


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_supported_is_named(kind: str) -> None:
    encoded, reason = REFUSED[kind]
    error = refuse(encoded)
    assert error.fault is faults.UNSUPPORTED_PICTURE
    assert reason in error.reason
    with pytest.raises(PictureError):
        probe_header(encoded)


def test_errors_survive_the_way_from_another_process() -> None:
    error = refuse(REFUSED["gif"][0])
    again = pickle.loads(pickle.dumps(error))
    assert (again.fault, again.reason, str(again)) == (error.fault, error.reason, str(error))


CUT = {
    **{kind: KEPT[kind] for kind in ("jpeg colour", "jpeg progressive", "png grey", "bmp colour")},
    "webp lossy": encode(COLOUR_PICTURE, "WEBP"),
    "webp lossless": encode(COLOUR_PICTURE.convert("RGBA"), "WEBP", lossless=True),
    "tiff": encode(COLOUR_PICTURE, "TIFF"),
    "tiff lzw": encode(COLOUR_PICTURE, "TIFF", compression="tiff_lzw"),
    "jpeg cmyk": encode(COLOUR_PICTURE.convert("CMYK"), "JPEG"),
}


@pytest.mark.parametrize("kind", CUT)
def test_every_cut_is_found(kind: str) -> None:
    encoded = CUT[kind]
    probe_bytes(encoded)
    # The end of a picture is where decoders differ in what they let pass.
    lengths = {*range(1, len(encoded), 13), *range(len(encoded) - 20, len(encoded))}
    for length in sorted(lengths):
        assert refuse(encoded[:length]).fault is faults.UNREADABLE_PICTURE, length


@pytest.mark.parametrize("kind", ["jpeg colour", "png grey", "bmp colour", "webp lossy", "tiff"])
def test_a_missing_end_is_found_without_decoding(kind: str) -> None:
    encoded = (CUT | KEPT)[kind]
    for length in (len(encoded) - 1, len(encoded) // 2):
        with pytest.raises(PictureError):
            probe_header(encoded[:length])


def test_a_wrong_checksum_is_found() -> None:
    encoded = bytearray(KEPT["png grey"])
    encoded[-16] ^= 1  # In the checksum of the pixels, which Pillow alone does not look at.
    assert refuse(bytes(encoded)).reason == "the PNG is damaged: a checksum is wrong"
