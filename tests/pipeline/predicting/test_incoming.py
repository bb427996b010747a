from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.predicting import incoming
from pipeline.predicting.incoming import (
    BATCH_SIZE,
    LARGE_PX,
    SHARD_SIZE,
    Picture,
    find_pictures,
    read_batches,
)
from records.workers import cut

PIXELS = np.random.default_rng(0).integers(0, 65536, (11, 14), dtype=np.uint16)
COLOUR = np.random.default_rng(1).integers(0, 256, (11, 14, 3), dtype=np.uint8)


def decode(encoded: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(encoded)) as picture:
        return np.asarray(picture)


def save(path: Path, pixels: np.ndarray, *, orientation: int = 1) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif, lossless=True)
    return path


def test_pictures_are_as_records_hold_them(tmp_path: Path) -> None:
    paths = [
        save(tmp_path / "upright.jpg", COLOUR),
        save(tmp_path / "deep.tif", PIXELS),
        save(tmp_path / "colour.webp", COLOUR),
        save(tmp_path / "lying.png", PIXELS, orientation=6),
    ]
    (batch,) = read_batches(paths)
    assert [picture.path for picture in batch] == paths
    assert [picture.problem for picture in batch] == [""] * 4
    assert batch[0].encoded == paths[0].read_bytes()
    upright: list[np.ndarray] = [PIXELS, COLOUR, np.rot90(PIXELS, -1)]
    for picture, expected in zip(batch[1:], upright, strict=True):
        assert picture.encoded.startswith(b"\x89PNG")
        assert np.array_equal(decode(picture.encoded), expected)


@pytest.mark.parametrize("count", [1, 32, 33, 70])
def test_every_picture_comes_once_and_in_order(tmp_path: Path, count: int) -> None:
    paths = [save(tmp_path / f"{number}.png", PIXELS) for number in range(count)]
    batches = list(read_batches(paths))
    assert [picture.path for batch in batches for picture in batch] == paths
    assert {len(batch) for batch in batches[:-1]} <= {32}


def test_what_cannot_be_judged_has_a_reason_and_no_bytes(tmp_path: Path) -> None:
    (tmp_path / "empty.tif").touch()
    (tmp_path / "cut.tif").write_bytes(save(tmp_path / "whole.tif", PIXELS).read_bytes()[:200])
    (batch,) = read_batches([tmp_path / name for name in ("empty.tif", "cut.tif", "absent.png")])
    assert [picture.encoded for picture in batch] == [b""] * 3
    assert batch[0].problem == "the file holds no bytes"
    assert "cut short" in batch[1].problem
    assert batch[2].problem == "it is no file, or a link that leads nowhere"


def test_what_was_read_says_size_hash_and_stamp(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", PIXELS)
    (tmp_path / "b.png").write_bytes(b"no picture")
    ((whole, broken),) = read_batches([path, tmp_path / "b.png"])
    assert whole.pixels == 11 * 14
    assert whole.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert whole.stamp == (path.stat().st_size, path.stat().st_mtime_ns)
    assert (broken.sha256, broken.stamp[0]) == ("", 10)


def test_a_batch_has_a_bound_in_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "LARGE_PX", 2 * 11 * 14)
    paths = [save(tmp_path / f"{number}.png", PIXELS) for number in range(3)]
    paths.insert(1, save(tmp_path / "large.png", np.zeros([20, 30], np.uint8)))
    batches = list(read_batches(paths))
    assert [[picture.path.name for picture in batch] for batch in batches] == [
        ["0.png"], ["large.png"], ["1.png", "2.png"],
    ]  # fmt: skip


@settings(deadline=None, max_examples=50)
@given(sizes=st.lists(st.sampled_from([1, LARGE_PX // 9, LARGE_PX]), max_size=600))
def test_the_batches_of_each_shard_are_those_of_all(sizes: list[int]) -> None:
    pictures = [Picture(Path(str(place)), b"", pixels=size) for place, size in enumerate(sizes)]
    shards = [batch for shard in cut(pictures, SHARD_SIZE) for batch in incoming._gather(shard)]
    assert list(incoming._gather(pictures)) == shards
    assert all(len(batch) <= BATCH_SIZE for batch in shards)


def test_a_list_names_each_file_once_in_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    for content, expected in (
        (b"b\na\r\n\nb\n", ["b", "a"]),
        (b"b\0a c\n\0b\0", ["b", "a c\n"]),
        (b"./x/../y\n\xff.png", ["x/../y", "\udcff.png"]),
    ):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
        assert find_pictures("-") == [Path(name) for name in expected]
