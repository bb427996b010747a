"""Maps against boxes: values by hand, brute force, and what must hold for any map."""

from __future__ import annotations

import csv
import io
import json
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from scipy import ndimage

from pipeline.evaluation.rates import Rate, measure_rate
from pipeline.figures.localization import localization_figure
from pipeline.maps.localization import (
    BASELINES,
    OVERLAPS,
    THRESHOLDS,
    MapScores,
    ScoredPicture,
    centre_map,
    mark_boxes,
    mean_rate,
    pointing_rate,
    score_map,
    tune_thresholds,
    uniform_map,
)
from pipeline.maps.localization_table import (
    LocalizationRow,
    format_rows,
    localization_json,
    summarize,
)
from records.sheets import format_csv

Array = npt.NDArray[np.float32]
NOTHING = Rate(0, 0, None, None, None)
FULL = np.array([[0, 0, 1, 1]], np.float32)


@st.composite
def maps(draw: st.DrawFn) -> Array:
    """Small maps with many equal values; never 0 everywhere."""
    shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    heatmap = draw(arrays.arrays(np.float32, shape, elements=st.sampled_from([0, 0.5, 2, 3, 4])))
    heatmap[draw(st.integers(0, shape[0] - 1)), draw(st.integers(0, shape[1] - 1))] = 4
    return heatmap


@st.composite
def some_boxes(draw: st.DrawFn) -> Array:
    """One to three boxes at multiples of 1/32, which floats hold; some without an area."""
    sides = st.tuples(st.integers(0, 32), st.integers(0, 32)).map(sorted)
    drawn = [(draw(sides), draw(sides)) for _ in range(draw(st.integers(1, 3)))]
    return np.array([[x[0], y[0], x[1], y[1]] for x, y in drawn], np.float32) / np.float32(32)


def by_counting(low: float, high: float, size: int) -> set[int]:
    """The oracle: along an axis the pixels whose centres are in a box, in exact fractions."""
    centres = [Fraction(2 * i + 1, 2 * size) for i in range(size)]
    held = {i for i, c in enumerate(centres) if Fraction(low) <= c < Fraction(high)}
    middle = (Fraction(low) + Fraction(high)) / 2
    # The later of two that are equally near: the one the middle, being its first edge, is in.
    return held or {max(range(size), key=lambda i: (-abs(centres[i] - middle), i))}


def mask_by_counting(boxes: Array, height: int, width: int) -> npt.NDArray[np.bool_]:
    mask = np.zeros((height, width), bool)
    for xmin, ymin, xmax, ymax in boxes.tolist():
        for row in by_counting(ymin, ymax, height):
            for column in by_counting(xmin, xmax, width):
                mask[row, column] = True
    return mask


