import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter

from records.alignment import (
    COARSE_PX,
    FINE_PX,
    Placement,
    Target,
    coarse_structure,
    fine_structure,
    thumbnail,
)
from records.fingerprints import TURNS, fingerprint, turn_pixels, undo_turn

SIDES = (COARSE_PX, *FINE_PX)


def draw_texture(seed: int, side: int = 200) -> np.ndarray:
    """A surface with structure of every size, such as rough metal has."""
    rng = np.random.default_rng(seed)
    layers = [gaussian_filter(rng.normal(0, 15 * blur, (side, side)), blur) for blur in (1, 3, 9)]
    return np.clip(128 + sum(layers), 0, 255).astype(np.uint8)


def structure_of(grey: np.ndarray, side: int) -> np.ndarray:
    if side == COARSE_PX:
        return coarse_structure(fingerprint(grey))
    return fine_structure(thumbnail(grey), side)


def lay(moving: np.ndarray, fixed: np.ndarray, turn: int = 0) -> tuple[Placement, float]:
    placement, similarity = Placement(), 0.0
    for side in SIDES:
        target = Target(structure_of(fixed, side))
        placement, similarity = target.fit(structure_of(moving, side), turn, placement)
    return placement, similarity


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("turn", TURNS)
def test_a_picture_fits_itself_wherever_it_lies(side: int, turn: int) -> None:
    grey = draw_texture(0)
    turned = structure_of(turn_pixels(grey, undo_turn(turn)), side)
    placement, similarity = Target(structure_of(grey, side)).fit(turned, turn, Placement())
    assert similarity == pytest.approx(1.0, abs=0.01)
    assert placement.largest_move < 0.002


@pytest.mark.parametrize(
    ("left", "right", "top", "bottom"),
    [(0, 0, 0, 0), (10, 10, 10, 10), (10, 0, 0, 10), (4, 8, 10, 0), (0, 2, 2, 0)],
)
def test_it_finds_what_was_cropped(left: int, right: int, top: int, bottom: int) -> None:
    grey = draw_texture(1)
    placement, similarity = lay(grey, grey[top : 200 - bottom, left : 200 - right])
    # The crop's x, from -1 to 1, runs over the middle of the whole.
    assert placement.stretch_x == pytest.approx(-(left + right) / 200, abs=0.003)
    assert placement.shift_x == pytest.approx((left - right) / 200, abs=0.003)
    assert placement.stretch_y == pytest.approx(-(top + bottom) / 200, abs=0.003)
    assert placement.shift_y == pytest.approx((top - bottom) / 200, abs=0.003)
    assert similarity > 0.97


def test_the_other_way_round_it_finds_the_inverse() -> None:
    grey = draw_texture(2)
    placement, similarity = lay(grey[:, 10:], grey)
    # x of the crop is (x - 10 / 200) / (190 / 200) of the whole's, both from -1 to 1.
    assert placement.stretch_x == pytest.approx(200 / 190 - 1, abs=0.003)
    assert placement.shift_x == pytest.approx(-10 / 190, abs=0.003)
    assert similarity > 0.97


@given(st.integers(0, 100))
def test_unrelated_textures_do_not_fit(seed: int) -> None:
    assert abs(lay(draw_texture(seed), draw_texture(seed + 1000))[1]) < 0.3


@pytest.mark.parametrize("side", FINE_PX)
def test_brightness_contrast_and_shading_hardly_count(side: int) -> None:
    grey = draw_texture(3)
    # A lamp at the left, half as bright at the right.
    shaded = np.round(grey * np.linspace(1.0, 0.5, 200) + 10).astype(np.uint8)
    target = Target(structure_of(grey, side))
    assert target.fit(structure_of(shaded, side), 0, Placement())[1] > 0.97


@pytest.mark.parametrize("side", SIDES)
def test_nothing_is_like_a_picture_without_structure(side: int) -> None:
    flat = np.full((50, 60), 77, np.uint8)
    for fixed, moving in [(flat, flat), (flat, draw_texture(4)), (draw_texture(4), flat)]:
        target = Target(structure_of(fixed, side))
        similarity = target.fit(structure_of(moving, side), 0, Placement())[1]
        assert similarity == pytest.approx(0.0, abs=1e-3)


numbers = st.floats(-0.02, 0.02)


@given(st.tuples(numbers, numbers, numbers, numbers), st.tuples(numbers, numbers, numbers, numbers))
def test_a_step_is_inverted_and_then_placed(
    first: tuple[float, float, float, float], second: tuple[float, float, float, float]
) -> None:
    placed = Placement(*first).less(np.array(second))
    # What the step does to x = 0.3 and the new placement then, is what the old one did alone.
    for stretch, shift, new_stretch, new_shift, step_stretch, step_shift in [
        (*first[:2], placed.stretch_x, placed.shift_x, *second[:2]),
        (*first[2:], placed.stretch_y, placed.shift_y, *second[2:]),
    ]:
        stepped = (1 + step_stretch) * 0.3 + step_shift
        assert (1 + new_stretch) * stepped + new_shift == pytest.approx((1 + stretch) * 0.3 + shift)


@given(st.tuples(*[st.floats(-3, 3)] * 4))
def test_the_middle_never_leaves_the_other_picture(step: tuple[float, ...]) -> None:
    placed = Placement().less(np.array(step) * 0.3)
    for stretch, shift in [(placed.stretch_x, placed.shift_x), (placed.stretch_y, placed.shift_y)]:
        assert (1 + stretch) * 0.8 + abs(shift) <= 1 + 1e-9


def test_the_largest_move_is_that_of_a_corner() -> None:
    assert Placement().largest_move == 0
    # The right edge, x = 1, goes to 0.96 - 0.04 = 0.92: 4 % of the picture's width.
    assert Placement(-0.04, -0.04, 0.0, 0.02).largest_move == pytest.approx(0.04)


def test_a_thumbnail_is_a_square_whatever_the_picture() -> None:
    for shape in [(1, 1), (3, 500), (128, 128), (700, 40)]:
        grey = np.full(shape, 9, np.uint8)
        assert thumbnail(grey).shape == (FINE_PX[-1], FINE_PX[-1])
        assert np.unique(thumbnail(grey)).tolist() == [9]
    grey = draw_texture(5)
    reference = np.asarray(Image.fromarray(grey).resize((128, 128), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(thumbnail(grey), reference)
