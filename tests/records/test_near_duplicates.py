import functools
import io
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter

from records.fingerprints import FINGERPRINT_DTYPE, FINGERPRINT_LENGTH, fingerprint
from records.near_duplicates import NEIGHBOURS, NearPair, find_near_duplicates
from records.sample import draw_picture

Change = Callable[[np.ndarray], np.ndarray]


@functools.cache
def draw_texture(seed: int, height: int = 120, width: int = 160) -> np.ndarray:
    """A surface with structure of every size, such as rough metal has."""
    rng = np.random.default_rng(seed)
    layers = [
        gaussian_filter(rng.normal(0, 15 * blur, (height, width)), blur) for blur in (1, 3, 9)
    ]
    return np.clip(128 + sum(layers), 20, 235).astype(np.uint8)


def draw_board(seed: int) -> np.ndarray:
    return draw_picture(np.random.SeedSequence(seed)).pixels


def search(pictures: Sequence[np.ndarray]) -> list[NearPair]:
    described = [fingerprint(grey) for grey in pictures]
    fingerprints = np.array(described, FINGERPRINT_DTYPE).reshape(-1, FINGERPRINT_LENGTH)
    return find_near_duplicates(fingerprints, range(len(pictures)), pictures.__getitem__)


def resize(grey: np.ndarray, width: int, height: int) -> np.ndarray:
    return np.asarray(Image.fromarray(grey).resize((width, height), Image.Resampling.BICUBIC))


def save_again(grey: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "JPEG", quality=70)
    return np.asarray(Image.open(buffer))


def fill_edge(grey: np.ndarray) -> np.ndarray:
    return np.pad(grey, ((2, 0), (0, 2)), mode="edge")[:-2, 2:]