def overlaps_by_flooding(heatmap: Array, boxes: Array) -> list[float]:
    """The oracle: each part is walked through pixel by pixel, each pair of boxes met one by one."""
    height, width = heatmap.shape
    best = []
    for threshold in THRESHOLDS:
        left_over = set(zip(*np.nonzero(heatmap / heatmap.max() >= threshold), strict=True))
        found = [0.0]
        while left_over:
            part = [left_over.pop()]
            for row, column in part:
                near = {(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left_over
                left_over -= near
                part += near
            rows, columns = zip(*part, strict=True)
            left, right = min(columns) / width, (max(columns) + 1) / width
            top, bottom = min(rows) / height, (max(rows) + 1) / height
            for xmin, ymin, xmax, ymax in boxes.astype(np.float64).tolist():
                across = max(min(right, xmax) - max(left, xmin), 0)
                down = max(min(bottom, ymax) - max(top, ymin), 0)
                areas = (right - left) * (bottom - top) + (xmax - xmin) * (ymax - ymin)
                found.append(across * down / (areas - across * down))
        best.append(max(found))
    return best


def picture(
    name: str = "a", overlap: float | list[float] = 1.0, *, right: bool = True, pointing: float = 1
) -> ScoredPicture:
    """A picture with a boxed fifth and energy twice that."""
    overlaps = overlap if isinstance(overlap, list) else [overlap] * len(THRESHOLDS)
    return ScoredPicture(name, right, MapScores(pointing, 0.4, 0.2, tuple(overlaps)))


def reaching(*indices: int) -> list[float]:
    """Overlaps of 1 at some thresholds, 0 at the others."""
    return [float(i in indices) for i in range(len(THRESHOLDS))]


@settings(deadline=None)
@given(heatmap=maps(), boxes=some_boxes())
def test_scores_are_those_of_brute_force(heatmap: Array, boxes: Array) -> None:
    scores = score_map(heatmap, boxes)
    mask = mask_by_counting(boxes, *heatmap.shape)
    np.testing.assert_array_equal(mark_boxes(boxes, *heatmap.shape), mask)
    peaks = list(zip(*np.nonzero(heatmap == heatmap.max()), strict=True))
    assert scores.pointing == pytest.approx(sum(mask[peak] for peak in peaks) / len(peaks))
    assert scores.energy == pytest.approx((heatmap * mask).sum() / heatmap.sum())
    assert scores.area == pytest.approx(mask.sum() / mask.size)
    assert scores.overlaps == pytest.approx(overlaps_by_flooding(heatmap, boxes))


@pytest.mark.parametrize("shape", [(60, 40), (7, 90), (1, 1), (1, 30), (30, 1)])
def test_overlaps_of_noise_and_of_smooth_maps_are_those_of_flooding(
    shape: tuple[int, int],
) -> None:
    generator = np.random.default_rng(0)
    noise = generator.random(shape, np.float32)
    boxes = np.array([[0.1, 0.2, 0.5, 0.9], [0.6, 0.1, 0.9, 0.3]], np.float32)
    for heatmap in (noise, ndimage.gaussian_filter(noise, 3, mode="wrap") ** 8):
        found = score_map(heatmap, boxes).overlaps
        assert found == pytest.approx(overlaps_by_flooding(heatmap, boxes))


@given(heatmap=maps(), boxes=some_boxes(), power=st.integers(-100, 100))
def test_scale_does_not_matter(heatmap: Array, boxes: Array, power: int) -> None:
    scaled = heatmap * np.float32(2.0**power)
    assert score_map(scaled, boxes) == score_map(heatmap, boxes)


@given(heatmap=maps(), boxes=some_boxes())
def test_one_more_box_never_lowers_a_score(heatmap: Array, boxes: Array) -> None:
    fewer, more = score_map(heatmap, boxes[:1]), score_map(heatmap, boxes)
    assert more.pointing >= fewer.pointing and more.area >= fewer.area
    assert more.energy >= fewer.energy - 1e-12
    assert all(a >= b for a, b in zip(more.overlaps, fewer.overlaps, strict=True))


@given(boxes=some_boxes(), shape=st.tuples(st.integers(1, 20), st.integers(1, 20)))
def test_a_uniform_map_scores_the_boxes_share(boxes: Array, shape: tuple[int, int]) -> None:
    scores = score_map(uniform_map(*shape), boxes)
    assert scores.pointing == scores.area
    assert scores.energy == pytest.approx(scores.area)
    largest = max((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes.tolist())
    assert scores.overlaps == pytest.approx([largest] * len(THRESHOLDS))


@given(rows=st.integers(1, 9), columns=st.integers(1, 9), data=st.data())
def test_a_map_that_fills_the_box_scores_1_at_any_resolution(
    rows: int, columns: int, data: st.DataObject
) -> None:
    y, x = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
    bottom, right = data.draw(st.integers(y + 1, rows)), data.draw(st.integers(x + 1, columns))
    box = np.array([[x / columns, y / rows, right / columns, bottom / rows]])
    heatmap = np.zeros((rows, columns), np.float32)
    heatmap[y:bottom, x:right] = 7
    for finer in (1, 3):
        scores = score_map(np.kron(heatmap, np.ones((finer, finer), np.float32)), box)
        assert (scores.pointing, scores.energy) == (1, 1)
        assert scores.overlaps == pytest.approx([1] * len(THRESHOLDS), abs=1e-12)
        assert scores.area == pytest.approx((bottom - y) * (right - x) / (rows * columns))


def test_scores_by_hand() -> None:
    heatmap = np.zeros((4, 4), np.float32)
    heatmap[0, 0], heatmap[3, 3], heatmap[3, 2] = 4, 4, 2
    scores = score_map(heatmap, np.array([[0.5, 0.5, 1, 1]]))
    # One of two maxima, 6 of 10, a quarter; then two of four pixels, and one when the 2 falls out.
    assert (scores.pointing, scores.energy, scores.area) == (0.5, 0.6, 0.25)
    assert dict(zip(THRESHOLDS, scores.overlaps, strict=True)) == {
        threshold: 0.5 if threshold <= 0.5 else 0.25 for threshold in THRESHOLDS
    }


def test_parts_that_touch_at_a_corner_are_one() -> None:
    assert score_map(np.eye(5, dtype=np.float32), FULL).overlaps == (1.0,) * 19
    assert score_map(np.eye(5, dtype=np.float32)[::-1], FULL).overlaps == (1.0,) * 19
    # What leaves a row at its end does not touch what enters the next one.
    apart = np.array([[0, 0, 1], [1, 0, 0]], np.float32)
    assert score_map(apart, FULL).overlaps == pytest.approx([1 / 6] * 19)


def test_an_empty_map_scores_nothing() -> None:
    assert score_map(np.zeros((5, 6), np.float32), FULL) == MapScores(0, 0, 1, (0.0,) * 19)


@pytest.mark.parametrize(
    ("box", "row", "column"),
    [
        ((0.30, 0.60, 0.31, 0.61), slice(2, 3), slice(1, 2)),  # between the centres
        ((1.0, 1.0, 1.0, 1.0), slice(3, 4), slice(3, 4)),
        ((0.0, 0.0, 0.0, 0.0), slice(0, 1), slice(0, 1)),
        ((0.4, 0.0, 0.41, 1.0), slice(0, 4), slice(1, 2)),  # a scratch remains a line
        ((0.125, 0.125, 0.375, 0.375), slice(0, 1), slice(0, 1)),  # edges on centres
    ],
)
def test_no_box_is_empty(box: tuple[float, ...], row: slice, column: slice) -> None:
    expected = np.zeros((4, 4), bool)
    expected[row, column] = True
    np.testing.assert_array_equal(mark_boxes(np.array([box]), 4, 4), expected)


@pytest.mark.parametrize(
    ("heatmap", "boxes", "message"),
    [
        (np.zeros(4), FULL, r"received \(4,\)"),
        (np.zeros((0, 4)), FULL, r"received \(0, 4\)"),
        (np.zeros((4, 4)), FULL[0], r"and \(4,\)"),
        (np.zeros((4, 4)), np.zeros((0, 4)), "no box"),
        (np.full((4, 4), np.nan), FULL, "finite"),
        (np.full((4, 4), np.inf), FULL, "finite"),
        (np.full((4, 4), -1.0), FULL, "finite"),
        (np.ones((4, 4)), np.array([[0.5, 0, 0.4, 1]]), "minima first"),
        (np.ones((4, 4)), np.array([[0.0, 0, 200, 100]]), "fractions"),
        (np.ones((4, 4)), np.array([[np.nan, 0, 1, 1]]), "fractions"),
    ],
)
def test_what_cannot_be_scored_is_an_error(heatmap: Array, boxes: Array, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score_map(heatmap, boxes)


@pytest.mark.parametrize("shape", [(9, 9), (200, 200), (31, 200), (4, 7)])
def test_the_centre_map_points_at_the_centre_and_frames_centred_boxes(
    shape: tuple[int, int],
) -> None:
    heatmap = centre_map(*shape)
    assert heatmap.dtype == np.float32 and heatmap.min() > 0
    np.testing.assert_array_equal(heatmap, heatmap[::-1, ::-1])
    rows, columns = np.nonzero(heatmap == heatmap.max())
    assert len(rows) == (2 - shape[0] % 2) * (2 - shape[1] % 2)
    assert np.abs(rows + 0.5 - shape[0] / 2).max() <= 0.5
    assert np.abs(columns + 0.5 - shape[1] / 2).max() <= 0.5
    for threshold in (0.25, 0.5, 0.75):
        rows, columns = np.nonzero(heatmap >= threshold * heatmap.max())
        for found, size in ((rows, shape[0]), (columns, shape[1])):
            assert np.ptp(found) + 1 == pytest.approx((1 - threshold) * size, abs=2)
    assert score_map(heatmap, np.array([[0.25, 0.25, 0.75, 0.75]])).pointing == 1
    assert score_map(heatmap, np.array([[0.75, 0.0, 1.0, 1.0]])).pointing == 0


def test_the_best_threshold_is_tuned_for_each_overlap_and_the_middle_one_of_several() -> None:
    falling = [0.9 - 0.05 * i for i in range(19)]
    # 0.3 up to index 12, 0.5 up to 8, 0.7 up to 4; the middles of those. Floats are a hair off.
    tuned = tune_thresholds([picture(overlap=falling)])
    assert tuned == {0.3: THRESHOLDS[6], 0.5: THRESHOLDS[4], 0.7: THRESHOLDS[2]}
    # Of four that are equally good the second.
    four = picture(overlap=reaching(3, 4, 10, 11))
    assert tune_thresholds([four]) == dict.fromkeys(OVERLAPS, THRESHOLDS[4])
    assert tune_thresholds([picture(overlap=0.0)]) == dict.fromkeys(OVERLAPS, 0.5)
    assert tune_thresholds([]) == {}


def test_classes_count_the_same_when_thresholds_are_tuned() -> None:
    # 3 of 5 pictures are found at index 2, but at 7 one class of two wholly and half the other.
    pictures = [picture("a", reaching(2))] * 2 + [picture("a", reaching(7))] * 2
    pictures += [picture("b", reaching(7))]
    assert tune_thresholds([*pictures, picture("a", reaching(2))])[0.5] == THRESHOLDS[7]


def test_an_overlap_of_just_so_much_counts_though_boxes_are_rounded() -> None:
    heatmap = np.zeros((7, 70), np.float32)
    heatmap[3, 20:30] = 1
    boxes = np.array([[[20 / 70, 3 / 7, (30 + more) / 70, 4 / 7]] for more in (10, 11)], np.float32)
    pictures = [ScoredPicture("a", is_right=True, scores=score_map(heatmap, box)) for box in boxes]
    rows = summarize("cam", pictures, dict.fromkeys(OVERLAPS, 0.5), ["a"])
    assert rows[0].box_accuracies == (1.0, 0.5, 0.0)


def test_pointing_has_an_exact_interval_that_shares_widen() -> None:
    whole = [picture(pointing=float(i < 7)) for i in range(10)]
    assert pointing_rate(whole) == measure_rate(count=7, of=10)
    shared = pointing_rate([*whole, picture(pointing=0.25)])
    assert (shared.count, shared.of) == (7, 11)
    assert shared.value == pytest.approx(7.25 / 11)
    assert shared.low == measure_rate(count=7, of=11).low
    assert shared.high == measure_rate(count=8, of=11).high
    assert pointing_rate([]) == NOTHING


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)).map(sorted), max_size=5))
def test_the_mean_over_classes_is_in_its_interval(counts: list[list[int]]) -> None:
    rates = [measure_rate(count=count, of=of) for count, of in counts]
    mean, known = mean_rate(rates), [rate for rate in rates if rate.of]
    if not known:
        assert mean == NOTHING
        return
    assert mean.value == pytest.approx(np.mean([count / of for count, of in counts if of]))
    assert 0 <= float(mean.low or 0) <= float(mean.value or 0) <= float(mean.high or 0) <= 1
    assert (mean.count, mean.of) == (sum(r.count for r in rates), sum(r.of for r in rates))
    if len(known) == 1:
        for found, value in ((mean.low, known[0].low), (mean.high, known[0].high)):
            assert found == pytest.approx(value)


