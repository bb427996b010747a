"""PNGs with right checksums all over, and yet with something missing or without meaning."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from records import faults
from records.pictures import PictureError, probe_bytes, probe_header, probe_pixels
from tests.records.picture_files import GREY, HEIGHT, WIDTH, join_png

HEADER = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 0, 0, 0, 0)
ROWS = b"".join(b"\0" + row.tobytes() for row in GREY)
DATA = zlib.compress(ROWS)
END = (b"IEND", b"")


def header(**fields: int) -> bytes:
    names = ("width", "height", "depth", "kind", "compression", "filtering", "interlaced")
    values = dict(zip(names, struct.unpack(">IIBBBBB", HEADER), strict=True)) | fields
    return struct.pack(">IIBBBBB", *values.values())


def refuse(*chunks: tuple[bytes, bytes]) -> str:
    with pytest.raises(PictureError) as caught:
        probe_bytes(join_png(chunks))
    assert caught.value.fault is faults.UNREADABLE_PICTURE
    return caught.value.reason


def test_a_whole_one_is_accepted() -> None:
    _, luma = probe_pixels(join_png([(b"IHDR", HEADER), (b"IDAT", DATA), END]))
    assert np.array_equal(luma, GREY)
    pieces = [(b"IDAT", DATA[start : start + 5]) for start in range(0, len(DATA), 5)]
    _, luma = probe_pixels(join_png([(b"IHDR", HEADER), (b"tEXt", b"a\0b"), *pieces, END]))
    assert np.array_equal(luma, GREY)


def test_rows_that_are_not_there_are_found() -> None:
    for rows in (ROWS[:-1], ROWS[: -WIDTH - 1], b""):
        assert "pixels are missing" in refuse(
            (b"IHDR", HEADER), (b"IDAT", zlib.compress(rows)), END
        )
    taller = header(height=30_000)
    assert "pixels are missing" in refuse((b"IHDR", taller), (b"IDAT", DATA), END)


def test_data_without_its_own_end_is_found() -> None:
    for length in range(1, 9):
        assert "pixels are missing" in refuse((b"IHDR", HEADER), (b"IDAT", DATA[:-length]), END)


def test_rows_behind_other_chunks_do_not_count() -> None:
    reason = refuse(
        (b"IHDR", HEADER), (b"IDAT", DATA[:20]), (b"tEXt", b"a\0b"), (b"IDAT", DATA[20:]), END
    )
    assert "pixels are missing" in reason


@pytest.mark.parametrize("width", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("height", [1, 2, 3, 5, 8])
def test_interlaced_pixels_are_counted(width: int, height: int) -> None:
    first = (b"IHDR", header(width=width, height=height, interlaced=1))
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
    lines = [
        len(range(x, width, step)) + 1
        for x, y, step, down in (*passes, (0, 1, 1, 2))
        for _ in range(y, height, down)
        if x < width
    ]
    whole = zlib.compress(b"".join(b"\0" * length for length in lines))
    probe_bytes(join_png([first, (b"IDAT", whole), END]))
    short = zlib.compress(b"".join(b"\0" * length for length in lines)[:-1])
    assert "pixels are missing" in refuse(first, (b"IDAT", short), END)


def test_data_that_never_ends_is_not_decompressed() -> None:
    bomb = zlib.compress(b"\0" * 2**26)
    assert "more pixels than it says" in refuse((b"IHDR", HEADER), (b"IDAT", bomb), END)


@pytest.mark.parametrize(
    "fields",
    [
        {"depth": 3}, {"depth": 0}, {"kind": 1}, {"kind": 2, "depth": 4}, {"kind": 3, "depth": 16},
        {"compression": 1}, {"filtering": 1}, {"interlaced": 2},
    ],
)  # fmt: skip
def test_a_header_without_meaning_is_found(fields: dict[str, int]) -> None:
    assert "its header has no meaning" in refuse((b"IHDR", header(**fields)), (b"IDAT", DATA), END)


def test_chunks_out_of_place_are_found() -> None:
    first, data, table = (b"IHDR", HEADER), (b"IDAT", DATA), (b"PLTE", b"abc")
    assert "begin with one header" in refuse((b"IHDR", HEADER + b"\0\0"), data, END)
    assert "begin with one header" in refuse(data, first, END)
    assert "begin with one header" in refuse(first, first, data, END)
    assert "no pixels" in refuse(first, END)
    assert "out of place" in refuse(first, data, table, END)
    assert "out of place" in refuse(first, table, table, data, END)
    assert "unknown kind" in refuse(first, data, (b"ABCd", b""), END)
    assert "unknown kind" in refuse(first, data, (b"ab\0d", b""), END)
    probe_bytes(join_png([first, data, (b"abCd", b"no one needs it"), END]))


@pytest.mark.parametrize("length", [0, 1, 4, 771])
def test_a_colour_table_without_meaning_is_found(length: int) -> None:
    chunks = [(b"IHDR", header(kind=3)), (b"PLTE", b"\1" * length), (b"IDAT", DATA), END]
    assert "colour table" in refuse(*chunks)
    with pytest.raises(PictureError):
        probe_header(join_png(chunks))
