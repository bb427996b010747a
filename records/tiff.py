"""TIFF, as X-ray machines write it. TensorFlow does not decode it, so that it is stored as PNG.

Pillow and libtiff decode the pixels, but leave out what is checked or done here: a strip that is
not there stays black, 16-bit grey with white as 0 is not inverted (or not read, big-endian), and
the decoder of uncompressed strips mistakes grey pictures whose planes are called separate.

Source: TIFF 6.0, sections 2 to 15. 12-bit samples become 16-bit ones by left bit replication (PNG
specification, third edition, 12.4).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from PIL import UnidentifiedImageError

from records.encodings import MAX_PIXELS, Header, PictureError, damaged, unpack, unsupported
from records.faults import TOO_LARGE_PICTURE
from records.orientation import accept_orientation
from records.pixels import decode_by_pillow

_SUBFILE_TYPE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 256, 257, 258, 259, 262
_STRIP_OFFSETS, _ORIENTATION, _SAMPLES, _STRIP_ROWS, _STRIP_BYTES = 273, 274, 277, 278, 279
_PLANES, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES = 284, 322, 323, 324, 325
_EXTRA_SAMPLES, _SAMPLE_FORMAT = 338, 339
_TYPES = {1: "B", 3: "H", 4: "I"}
_REDUCED, _TOGETHER, _SEPARATE, _UNSIGNED = 1, 1, 2, 1
_UNCOMPRESSED, _COMPRESSIONS = 1, (1, 5, 8, 32773, 32946)
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _TABLE, _INKS = 0, 1, 2, 3, 5
# Photometric interpretation: how many samples a pixel has, and of how many bits each may be.
_KINDS = {
    _WHITE_IS_ZERO: (1, (1, 2, 4, 8, 16)),
    _BLACK_IS_ZERO: (1, (1, 2, 4, 8, 12, 16)),
    _RGB: (3, (8,)),
    _TABLE: (1, (1, 2, 4, 8)),
    _INKS: (4, (8,)),
}
_PAGES_AT_MOST, _VALUES_AT_MOST = 64, 2**17
_BITS_SHOWN = 4


@dataclass(frozen=True, slots=True)
class _Directory:
    """One page's tags of whole numbers: the type, the count of values, and where these are."""

    encoded: bytes
    order: str
    tags: dict[int, tuple[str, int, int]]
    following: int

    def all(self, tag: int, *default: int) -> tuple[int, ...]:
        """The values of a tag."""
        if tag not in self.tags:
            return default
        layout, count, at = self.tags[tag]
        if count > _VALUES_AT_MOST:
            raise PictureError(TOO_LARGE_PICTURE, f"the TIFF is in {count} pieces")
        return unpack(f"{self.order}{count}{layout}", self.encoded, at)

    def one(self, tag: int, default: int) -> int:
        """The value of a tag that has but one."""
        values = self.all(tag, default)
        if len(values) != 1:
            raise damaged(f"the TIFF is damaged: its tag {tag} has {len(values)} values")
        return values[0]


def read_header(encoded: bytes) -> Header:
    """Reads the tags of the first page, and looks whether all its strips or tiles are there.

    Raises:
        PictureError: They are not; there is a second page that is no smaller version of the first;
            the kind is none that is read.
    """
    page = _read_page(encoded)
    following, pages = page.following, 1
    while following:
        further = _read_directory(encoded, page.order, following)
        following, pages = further.following, pages + 1
        if not further.one(_SUBFILE_TYPE, 0) & _REDUCED or pages > _PAGES_AT_MOST:
            raise unsupported("it is a TIFF of several pages")
    _require_kind(page)
    header = Header(
        width=page.one(_WIDTH, 0),
        height=page.one(_HEIGHT, 0),
        is_grey=page.one(_PHOTOMETRIC, 0) in (_WHITE_IS_ZERO, _BLACK_IS_ZERO),
        orientation=accept_orientation(page.one(_ORIENTATION, 1)),
        is_foreign=True,
        is_cmyk=page.one(_PHOTOMETRIC, 0) == _INKS,
        bit_depth=16 if page.all(_BITS, 1)[0] > 8 else 8,
    )
    _require_parts(page, header)
    return header


def decode(encoded: bytes, header: Header) -> np.ndarray:
    """Decodes the first page.

    Returns:
        One of the forms of `records.pixels`, not turned: uint16 for 12 and 16 bit. Transparency is
        left out.

    Raises:
        PictureError: Pillow does not decode this kind.
        Exception: Whatever Pillow raises on damaged bytes.
    """
    page = _read_page(encoded)
    bits = page.all(_BITS, 1)[0]
    is_inverted = bits == 16 and page.one(_PHOTOMETRIC, 0) == _WHITE_IS_ZERO
    # What Pillow does of these depends on its version, so that it is done here and by the caller.
    neutral = {_ORIENTATION: 1}
    neutral |= {_PHOTOMETRIC: _BLACK_IS_ZERO} if is_inverted else {}
    neutral |= {_PLANES: _TOGETHER} if page.one(_SAMPLES, 1) == 1 else {}
    try:
        pixels = decode_by_pillow(_replace(page, neutral), "tiff", header)
    except UnidentifiedImageError as error:
        raise unsupported("it is a TIFF of a kind that Pillow does not decode") from error
    if bits == 12:
        return pixels << 4 | pixels >> 8
    return 65535 - pixels if is_inverted else pixels