def test_the_interval_of_the_mean_holds_the_true_mean_often_enough() -> None:
    generator = np.random.default_rng(0)
    true, of = np.array([0.3, 0.7, 0.9, 0.98]), np.array([20, 60, 30, 60])
    held = []
    for counts in generator.binomial(of, true, (500, 4)).tolist():
        rates = [measure_rate(count=c, of=n) for c, n in zip(counts, of.tolist(), strict=True)]
        mean = mean_rate(rates)
        held.append(float(mean.low or 0) <= true.mean() <= float(mean.high or 0))
    assert np.mean(held) >= 0.95


def _rows(method: str = "cam") -> tuple[LocalizationRow, ...]:
    """Class a: 3 of 4 hits, one picture wrong and missed; class b: a half; class c: no picture."""
    pictures = [picture("a", 0.6)] * 3 + [picture("a", 0.2, right=False, pointing=0)]
    pictures += [picture("b", 0.4, pointing=0.5)]
    return summarize(method, pictures, {0.3: 0.1, 0.5: 0.2, 0.7: 0.3}, ["a", "b", "c"])


def test_rows_by_hand() -> None:
    mean, a, b, c = _rows()
    assert [row.class_name for row in (mean, a, b, c)] == ["", "a", "b", "c"]
    assert a.pointing == measure_rate(count=3, of=4)
    assert a.right_pointing == measure_rate(count=3, of=3)
    assert a.box_accuracies == (0.75, 0.75, 0.0) and a.box_accuracy == 0.5
    assert b.box_accuracies == (1.0, 0.0, 0.0) and b.pointing.count == 0
    assert a.area == pytest.approx(0.2)
    assert a.energy == pytest.approx(0.4)
    assert mean.energy_ratio == pytest.approx(2)
    # Every class with pictures counts the same.
    assert (mean.pointing.value, mean.pointing.count, mean.pointing.of) == (0.625, 3, 5)
    assert (mean.right_pointing.value, mean.right_pointing.of) == (0.75, 4)
    assert mean.box_accuracies == (0.875, 0.375, 0.0)
    assert mean.box_accuracy == pytest.approx(1.25 / 3)
    assert mean.thresholds == a.thresholds == c.thresholds == (0.1, 0.2, 0.3)
    assert c.pointing == c.right_pointing == NOTHING
    assert (c.area, c.energy, c.energy_ratio, c.box_accuracy) == (None,) * 4
    assert c.box_accuracies == (None,) * 3


