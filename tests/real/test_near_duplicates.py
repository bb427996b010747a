"""The search among real pictures: planted copies, and what it finds in the data sets as published.

Every pair listed here was looked at, side by side: all show one place of the steel. Without
`--real` copies are planted among some of the scratches alone; how many pairs there are in all is in
`test_records_real.py`.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from records.fingerprints import fingerprint
from records.near_duplicates import NearPair, find_near_duplicates

COPIES = 25
# Frames that overlap, the same place under another light, and (`scratches`) pictures of the
# published validation split that are pictures of the training split turned by 90 degrees.
SEEN = {
    "crazing": {(105, 109), (132, 134)},
    "inclusion": {(60, 62), (85, 86), (88, 125), (151, 162), (156, 167), (184, 209), (186, 211),
                  (188, 210), (195, 212), (196, 213), (197, 215), (204, 222), (205, 221),
                  (235, 245), (283, 288)},
    "patches": {(2, 5), (19, 21), (101, 105), (189, 193), (199, 201)},
    "pitted_surface": {(25, 68), (50, 83), (51, 84), (171, 292)},
    "scratches": {(4, 5), (27, 295), (31, 297), (53, 60), (58, 62), (107, 287), (152, 277),
                  (154, 269), (166, 280), (175, 262), (178, 185), (221, 243), (232, 247)},
}  # fmt: skip


def read_greys(paths: list[Path]) -> list[np.ndarray]:
    return [np.asarray(Image.open(path).convert("L")) for path in paths]


def search(pictures: list[np.ndarray]) -> list[NearPair]:
    described = np.array([fingerprint(grey) for grey in pictures])
    return find_near_duplicates(described, range(len(pictures)), pictures.__getitem__)


def flip(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return (grey[:, ::-1], grey[::-1], grey[::-1, ::-1])[rng.integers(3)]


def save_again(grey: np.ndarray, _: np.random.Generator) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "JPEG", quality=70)
    return np.asarray(Image.open(buffer))


def change_gain(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.clip(np.round(grey * rng.choice([0.95, 1.05])), 0, 255).astype(np.uint8)


def shift(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """By 2 pixels along one axis or both: wrapped round, edge filled, or cut."""
    down, across = rng.choice([(0, 2), (0, -2), (2, 0), (-2, 0), (2, 2), (-2, 2)])
    height, width = grey.shape
    if not rng.integers(3):
        return grey[max(down, 0) : height + min(down, 0), max(across, 0) : width + min(across, 0)]
    padded = np.pad(grey, 2, mode="wrap") if rng.integers(2) else np.pad(grey, 2, mode="edge")
    return padded[2 + down :, 2 + across :][:height, :width]


def crop(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """2 to 5 % off each side, each as drawn; every other time enlarged to the old size."""
    height, width = grey.shape
    top, bottom, left, right = rng.uniform(0.02, 0.05, 4)
    inner = grey[round(top * height) : -round(bottom * height)]
    inner = inner[:, round(left * width) : -round(right * width)]
    if rng.integers(2):
        return inner
    enlarged = Image.fromarray(inner).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(enlarged)


CHANGES: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "flip": flip, "jpeg": save_again, "gain": change_gain, "shift": shift, "crop": crop,
}  # fmt: skip


@pytest.fixture(scope="module", params=["scratches/scratches_1*", "*/*"])
def steel(request: pytest.FixtureRequest, real_data: Path) -> tuple[list[Path], list[np.ndarray]]:
    if request.param == "*/*":
        request.getfixturevalue("long_real_data")
    paths = sorted((real_data / "neu-det").glob(f"*/images/{request.param}.jpg"))
    assert len(paths) == (1800 if request.param == "*/*" else 111)
    return paths, read_greys(paths)


def test_planted_copies_are_found_among_steel(steel: tuple[list[Path], list[np.ndarray]]) -> None:
    pictures = list(steel[1])
    rng = np.random.default_rng(0)
    planted = {}
    for kind, change in CHANGES.items():
        for original in rng.choice(len(steel[1]), COPIES, replace=False).tolist():
            planted[original, len(pictures)] = kind
            pictures.append(np.ascontiguousarray(change(pictures[original], rng)))
    found = {(pair.first, pair.second) for pair in search(pictures)}
    counts = Counter(kind for pair, kind in planted.items() if pair in found)
    print("found of each kind:", dict(counts))
    assert counts.total() >= 0.98 * len(planted)


def test_every_pair_in_the_steel_as_published_was_seen_to_be_one(long_real_data: Path) -> None:
    paths = sorted((long_real_data / "neu-det").glob("*/images/*/*.jpg"))
    pictures = read_greys(paths)
    found: dict[str, set[tuple[int, int]]] = {kind: set() for kind in SEEN}
    for pair in search(pictures):
        names = [paths[index].stem.rpartition("_") for index in (pair.first, pair.second)]
        assert names[0][0] == names[1][0]
        numbers = sorted(int(name[2]) for name in names)
        found[names[0][0]].add((numbers[0], numbers[1]))
    print("pairs:", sum(map(len, found.values())))
    assert all(found[kind] <= SEEN[kind] for kind in SEEN)
    # The few that a little noise could tip are allowed to be missing.
    assert sum(map(len, found.values())) >= 30
    assert (101, 105) in found["patches"]
    assert {(27, 295), (152, 277), (154, 269), (166, 280)} <= found["scratches"]


def test_the_shots_of_a_tile_are_put_together(long_real_data: Path) -> None:
    paths = sorted((long_real_data / "magnetic-tile" / "images").glob("*/*.jpg"))
    pairs = search(read_greys(paths))
    ends = [pair.first for pair in pairs], [pair.second for pair in pairs]
    graph = coo_array((np.ones(len(pairs)), ends), shape=(len(paths), len(paths)))
    group_of = connected_components(graph)[1]
    # Nearly every tile was shot six times, under other lights each time.
    sizes = Counter(np.bincount(group_of).tolist())
    print("groups by size:", sorted(sizes.items()))
    assert sizes[6] >= 195
    index_of = {path.stem: index for index, path in enumerate(paths)}
    assert group_of[index_of["exp5_num_85642"]] == group_of[index_of["exp5_num_86031"]]
