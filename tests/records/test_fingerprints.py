import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.fft import dctn

from records.fingerprints import (
    FINGERPRINT_DTYPE,
    FINGERPRINT_LENGTH,
    FREQUENCIES,
    TURNS,
    as_matrices,
    fingerprint,
    is_flat,
    pixel_centres,
    turn_matrices,
    turn_pixels,
    undo_turn,
    waves,
)

SHAPES = arrays.array_shapes(min_dims=2, max_dims=2, max_side=300)


def draw_noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


@given(arrays.arrays(np.uint8, SHAPES))
def test_any_picture_has_a_small_fingerprint(grey: np.ndarray) -> None:
    described = fingerprint(grey)
    assert described.dtype == FINGERPRINT_DTYPE
    assert described.shape == (FINGERPRINT_LENGTH,)
    assert described.nbytes <= 256
    assert np.isfinite(described).all()


@pytest.mark.parametrize("down", [0, 3])
@pytest.mark.parametrize("across", [1, 10])
def test_a_wave_is_one_entry(down: int, across: int) -> None:
    y, x = np.mgrid[:64, :64] + 0.5
    wave = np.cos(np.pi * down * y / 64) * np.cos(np.pi * across * x / 64)
    matrix = as_matrices(fingerprint(np.round(100 + 60 * wave).astype(np.uint8)))
    expected = np.zeros((FREQUENCIES, FREQUENCIES))
    expected[0, 0] = 100
    expected[down, across] = 60 / (2 if down else np.sqrt(2))
    np.testing.assert_allclose(matrix, expected, atol=0.3)


def test_it_is_the_orthonormal_transform_in_grey_levels() -> None:
    grey = draw_noise(64, 64)
    reference = dctn(grey.astype(float), norm="ortho")[:FREQUENCIES, :FREQUENCIES] / 64
    np.testing.assert_allclose(as_matrices(fingerprint(grey)), reference, rtol=1e-3, atol=1e-3)


def test_the_squares_add_up_to_the_variance_and_waves_lead_back() -> None:
    matrix = np.zeros((FREQUENCIES, FREQUENCIES))
    matrix[0, 0], matrix[2, 1], matrix[0, 5], matrix[10, 10] = 120, 9, -20, 14
    grey = waves(pixel_centres(64)) @ matrix @ waves(pixel_centres(64)).T
    found = as_matrices(fingerprint(np.round(grey).astype(np.uint8)))
    np.testing.assert_allclose(found, matrix, atol=0.1)
    assert np.sum(np.square(found)) - found[0, 0] ** 2 == pytest.approx(np.var(grey), rel=0.01)


@pytest.mark.parametrize("turn", TURNS)
def test_turning_a_picture_turns_its_matrix(turn: int) -> None:
    grey = draw_noise(64, 128)
    turned = as_matrices(fingerprint(turn_pixels(grey, turn)))
    expected = turn_matrices(as_matrices(fingerprint(grey)), turn)
    np.testing.assert_allclose(turned, expected, atol=2e-2)


# Of other sides a pixel may lie on the border of two cells of the square and goes to one of them: a
# line there can be in another cell once the picture is turned.
WHOLE_CELLS = st.sampled_from([1, 2, 8, 32, 64, 128, 192, 256])


@given(arrays.arrays(np.uint8, st.tuples(WHOLE_CELLS, WHOLE_CELLS)), st.sampled_from(TURNS))
def test_turning_any_picture_turns_its_matrix_to_rounding(grey: np.ndarray, turn: int) -> None:
    turned = as_matrices(fingerprint(turn_pixels(grey, turn)))
    expected = turn_matrices(as_matrices(fingerprint(grey)), turn)
    # Pixels of the square that the picture is stretched to are whole grey levels.
    np.testing.assert_allclose(turned, expected, atol=0.6, rtol=2e-3)


def test_mirroring_changes_the_sign_of_odd_frequencies() -> None:
    grey = draw_noise(64, 128)
    matrix = as_matrices(fingerprint(grey))
    signs = np.where(np.arange(FREQUENCIES) % 2, -1, 1)
    for turned, expected in [
        (grey[:, ::-1], matrix * signs),
        (grey[::-1], matrix * signs[:, None]),
        (grey[::-1, ::-1], matrix * signs * signs[:, None]),
        (grey.T, matrix.T),
    ]:
        np.testing.assert_allclose(as_matrices(fingerprint(turned)), expected, atol=2e-2)


@pytest.mark.parametrize("turn", TURNS)
def test_a_turn_can_be_undone(turn: int) -> None:
    grey = draw_noise(3, 5)
    there = turn_pixels(grey, turn)
    assert there.shape == ((5, 3) if turn & 4 else (3, 5))
    np.testing.assert_array_equal(turn_pixels(there, undo_turn(turn)), grey)


def test_the_turns_are_all_the_ways_to_lay_a_picture_down() -> None:
    grey = draw_noise(4, 4)
    ways = {turn_pixels(grey, turn).tobytes() for turn in TURNS}
    expected = {np.rot90(side, count).tobytes() for side in (grey, grey.T) for count in range(4)}
    assert ways == expected
    np.testing.assert_array_equal(turn_pixels(grey, 5), np.rot90(grey, -1))


@given(st.integers(0, 1000))
def test_gain_scales_it(seed: int) -> None:
    grey = draw_noise(64, 64, seed) // 2
    np.testing.assert_allclose(
        fingerprint(grey * 2).astype(float),
        2 * fingerprint(grey).astype(float),
        rtol=2e-3,
        atol=1e-4,
    )


@given(st.integers(1, 3), st.integers(1, 3))
def test_enlarging_leaves_it_alone(down: int, across: int) -> None:
    grey = draw_noise(64, 64)
    larger = grey.repeat(down, axis=0).repeat(across, axis=1)
    np.testing.assert_array_equal(fingerprint(larger), fingerprint(grey))


@given(st.integers(0, 255), st.integers(1, 300), st.integers(1, 300))
def test_a_picture_without_structure_is_its_grey(grey: int, height: int, width: int) -> None:
    described = fingerprint(np.full((height, width), grey, np.uint8))
    assert described.tolist() == [grey] + [0] * (FINGERPRINT_LENGTH - 1)
    assert is_flat(described[None]).tolist() == [True]


def test_a_single_spot_is_structure() -> None:
    grey = np.full((200, 200), 90, np.uint8)
    grey[100:104, 20:24] = 120
    assert is_flat(fingerprint(grey)[None]).tolist() == [False]
