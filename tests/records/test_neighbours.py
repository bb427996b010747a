import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from records.fingerprints import (
    FINGERPRINT_DTYPE,
    FINGERPRINT_LENGTH,
    TURNS,
    fingerprint,
    turn_pixels,
    undo_turn,
)
from records.neighbours import nearest


def draw_noise(count: int, seed: int = 0, side: int = 32) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return list(rng.integers(0, 256, (count, side, side), dtype=np.uint8))


def describe(pictures: list[np.ndarray]) -> np.ndarray:
    described = [fingerprint(grey) for grey in pictures]
    return np.array(described, FINGERPRINT_DTYPE).reshape(-1, FINGERPRINT_LENGTH)


@pytest.mark.parametrize("turn", TURNS)
def test_a_turned_copy_is_the_nearest(turn: int) -> None:
    pictures = draw_noise(30)
    pictures.append(turn_pixels(pictures[4], turn))
    assert (4, 30, turn) in nearest(describe(pictures), 1)
    # The other way round, the copy is the one to turn.
    pictures[4], pictures[30] = pictures[30], pictures[4]
    assert (4, 30, undo_turn(turn)) in nearest(describe(pictures), 1)


@pytest.mark.parametrize("crop", [(4, 4, 4, 4), (5, 0, 0, 5), (0, 5, 5, 0)])
def test_a_cropped_copy_is_among_the_nearest(crop: tuple[int, int, int, int]) -> None:
    pictures = draw_noise(30, side=100)
    top, bottom, left, right = crop
    pictures.append(pictures[7][top : 100 - bottom, left : 100 - right])
    assert (7, 30, 0) in nearest(describe(pictures), 3)


def test_what_all_pictures_share_does_not_count() -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64] + 0.5
    # Waves of amplitude 80 that are the same in all pictures, and noise of amplitude 5.
    shared = 128 + 80 * np.cos(np.pi * 2 * x / 64) * np.cos(np.pi * y / 64)
    own = rng.normal(0, 5, (100, 64, 64))
    again = own[3] + rng.normal(0, 1, (64, 64))
    pictures = np.clip(shared + np.concatenate([own, again[None]]), 0, 255).astype(np.uint8)
    hits = nearest(describe(list(pictures)), 1)
    assert (3, 100, 0) in hits


@given(st.integers(0, 30), st.integers(1, 40), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_hits_are_few_sorted_and_of_two_pictures(count: int, most: int, seed: int) -> None:
    hits = nearest(describe(draw_noise(count, seed)), most)
    assert hits == sorted(set(hits))
    assert all(0 <= one < other < count and turn in TURNS for one, other, turn in hits)
    assert len(hits) <= count * most
    if count > 1:
        assert {picture for hit in hits for picture in hit[:2]} == set(range(count))


@given(st.permutations(range(25)))
@settings(max_examples=20, deadline=None)
def test_the_order_of_pictures_does_not_matter(order: list[int]) -> None:
    fingerprints = describe(draw_noise(25))
    found = {
        (order[one], order[other], turn)
        if order[one] < order[other]
        else (order[other], order[one], undo_turn(turn))
        for one, other, turn in nearest(fingerprints[order], 3)
    }
    assert found == set(nearest(fingerprints, 3))


def test_pictures_without_structure_have_no_neighbours() -> None:
    pictures = [np.full((9, 9), grey, np.uint8) for grey in range(100, 120)]
    assert nearest(describe(pictures), 5) == []
    pictures += draw_noise(2)
    assert {hit[:2] for hit in nearest(describe(pictures), 5)} == {(20, 21)}


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    fingerprints = describe(draw_noise(50))
    whole = nearest(fingerprints, 4)
    monkeypatch.setattr("records.neighbours._CHUNK", 7)
    assert nearest(fingerprints, 4) == whole