def test_without_validation_pictures_there_is_no_box_accuracy() -> None:
    mean, a = summarize("cam", [picture()], tune_thresholds([]), ["a"])
    assert mean.box_accuracies == a.box_accuracies == mean.thresholds == (None,) * 3
    assert mean.box_accuracy is None and mean.pointing.value == 1


def test_without_any_picture_all_is_unknown() -> None:
    mean, a = summarize("cam", [], {}, ["a"])
    assert mean.pointing == a.pointing == NOTHING and mean.area is None


def test_the_threshold_used_is_the_one_given() -> None:
    rows = summarize("cam", [picture(overlap=reaching(5))], {0.3: 0.3, 0.5: 0.3, 0.7: 0.35}, ["a"])
    assert rows[0].box_accuracies == (1.0, 1.0, 0.0)


def test_a_picture_of_a_class_that_is_not_listed_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"classes must be a, b; received \['c'\]"):
        summarize("cam", [picture("c")], {}, ["a", "b"])


def test_the_table_and_the_json_hold_every_row() -> None:
    rows = _rows()
    table = list(csv.DictReader(io.StringIO(format_csv(format_rows(rows)))))
    assert [line["class"] for line in table] == ["(mean over classes)", "a", "b", "c"]
    assert (table[1]["method"], table[1]["pictures"], table[1]["hits"]) == ("cam", "4", "3")
    assert (table[0]["pointing"], table[0]["box_accuracy_0.5"]) == ("0.625", "0.375")
    assert (table[2]["threshold_0.7"], table[2]["energy_ratio"]) == ("0.3", "2")
    assert (table[3]["pictures"], table[3]["pointing"], table[3]["box_accuracy"]) == ("0", "", "")
    assert format_rows([]) == [["method", "class"]]
    content = json.loads(json.dumps(localization_json(rows), allow_nan=False))
    assert content["overlaps"] == [0.3, 0.5, 0.7]
    assert content["rows"][1]["pointing"]["count"] == 3
    assert content["rows"][3]["box_accuracies"] == [None] * 3


