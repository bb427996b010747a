"""Damaged pictures are refused, or stored so that TensorFlow decodes them as Pillow does.

600 of them, or as many as the environment variable NIOSCOPE_MUTATIONS says.
"""

from __future__ import annotations

import io
import os
import random
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from records.pictures import PictureError, PictureFacts, encode_stored, probe_pixels
from tests.records.mutants import mutate
from tests.records.picture_kinds import KEPT, OTHER_BMPS, OTHER_JPEGS, TIFFS, WEBPS

MUTANTS = int(os.environ.get("NIOSCOPE_MUTATIONS", 600))
SECONDS_AT_MOST = 20  # Of one thread's work; a picture of this size takes less than a hundredth.
REAL = (
    "neu-det/train/images/crazing/crazing_1.jpg",
    "neu-det/train/images/patches/patches_101.jpg",
    "xray/niO_53.jpg",
)


def gather(folder: Path | None) -> list[tuple[str, bytes]]:
    groups = {"kept": KEPT, "bmp": OTHER_BMPS, "webp": WEBPS, "jpeg": OTHER_JPEGS, "tiff": TIFFS}
    sources = [
        (f"{name}, {kind}", encoded)
        for name, group in groups.items()
        for kind, encoded in group.items()
    ]
    return sources + [(name, (folder / name).read_bytes()) for name in REAL if folder]


def decode_by_tensorflow(stored: bytes) -> np.ndarray:
    """To three channels; a JPEG by the accurate transform, which is not TensorFlow's default."""
    import tensorflow as tf

    if stored.startswith(b"\x89PNG") and stored[24] == 16:
        return tf.io.decode_png(stored, channels=3, dtype=tf.uint16).numpy()
    default = tf.io.decode_image(stored, channels=3, expand_animations=False)
    if stored.startswith(b"\xff\xd8"):
        accurate = tf.io.decode_jpeg(stored, channels=3, dct_method="INTEGER_ACCURATE")
        assert accurate.shape == default.shape
        return accurate.numpy()
    return default.numpy()


def decode_by_pillow(stored: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(stored)) as picture:
        if picture.mode == "I;16":
            return np.repeat(np.asarray(picture)[..., None], 3, axis=-1)
        return np.asarray(picture.convert("RGB"))


def check(stored: bytes, facts: PictureFacts, luma: np.ndarray) -> None:
    """What is stored decodes to the size it is said to have, and by all to the same pixels."""
    decoded = decode_by_tensorflow(stored)
    assert decoded.shape == (facts.height, facts.width, 3)
    if decoded.dtype == np.uint8:
        assert np.array_equal(luma, np.asarray(Image.fromarray(decoded).convert("L")))
    else:
        assert luma.shape == decoded.shape[:2]
    if facts.image_format != "bmp":  # Pillow mistakes some, see test_converted.py.
        expected = decode_by_pillow(stored)
        if decoded.dtype == expected.dtype:  # Pillow has no 16-bit colour.
            assert np.array_equal(decoded, expected)


def test_mutants_are_refused_or_stored_as_they_are_decoded(request: pytest.FixtureRequest) -> None:
    try:
        folder = request.getfixturevalue("real_data")
    except pytest.skip.Exception:
        folder = None  # Then drawn pictures alone.
    sources = gather(folder)
    rng = random.Random(0)
    verdicts: Counter[str] = Counter()
    slowest = (0.0, "", 0)
    for number in range(MUTANTS):
        name, whole = sources[number % len(sources)]
        encoded = mutate(whole, rng)
        start = time.thread_time()
        try:
            facts, luma = probe_pixels(encoded)
            stored = encode_stored(encoded)
            verdict = "accepted"
        except PictureError as error:
            verdict = error.fault.code
        slowest = max(slowest, (time.thread_time() - start, name, number))
        verdicts[verdict] += 1
        if verdict == "accepted":
            check(stored, facts, luma)
    print(f"{MUTANTS} mutants: {dict(verdicts)}; slowest {slowest}")
    assert 0.1 * MUTANTS < verdicts["accepted"] < 0.7 * MUTANTS
    assert slowest[0] < SECONDS_AT_MOST
