from __future__ import annotations

import math

import numpy as np
import pytest

from records.board import Board, Joint, Void
from records.defects import DEFECT_KINDS, LARGE_VOID_FRACTION, LIMITS, add_defect, has_places
from records.drawing import (
    HARMLESS_VOID_FRACTION,
    HEIGHT_PX,
    NORMAL_SOLDER_THICKNESS,
    WIDTH_PX,
    draw_board,
)
from records.types import BoundingBox
from records.xray import draw_exposure, expose, thickness_of, to_pixels


def generator(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def share_inside(difference: np.ndarray, box: BoundingBox) -> float:
    rows, columns = slice(int(box.ymin), int(box.ymax)), slice(int(box.xmin), int(box.xmax))
    return float(difference[rows, columns].sum() / difference.sum())


def board_of(*joints: Joint) -> Board:
    return Board(pitch=48.0, angle=0.0, joints=joints, leads=(), plates=())


def joint(*, solder: float = 1.0, voids: tuple[Void, ...] = ()) -> Joint:
    return Joint("pad", 0, 100.0, 80.0, 16.0, 12.0, 8.0, solder, voids=voids)


def test_the_area_of_a_joint_is_that_of_its_rectangle_less_its_corners() -> None:
    assert joint().area_px == pytest.approx(32 * 24 - (4 - math.pi) * 64)
    land = thickness_of(board_of(joint(solder=0.0)))[1]
    assert land.sum() / land.max() == pytest.approx(joint().area_px, rel=0.01)


def test_a_void_takes_away_its_depth_at_its_centre() -> None:
    whole, _ = thickness_of(board_of(joint()))
    holed, _ = thickness_of(board_of(joint(voids=(Void(0.5, 0.5, 4.0, 0.75),))))
    assert holed[80, 100] == pytest.approx(0.25 * whole[80, 100], rel=1e-5)
    rows, columns = np.nonzero(whole != holed)
    assert np.hypot(rows + 0.5 - 80.5, columns + 0.5 - 100.5).max() < 4.0


def test_the_turned_board_is_the_board_turned() -> None:
    turned = Board(48.0, math.pi / 2, (joint(),), (), ())
    upright = Joint("pad", 0, 100.0, 80.0, 12.0, 16.0, 8.0, 1.0)
    expected, _ = thickness_of(board_of(upright))
    np.testing.assert_allclose(thickness_of(turned)[0], expected, atol=1e-4)


def test_more_solder_is_brighter() -> None:
    exposure = draw_exposure(generator(1))
    centre = [
        expose(board_of(joint(solder=solder)), exposure, None)[80, 100]
        for solder in (0.0, 0.4, 1.0)
    ]
    assert centre == sorted(centre)
    assert centre[2] - centre[0] > 20


def test_grey_values_are_rounded_and_clipped() -> None:
    grey = np.array([[-3.0, 0.4, 0.6, 254.6, 300.0]], np.float32)
    assert to_pixels(grey).tolist() == [[0, 0, 1, 255, 255]]


@pytest.mark.parametrize("seed", range(10))
def test_joints_in_order_keep_to_the_limits(seed: int) -> None:
    least, most = NORMAL_SOLDER_THICKNESS
    for item in draw_board(generator(seed)).joints:
        assert item.void_fraction <= HARMLESS_VOID_FRACTION
        assert least <= item.solder * item.spread**2 <= most


@pytest.mark.parametrize("seed", range(10))
def test_spoilt_joints_are_beyond_the_limits(seed: int) -> None:
    spoilt = {}
    for kind in DEFECT_KINDS:
        board, _ = add_defect(draw_board(generator(seed)), kind, generator(seed, 1))
        spoilt[kind] = [item for item in board.joints if item.is_spoilt]
    assert [item.solder for item in spoilt["missing_joint"]] == [0.0]
    (little,), (void,) = spoilt["little_solder"], spoilt["large_void"]
    volume = little.solder * little.spread**2
    assert 0.1 < volume <= LIMITS["most_solder_fraction_little_solder"] + 1e-3
    assert LARGE_VOID_FRACTION[0] <= void.void_fraction <= LARGE_VOID_FRACTION[1]
    assert len(spoilt["bridge"]) == 2


@pytest.mark.parametrize("kind", DEFECT_KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_the_box_is_on_the_defect(kind: str, seed: int) -> None:
    board, exposure = draw_board(generator(seed)), draw_exposure(generator(seed, 2))
    spoilt, defect = add_defect(board, kind, generator(seed, 1))
    assert defect.name == kind
    assert defect.box.is_within(WIDTH_PX, HEIGHT_PX)
    solder = np.abs(thickness_of(spoilt)[0] - thickness_of(board)[0])
    # A large void takes the place of the joint's small ones, which may have lain outside its box.
    assert share_inside(solder, defect.box) > (0.97 if kind == "large_void" else 0.999)
    # The unsharp mask spreads a faint halo around; squares weigh what an eye would see.
    grey = expose(spoilt, exposure, None) - expose(board, exposure, None)
    assert share_inside(grey**2, defect.box) > 0.9
    assert np.abs(grey).max() > 15


def test_a_board_takes_two_defects_in_any_order_and_never_on_one_joint() -> None:
    for seed, first in enumerate(DEFECT_KINDS):
        for second in DEFECT_KINDS:
            board = draw_board(generator(seed))
            assert has_places(board)
            board, _ = add_defect(board, first, generator(seed, 1))
            before = sum(item.is_spoilt for item in board.joints)
            board, _ = add_defect(board, second, generator(seed, 2))
            added = 2 if second == "bridge" else 1
            assert sum(item.is_spoilt for item in board.joints) == before + added


def test_no_place_for_a_defect_is_an_error() -> None:
    with pytest.raises(ValueError, match="no place for bridge"):
        add_defect(board_of(joint()), "bridge", generator(0))
