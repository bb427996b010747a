"""Makes damaged pictures from whole ones, as accidents do and as an enemy would."""

from __future__ import annotations

import itertools
import random
import struct
import zlib
from collections.abc import Callable

from tests.records.picture_files import join_png, split_png

_PNG, _JPEG, _RIFF = b"\x89PNG", b"\xff\xd8", b"RIFF"
_TELLING = (0, 1, 2, 3, 4, 8, 12, 16, 17, 24, 32, 127, 128, 254, 255)
_HEADER_BYTES = 80


def mutate(encoded: bytes, rng: random.Random) -> bytes:
    """Damages a picture in one to three ways."""
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        encoded = rng.choice(_MUTATIONS)(encoded, rng) or b"\0"
    return encoded


def _flip_bits(encoded: bytes, rng: random.Random) -> bytes:
    mutant = bytearray(encoded)
    for _ in range(rng.randint(1, 4)):
        mutant[rng.randrange(len(mutant))] ^= 1 << rng.randrange(8)
    return bytes(mutant)


def _overwrite(encoded: bytes, rng: random.Random) -> bytes:
    at, length = rng.randrange(len(encoded)), rng.choice([1, 2, 4, 16, 64, 512])
    length = min(length, len(encoded) - at)
    run = rng.choice([b"\0" * length, b"\xff" * length, rng.randbytes(length)])
    return encoded[:at] + run + encoded[at + length :]


def _cut(encoded: bytes, rng: random.Random) -> bytes:
    return encoded[: rng.randrange(1, len(encoded) + 1)]


def _cut_and_end(encoded: bytes, rng: random.Random) -> bytes:
    """Cuts, and makes the rest look whole."""
    cut = _cut(encoded, rng)
    if encoded.startswith(_JPEG):
        return cut + b"\xff\xd9"
    if encoded.startswith(_PNG):
        *chunks, (kind, data), _ = _split_png_whole(encoded)
        return join_png([*chunks, (kind, data[: rng.randrange(len(data) + 1)]), (b"IEND", b"")])
    if encoded.startswith(_RIFF) and len(cut) > 20:
        length = len(cut) - 20 & ~1
        head = _RIFF + struct.pack("<I", length + 12) + cut[8:16]
        return head + struct.pack("<I", length) + cut[20 : 20 + length]
    return cut + b"\0" * (len(encoded) - len(cut))


def _remove(encoded: bytes, rng: random.Random) -> bytes:
    start, end = _choose_part(encoded, rng)
    return encoded[:start] + encoded[end:]


def _repeat(encoded: bytes, rng: random.Random) -> bytes:
    start, end = _choose_part(encoded, rng)
    at = rng.choice([end, rng.randrange(len(encoded))])
    return encoded[:at] + encoded[start:end] + encoded[at:]


def _alter_field(encoded: bytes, rng: random.Random) -> bytes:
    """Gives a telling value to a byte or a number near the start, or in the tags of a TIFF."""
    start = 0
    if encoded[:2] in (b"II", b"MM") and len(encoded) > 8 and rng.random() < 0.9:
        order = "<" if encoded[:2] == b"II" else ">"
        start = min(struct.unpack_from(f"{order}I", encoded, 4)[0], len(encoded) - 1)
    elif encoded.startswith(_JPEG):
        start = encoded.find(rng.choice([b"\xff\xc0", b"\xff\xc2", b"\xff\xda", b"\xff\xc4"]))
    at = max(start, 0) + rng.randrange(_HEADER_BYTES * (1 if start < 9 else 3))
    value = rng.choice(_TELLING)
    size = rng.choice([1, 1, 2, 4])
    number = value.to_bytes(size, rng.choice(["little", "big"]))
    return encoded[:at] + number + encoded[at + size :]


def _alter_chunk(encoded: bytes, rng: random.Random) -> bytes:
    """Alters what is in a PNG's chunks, with right checksums; of others, bytes anywhere."""
    if not encoded.startswith(_PNG):
        return _overwrite(encoded, rng)
    chunks = _split_png_whole(encoded)
    index = rng.randrange(len(chunks))
    kind, data = chunks[index]
    change = rng.choice([_flip_bits, _overwrite, _cut, _alter_field])
    if kind == b"IDAT" and rng.random() < 0.7:
        try:
            data = zlib.compress(change(zlib.decompress(data) or b"\0", rng))
        except zlib.error:
            data = change(data or b"\0", rng)
    elif rng.random() < 0.2:
        kind = change(kind, rng)[:4].ljust(4, b"a")
    else:
        data = change(data or b"\0", rng)
    order = list(enumerate([*chunks[:index], (kind, data), *chunks[index + 1 :]]))
    if rng.random() < 0.2:
        rng.shuffle(order)
    dropped = rng.randrange(len(order)) if rng.random() < 0.2 else -1
    return join_png([chunk for place, chunk in order if place != dropped])


def _split_png_whole(encoded: bytes) -> list[tuple[bytes, bytes]]:
    """As `split_png`; a PNG that was damaged before counts as one chunk."""
    try:
        chunks = split_png(encoded)
    except struct.error:
        chunks = []
    return (
        chunks if len(chunks) > 2 else [(b"IHDR", encoded[16:29]), (b"IDAT", b""), (b"IEND", b"")]
    )


def _choose_part(encoded: bytes, rng: random.Random) -> tuple[int, int]:
    """A chunk, a segment or a tag, or bytes anywhere."""
    parts = _find_parts(encoded)
    if parts and rng.random() < 0.7:
        return rng.choice(parts)
    start = rng.randrange(len(encoded))
    return start, min(len(encoded), start + rng.choice([1, 2, 3, 12, 100]))


def _find_parts(encoded: bytes) -> list[tuple[int, int]]:
    length = len(encoded)
    if encoded.startswith(_JPEG):
        starts = [at for at in range(2, length - 1) if encoded[at] == 255 and encoded[at + 1] > 191]
        return list(itertools.pairwise([*starts, length]))
    if encoded.startswith(_PNG) or encoded.startswith(_RIFF):
        order, extra, start = (">", 12, 8) if encoded.startswith(_PNG) else ("<", 8, 12)
        parts = []
        while start + 8 <= length:
            field = start if order == ">" else start + 4
            end = start + extra + struct.unpack_from(f"{order}I", encoded, field)[0]
            parts.append((start, min(end, length)))
            start = end
        return parts
    if encoded[:2] in (b"II", b"MM") and length > 8:
        order = "<" if encoded[:2] == b"II" else ">"
        first = struct.unpack_from(f"{order}I", encoded, 4)[0] + 2
        return [(at, at + 12) for at in range(first, length - 12, 12)]
    return []


_MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _flip_bits,
    _overwrite,
    _cut,
    _cut_and_end,
    _remove,
    _repeat,
    _alter_field,
    _alter_field,
    _alter_chunk,
)
