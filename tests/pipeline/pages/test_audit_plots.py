"""The drawings of the audit's page: coordinates and pixels by hand, invariants by hypothesis."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from pipeline.pages.audit_plots import (
    APART_GREY_VALUES,
    CELLS,
    CHART_UNITS,
    draw_coverage,
    draw_grey_lines,
    draw_size_dots,
    measure_coverage,
)


def _points(text: str) -> list[tuple[float, float]]:
    pairs = (pair.split(",") for pair in text.split())
    return [(float(x), float(y)) for x, y in pairs]


def test_lines_have_the_heights_of_their_fractions() -> None:
    # Heights are square roots of fractions over the largest of all, 0.64: 5/8, 1, 1/2, 0.
    [line] = draw_grey_lines({"io": (0.25, 0.64, 0.16, 0.0)})
    assert _points(line.points) == [(0.5, 37.5), (1.5, 0.0), (2.5, 50.0), (3.5, 100.0)]
    first, _ = draw_grey_lines({"io": (0.25, 0.75), "nio": (0.0, 1.0)})
    assert _points(first.points) == [(0.5, 50.0), (1.5, 13.4)]


def test_mean_is_that_of_the_middle_of_each_range() -> None:
    dark, light = (0.0,) * 10 + (1.0,) + (0.0,) * 53, (0.0,) * 63 + (1.0,)
    lines = draw_grey_lines({"dark": dark, "light": light})
    # Ranges of 4 grey values: 40 to 43 and 252 to 255.
    assert [line.mean for line in lines] == [41.5, 253.5]
    assert [line.difference for line in lines] == [-212.0, 212.0]
    assert [line.distance for line in lines] == [212.0, 212.0]


@pytest.mark.parametrize(("shift", "is_apart"), [(3, False), (4, True)])
def test_a_class_is_apart_from_a_sixteenth_of_the_range(shift: int, is_apart: bool) -> None:
    assert APART_GREY_VALUES == 16
    histograms = {name: np.zeros(64) for name in ("a", "b", "c")}
    for name, place in (("a", 20), ("b", 20), ("c", 20 + shift)):
        histograms[name][place] = 1.0
    lines = draw_grey_lines({name: tuple(values) for name, values in histograms.items()})
    # The others differ from c by half as much: one of their two others is the same as they.
    assert [line.is_apart for line in lines] == [False, False, is_apart]


def test_a_single_class_differs_from_nothing() -> None:
    [line] = draw_grey_lines({"io": (0.0, 1.0)})
    assert (line.difference, line.is_apart) == (0.0, False)
    assert draw_grey_lines({}) == []


def test_forty_lines_are_told_apart() -> None:
    lines = draw_grey_lines({str(number): (0.5, 0.5) for number in range(50)})
    assert len(lines) == 50
    assert len({(line.colour, line.dash) for line in lines[:40]}) == 40


def test_dots_lie_where_their_sizes_are() -> None:
    dots = draw_size_dots({(400, 100): 4, (200, 200): 1})
    assert [(dot.x, dot.y) for dot in dots] == [(50, 50), (100, 75)]
    # Areas grow with the number of pictures.
    assert dots[1].radius == pytest.approx(2 * dots[0].radius)
    assert draw_size_dots({}) == []


@given(
    st.dictionaries(
        st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)), st.integers(1, 10**5), max_size=50
    )
)
def test_dots_lie_in_the_chart(sizes: dict[tuple[int, int], int]) -> None:
    dots = draw_size_dots(sizes)
    assert len(dots) <= len(sizes)
    for dot in dots:
        assert 0 <= dot.x <= CHART_UNITS
        assert 0 <= dot.y <= CHART_UNITS
        assert 0 < dot.radius <= 4


def test_many_sizes_are_no_more_dots_than_the_chart_has_places() -> None:
    sizes = {(500 + n % 400, 500 + n // 400): 1 for n in range(160_000)}
    assert len(draw_size_dots(sizes)) < 46 * 46


def test_coverage_is_the_part_of_each_cell() -> None:
    # The left upper quarter, and all of the picture.
    coverage = measure_coverage(np.array([[0, 0, 0.5, 0.5], [0, 0, 1, 1]], float))
    assert coverage.shape == (CELLS, CELLS)
    half = CELLS // 2
    assert (coverage[:half, :half] == 1).all()
    assert (coverage[half:] == 0.5).all()
    assert (coverage[:, half:] == 0.5).all()


def test_rows_of_the_map_run_down_the_picture() -> None:
    low_and_wide = measure_coverage(np.array([[0.0, 0.75, 1.0, 1.0]]))
    assert (low_and_wide[: 3 * CELLS // 4] == 0).all()
    assert (low_and_wide[3 * CELLS // 4 :] == 1).all()


def test_a_box_smaller_than_a_cell_is_on_the_map() -> None:
    side = 0.25 / CELLS
    place = 3.5 / CELLS
    coverage = measure_coverage(np.array([[place, place, place + side, place + side]]))
    assert coverage[3, 3] == pytest.approx(1 / 16)
    assert np.count_nonzero(coverage) == 1


_CORNERS = arrays.arrays(
    np.float64, st.tuples(st.integers(1, 30), st.just(4)), elements=st.floats(0, 1)
)


@given(_CORNERS)
def test_coverage_adds_up_to_the_areas(corners: np.ndarray) -> None:
    boxes = np.hstack([np.minimum(corners[:, :2], corners[:, 2:]),
                       np.maximum(corners[:, :2], corners[:, 2:])])  # fmt: skip
    coverage = measure_coverage(boxes)
    assert coverage.min() >= 0
    assert coverage.max() <= 1
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    assert math.isclose(coverage.mean(), areas.mean(), abs_tol=1e-9)


def test_more_boxes_than_are_counted_at_once() -> None:
    boxes = np.tile([[0.0, 0.0, 0.5, 1.0]], (70_000, 1))
    boxes[65_536:] = (0.5, 0.0, 1.0, 1.0)
    coverage = measure_coverage(boxes)
    assert coverage[:, : CELLS // 2] == pytest.approx(65_536 / 70_000)
    assert coverage[:, CELLS // 2 :] == pytest.approx(4_464 / 70_000)


def test_the_map_is_white_where_nothing_lies_and_darkest_where_most_does() -> None:
    coverage = np.zeros((CELLS, CELLS))
    coverage[5, 7], coverage[6, 7] = 0.02, 0.01
    kind, content = draw_coverage(coverage).split(",")
    assert kind == "data:image/png;base64"
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))).astype(int).sum(axis=2)
    assert pixels.shape == (CELLS, CELLS)
    assert pixels[5, 7] == pixels.min() < pixels[6, 7] < 3 * 255
    assert np.count_nonzero(pixels < 3 * 255) == 2


def test_a_map_without_boxes_is_white() -> None:
    content = draw_coverage(measure_coverage(np.empty((0, 4)))).split(",")[1]
    assert (np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))) == 255).all()