def _dots(axes: Axes) -> dict[str, list[float]]:
    """Where the dots of each method are, in per cent."""
    drawn = [one for one in axes.containers if isinstance(one, ErrorbarContainer)]
    return {str(one.get_label()): np.asarray(one[0].get_xdata()).tolist() for one in drawn}


def test_the_figure_shows_every_method_and_marks_the_baselines() -> None:
    methods = ("CAM", "Grad-CAM++", *BASELINES)
    figure = localization_figure([row for method in methods for row in _rows(method)])
    top, bottom = figure.axes
    assert list(_dots(top)) == ["CAM", "Grad-CAM++"]
    assert _dots(top)["CAM"] == pytest.approx([62.5, 75, 50, np.nan], nan_ok=True)
    lines = {one.get_label(): one.get_paths()[0].vertices for one in top.collections}
    ends = np.asarray(lines["centre (baseline)"], np.float64)
    np.testing.assert_allclose(ends, [[62.5, -0.4], [62.5, 0.4]])
    names = [text.get_text() for text in top.get_yticklabels()]
    assert names == ["mean over classes (5)", "a (4)", "b (1)", "c (0)"]
    assert _dots(bottom)["CAM"] == pytest.approx([87.5, 37.5, 0, 125 / 3])
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert set(legend) == {"CAM", "Grad-CAM++", "centre (baseline)", "uniform (baseline)"}


@pytest.mark.parametrize("count", [2, 30])
def test_the_figure_is_drawn_with_few_classes_and_many(count: int) -> None:
    names = [f"$class_{i}^" for i in range(count)]  # no formula
    pictures = [picture(name) for name in names]
    rows = [
        row
        for method in ("one", "two", "three", "four", "five", "six", "seven", "eight", "centre")
        for row in summarize(method, pictures, {}, names)
    ]
    figure = localization_figure(rows)
    written = io.BytesIO()
    figure.savefig(written, dpi=40)
    assert written.getvalue().startswith(b"\x89PNG")
