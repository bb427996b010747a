"""BMP: its header, and its pixels.

TensorFlow decodes a colour table's indices as if they were grey values, and refuses BMPs of 1, 4 or
16 bit, with an OS/2 header, with channels in an unusual order, or with bytes behind the last row.
Pillow decodes most of these, but takes a table of two colours for one of a 1-bit picture. So the
few lines that it takes to decode the uncompressed ones are here. Compressed ones are refused.

Source: Microsoft, "Bitmap Storage", `BITMAPCOREHEADER`, `BITMAPINFOHEADER`, `BITMAPV4HEADER`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from records.encodings import Header, damaged, unpack, unsupported

_CORE_HEADER, _INFO_HEADERS = 12, (40, 52, 56, 64, 108, 124)
_RGB, _BITFIELDS = 0, 3
_COLOURS_AT, _MASKS_AT = 46, 54
_TABLE_BITS = (1, 4, 8)
_MASKS = {16: (0x7C00, 0x3E0, 0x1F), 24: (0xFF0000, 0xFF00, 0xFF), 32: (0xFF0000, 0xFF00, 0xFF)}
_GREY_RAMP = bytes(value for shade in range(256) for value in [shade] * 3)
_MASK_AT_MOST = 2**16 - 1  # So that 255 times a channel's value fits 32 bit.


@dataclass(frozen=True, slots=True)
class BmpHeader(Header):
    """As `Header`.

    Attributes:
        bits: A pixel.
        pixels_at: Where the first row starts.
        is_top_first: Whether that is the top row.
        table: Blue, green and red of each index; empty for other than `_TABLE_BITS`.
        masks: Which bits of a pixel are red, green and blue.
    """

    bits: int = 0
    pixels_at: int = 0
    is_top_first: bool = False
    table: bytes = b""
    masks: tuple[int, ...] = ()


def read_header(encoded: bytes) -> BmpHeader:
    """Reads the header and the colour table, and looks whether all rows are there.

    Raises:
        PictureError: It is compressed or of an unknown kind; rows are missing.
    """
    pixels_at, header_bytes = unpack("<II", encoded, 10)
    compression = _RGB
    if header_bytes == _CORE_HEADER:
        width, height, _, bits = unpack("<HHHH", encoded, 18)
    elif header_bytes in _INFO_HEADERS:
        width, height, _, bits, compression = unpack("<iiHHI", encoded, 18)
    else:
        raise unsupported("it is a BMP with an unknown header")
    if bits not in (*_TABLE_BITS, *_MASKS):
        raise unsupported(f"it is a BMP of {bits} bit")
    if compression != _RGB and (compression != _BITFIELDS or bits not in (16, 32)):
        raise unsupported("it is a BMP with compressed pixels")
    missing_bytes = pixels_at + _count_row_bytes(bits, width) * abs(height) - len(encoded)
    if missing_bytes > 0 or not 14 + header_bytes <= pixels_at <= len(encoded):
        raise damaged("the BMP is cut short: rows are missing")
    table = _read_table(encoded, bits, header_bytes, pixels_at) if bits in _TABLE_BITS else b""
    masks = _read_masks(encoded, compression, bits)
    is_plain = (
        table == _GREY_RAMP[: len(table)] and bits in (8, 24, 32) and masks == _MASKS.get(bits, ())
    )
    return BmpHeader(
        width=width,
        height=abs(height),
        is_grey=bits in _TABLE_BITS and table[::3] == table[1::3] == table[2::3],
        is_foreign=not is_plain or header_bytes == _CORE_HEADER or missing_bytes < 0,
        bits=bits,
        pixels_at=pixels_at,
        is_top_first=height < 0,
        table=b"" if is_plain else table,
        masks=masks,
    )


def decode(encoded: bytes, header: BmpHeader) -> np.ndarray:
    """Decodes the rows that `header` tells of.

    Returns:
        uint8 `[height, width]` or `[height, width, 3]`. An index behind the end of its colour table
        is black.
    """
    row_bytes = _count_row_bytes(header.bits, header.width)
    size = row_bytes * header.height
    rows = np.frombuffer(encoded, np.uint8, size, header.pixels_at).reshape(-1, row_bytes)
    rows = rows if header.is_top_first else rows[::-1]
    if header.bits in _TABLE_BITS:
        return _look_up(_split_bytes(rows, header.bits)[:, : header.width], header)
    if header.masks != _MASKS[24]:
        return _take_masked(rows, header)
    pixels = rows[:, : header.bits // 8 * header.width].reshape(len(rows), header.width, -1)
    return pixels[..., 2::-1]


def _count_row_bytes(bits: int, width: int) -> int:
    return (bits * width + 31) // 32 * 4


def _read_table(encoded: bytes, bits: int, header_bytes: int, pixels_at: int) -> bytes:
    entry, count = 3, 0
    if header_bytes != _CORE_HEADER:
        entry, (count,) = 4, unpack("<I", encoded, _COLOURS_AT)
    count = min(count or 2**bits, 2**bits)
    start = 14 + header_bytes
    if start + entry * count > pixels_at:
        raise damaged("the BMP is damaged: its colour table reaches into its pixels")
    table = encoded[start : start + entry * count]
    return np.frombuffer(table, np.uint8).reshape(-1, entry)[:, :3].tobytes()


def _read_masks(encoded: bytes, compression: int, bits: int) -> tuple[int, ...]:
    if compression == _RGB:
        return _MASKS.get(bits, ())
    masks = tuple(mask & (2**bits - 1) for mask in unpack("<III", encoded, _MASKS_AT))
    if not all(0 < mask // _find_unit(mask) <= _MASK_AT_MOST for mask in masks):
        raise unsupported("it is a BMP with channels of an unusual width")
    return masks


def _find_unit(mask: int) -> int:
    """The lowest bit that is set, or 1."""
    return mask & -mask or 1


def _split_bytes(rows: np.ndarray, bits: int) -> np.ndarray:
    if bits == 1:
        return np.unpackbits(rows, axis=1)
    if bits == 4:
        return np.stack([rows >> 4, rows & 15], axis=-1).reshape(len(rows), -1)
    return rows


def _look_up(indices: np.ndarray, header: BmpHeader) -> np.ndarray:
    if not header.table:
        return indices
    table = np.zeros((256, 3), np.uint8)
    table[: len(header.table) // 3] = np.frombuffer(header.table, np.uint8).reshape(-1, 3)[:, ::-1]
    return table[:, 0][indices] if header.is_grey else table[indices]


def _take_masked(rows: np.ndarray, header: BmpHeader) -> np.ndarray:
    layout = "<u2" if header.bits == 16 else "<u4"
    values = rows[:, : header.bits // 8 * header.width].view(layout).astype(np.uint32)
    pixels = np.empty((*values.shape, 3), np.uint8)
    for channel, mask in enumerate(header.masks):
        unit = _find_unit(mask)
        pixels[..., channel] = (values & mask) // unit * 255 // (mask // unit)
    return pixels