CHANGES: dict[str, tuple[Change, str]] = {
    "mirrored": (lambda grey: grey[:, ::-1], "mirrored left to right"),
    "upside down": (lambda grey: grey[::-1], "mirrored top to bottom"),
    "both": (lambda grey: grey[::-1, ::-1], "turned by 180 degrees"),
    "clockwise": (lambda grey: np.rot90(grey, -1), "turned by 90 degrees"),
    "anticlockwise": (np.rot90, "turned by 90 degrees"),
    "transposed": (lambda grey: grey.T, "mirrored and turned by 90 degrees"),
    "coded again": (save_again, ""),
    "brighter": (lambda grey: np.round(grey * 1.05).astype(np.uint8), ""),
    "darker": (lambda grey: np.round(grey * 0.95).astype(np.uint8), ""),
    "wrapped": (lambda grey: np.roll(grey, (2, -2), (0, 1)), "shifted or cropped"),
    "edge filled": (fill_edge, "shifted or cropped"),
    "cut": (lambda grey: grey[2:, :-2], "shifted or cropped"),
    "cropped": (lambda grey: grey[6:-6, 8:-8], "shifted or cropped"),
    "corner": (lambda grey: grey[6:, :-8], "shifted or cropped"),
    "cropped and enlarged": (
        lambda grey: resize(grey[3:-6, 8:-4], 160, 120),
        "shifted or cropped",
    ),
    "half": (lambda grey: resize(grey, 80, 60), "resized"),
    "mirrored and cropped": (
        lambda grey: grey[4:-4, 5:-5][:, ::-1],
        "mirrored left to right, shifted or cropped",
    ),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_copy_among_textures_is_found_and_named(kind: str) -> None:
    change, how = CHANGES[kind]
    pictures = [draw_texture(seed) for seed in range(30)]
    pictures.append(np.ascontiguousarray(change(pictures[11])))
    (pair,) = search(pictures)
    assert (pair.first, pair.second, pair.how) == (11, 30, how)
    assert 0.7 < pair.similarity <= 1.0


@pytest.fixture(scope="module")
def boards() -> list[np.ndarray]:
    return [draw_board(seed) for seed in range(60)]


def test_boards_of_one_kind_are_no_duplicates(boards: list[np.ndarray]) -> None:
    assert search(boards) == []


@pytest.mark.parametrize("kind", ["mirrored", "coded again", "brighter", "wrapped", "cropped"])
def test_a_copy_among_boards_is_found(boards: list[np.ndarray], kind: str) -> None:
    copy = np.ascontiguousarray(CHANGES[kind][0](boards[5]))
    pairs = search([*boards, copy])
    assert [(pair.first, pair.second) for pair in pairs] == [(5, 60)]


def test_equal_pictures_have_similarity_1() -> None:
    pictures = [draw_texture(seed) for seed in range(10)]
    assert search([*pictures, pictures[3], pictures[3]]) == [
        NearPair(3, 10, 1.0, ""),
        NearPair(3, 11, 1.0, ""),
        NearPair(10, 11, 1.0, ""),
    ]


def test_many_copies_of_one_picture_are_joined() -> None:
    count = 3 * NEIGHBOURS
    copies = [draw_texture(0)] * count
    pairs = search([*copies, *(draw_texture(seed) for seed in range(1, 20))])
    joined = {0}
    for pair in pairs:
        assert pair.second < count
        if joined & {pair.first, pair.second}:
            joined |= {pair.first, pair.second}
    assert joined == set(range(count))
    assert len(pairs) <= count * NEIGHBOURS


@given(st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_unrelated_noise_is_not_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shapes = [(8 + index % 90, 8 + 7 * index % 60) for index in range(40)]
    assert search([rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]) == []


def test_pictures_without_structure_are_alike_when_equal() -> None:
    greys = [50, 51, 60, 50, 63, 60, 255]
    flat = [np.full((20 + index, 30), grey, np.uint8) for index, grey in enumerate(greys)]
    assert search(flat) == [NearPair(0, 3, 1.0, ""), NearPair(2, 5, 1.0, "")]


def draw_bare(row: int, spot: int) -> np.ndarray:
    """A bare picture with a spot that its fingerprint does not show."""
    bare = np.full((400, 400), 120, np.uint8)
    bare[row : row + 2, 100:102] += np.uint8(spot)
    assert fingerprint(bare).tolist() == [120] + [0] * (FINGERPRINT_LENGTH - 1)
    return bare


def test_a_spot_tells_bare_pictures_apart() -> None:
    assert search([draw_bare(200, 0), draw_bare(200, 30), draw_bare(200, 0)]) == [
        NearPair(0, 2, 1.0, "")
    ]


def test_of_many_bare_pictures_the_same_pairs_are_found_in_any_order() -> None:
    pictures = [draw_bare(10 * row, 5) for row in range(2 * NEIGHBOURS)]
    pairs = [(pair.first, pair.second) for pair in search(pictures)]
    assert len(pairs) == NEIGHBOURS**2 + sum(range(NEIGHBOURS))
    order = [*range(0, len(pictures), 2), *range(1, len(pictures), 2)]
    again = search([pictures[index] for index in order])
    assert sorted(tuple(sorted((order[pair.first], order[pair.second]))) for pair in again) == pairs


@given(st.permutations(range(24)))
@settings(max_examples=8, deadline=None)
def test_the_order_of_pictures_does_not_matter(order: list[int]) -> None:
    pictures = [draw_texture(seed, 64, 64) for seed in range(18)]
    pictures += [np.ascontiguousarray(change(pictures[4])) for change, _ in
                 (CHANGES["mirrored"], CHANGES["coded again"], CHANGES["cut"])]  # fmt: skip
    pictures += [pictures[2], np.full((9, 9), 7, np.uint8), np.full((9, 9), 7, np.uint8)]
    found = {
        (*sorted((order[pair.first], order[pair.second])), pair.similarity, pair.how)
        for pair in search([pictures[index] for index in order])
    }
    expected = {(pair.first, pair.second, pair.similarity, pair.how) for pair in search(pictures)}
    assert found == expected
    assert {pair[:2] for pair in expected} == {
        (4, 18), (4, 19), (4, 20), (18, 19), (18, 20), (19, 20), (2, 21), (22, 23)
    }  # fmt: skip


def test_few_pictures_will_do() -> None:
    assert search([]) == []
    assert search([draw_texture(0)]) == []
    assert search([draw_texture(0), draw_texture(1)]) == []
    assert search([draw_texture(0), save_again(draw_texture(0))]) != []


def test_pictures_are_loaded_only_where_something_looks_alike() -> None:
    pictures = [draw_texture(seed) for seed in range(30)]
    pictures.append(pictures[8][:, ::-1])
    loaded = set()

    def load(index: int) -> np.ndarray:
        loaded.add(index)
        return pictures[index]

    fingerprints = np.array([fingerprint(grey) for grey in pictures])
    pairs = find_near_duplicates(fingerprints, range(len(pictures)), load)
    assert [(pair.first, pair.second) for pair in pairs] == [(8, 30)]
    assert {8, 30} <= loaded
    assert len(loaded) < 15