def _read_page(encoded: bytes) -> _Directory:
    order = "<" if encoded.startswith(b"II") else ">"
    return _read_directory(encoded, order, unpack(f"{order}I", encoded, 4)[0])


def _read_directory(encoded: bytes, order: str, at: int) -> _Directory:
    (count,) = unpack(f"{order}H", encoded, at)
    end = at + 2 + 12 * count
    (following,) = unpack(f"{order}I", encoded, end)
    tags: dict[int, tuple[str, int, int]] = {}
    for tag, kind, values, _ in struct.iter_unpack(f"{order}HHII", encoded[at + 2 : end]):
        at += 12
        if kind not in _TYPES:
            continue
        if tag in tags:
            raise damaged(f"the TIFF is damaged: it has tag {tag} twice")
        place = at - 2
        if struct.calcsize(_TYPES[kind]) * values > 4:
            (place,) = unpack(f"{order}I", encoded, place)
        tags[tag] = _TYPES[kind], values, place
    return _Directory(encoded, order, tags, following)


def _require_kind(page: _Directory) -> None:
    compression = page.one(_COMPRESSION, _UNCOMPRESSED)
    if compression not in _COMPRESSIONS:
        raise unsupported(
            f"it is a TIFF of compression {compression}; uncompressed, LZW, deflate and PackBits "
            "are read"
        )
    photometric, samples = page.one(_PHOTOMETRIC, -1), page.one(_SAMPLES, 1)
    colours, depths = _KINDS.get(photometric, (0, ()))
    bits = set(page.all(_BITS, 1))
    extra = len(page.all(_EXTRA_SAMPLES)) or int(photometric == _RGB and samples == 4)
    is_known = len(bits) == 1 and bits <= set(depths) and samples - extra == colours
    widths = "/".join(map(str, sorted(bits)[:_BITS_SHOWN]))
    if not is_known or set(page.all(_SAMPLE_FORMAT, _UNSIGNED)) != {_UNSIGNED}:
        raise unsupported(
            f"it is a TIFF of photometric interpretation {photometric} with {samples} samples of "
            f"{widths} bit; whole numbers, grey of up to 16 bit and colour of 8 bit, are read"
        )


def _require_parts(page: _Directory, header: Header) -> None:
    """Looks whether the strips or tiles are as many as needed, and all within the file."""
    samples, is_tiled = page.one(_SAMPLES, 1), _TILE_OFFSETS in page.tags
    width, height = header.width, min(page.one(_STRIP_ROWS, header.height), header.height)
    if is_tiled:
        width, height = page.one(_TILE_WIDTH, 0), page.one(_TILE_HEIGHT, 0)
    if not 0 < width * height <= MAX_PIXELS or is_tiled == (_STRIP_OFFSETS in page.tags):
        raise damaged("the TIFF is damaged: its strips or tiles have no size")
    planes = samples if page.one(_PLANES, _TOGETHER) == _SEPARATE else 1
    across, down = -(-header.width // width), -(-header.height // height)
    offsets = page.all(_TILE_OFFSETS if is_tiled else _STRIP_OFFSETS)
    if len(offsets) != across * down * planes:
        raise damaged("the TIFF is damaged: strips or tiles are missing or too many")
    sizes = page.all(_TILE_BYTES if is_tiled else _STRIP_BYTES)
    if page.one(_COMPRESSION, _UNCOMPRESSED) == _UNCOMPRESSED:
        row_bytes = -(-width * page.all(_BITS, 1)[0] * samples // planes // 8)
        heights = [height] * down
        heights[-1] = height if is_tiled else header.height - (down - 1) * height
        sizes = tuple(rows * row_bytes for rows in heights) * (across * planes)
    if len(sizes) != len(offsets) or min(sizes) == 0:
        raise damaged("the TIFF is damaged: it does not say how long its strips or tiles are")
    if any(start + size > len(page.encoded) for start, size in zip(offsets, sizes, strict=True)):
        raise damaged("the TIFF is cut short: strips or tiles are missing")


def _replace(page: _Directory, values: dict[int, int]) -> bytes:
    """The file with other values of some of the tags that it has."""
    patched = bytearray(page.encoded)
    for tag in values.keys() & page.tags.keys():
        layout, _, at = page.tags[tag]
        struct.pack_into(page.order + layout, patched, at, values[tag])
    return bytes(patched)
