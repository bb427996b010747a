from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.lines import Line2D
from scipy.stats import spearmanr, ttest_rel

from models.cam import make_cam
from models.randomization import randomized
from pipeline.figures.faithfulness import faithfulness_figure, sanity_figure
from pipeline.figures.palette import GREY
from pipeline.maps.faithfulness import (
    RANDOM,
    UNIFORM,
    Batch,
    Faithfulness,
    Procedure,
    faithfulness_json,
    measure_faithfulness,
    write_faithfulness,
)
from pipeline.maps.sanity import (
    draw_random_maps,
    estimate_mean,
    lay_out,
    measure_sanity,
    rank_pixels,
    rank_similarity,
    sanity_json,
    write_sanity,
)

Floats = npt.NDArray[np.float32]

BLACK = Procedure(shown_on="black", deleted_to="black", inserted_into="black", steps=4, cells=2)
# Of pictures of 8 x 8: the upper left quarter, which the model below looks at, and the rest.
QUARTER = np.zeros([1, 8, 8], np.float32)
QUARTER[:, :4, :4] = 1
WHITE = np.ones([1, 8, 8, 1], np.float32)


def look_at_the_quarter(images: Floats) -> Floats:
    """Probability of class 1: the mean grey of the upper left quarter."""
    share = images[:, :4, :4].mean(axis=(1, 2, 3))
    return np.stack([1 - share, share], axis=1)


def measure(
    maps: Mapping[str, Floats],
    procedure: Procedure = BLACK,
    *,
    images: Floats = WHITE,
    classes: tuple[int, ...] = (1,),
) -> dict[str, Faithfulness]:
    measured = measure_faithfulness(look_at_the_quarter, [(images, classes, maps)], procedure)
    return {one.method: one for one in measured}


def values(one: Faithfulness) -> list[float]:
    return [score.value for score in one.scores.values()]


def test_the_scores_of_a_perfect_and_of_an_opposite_map_are_known() -> None:
    measured = measure({"right": QUARTER, "wrong": 1 - QUARTER})
    assert list(measured) == ["right", "wrong", RANDOM, UNIFORM]
    right, wrong = measured["right"], measured["wrong"]
    assert right.deletion_curve == (1, 0, 0, 0, 0)
    assert right.insertion_curve == (0, 1, 1, 1, 1)
    assert wrong.deletion_curve == (1, 1, 1, 1, 0)
    assert wrong.insertion_curve == (0, 0, 0, 0, 1)
    # Drop, increase, deletion, insertion; an area of one full step and half of one, of four.
    assert values(right) == [0, 0, 0.125, 0.875]
    assert values(wrong) == [100, 0, 0.875, 0.125]
    assert values(measured[UNIFORM])[:2] == [0, 0]
    # Of the other class all is reversed.
    assert values(measure({"a": QUARTER}, classes=(0,))["a"]) == [0, 0, 0.875, 0.125]


def test_what_is_hidden_is_the_mean_unless_black_is_asked_for() -> None:
    image = np.full([1, 8, 8, 1], 0.4, np.float32)
    image[:, :4, :4] = 0.8  # the mean of all is 0.5
    half = np.full([1, 8, 8], 0.5, np.float32)
    grey = measure({"half": half}, Procedure(), images=image)["half"]
    assert values(grey)[0] == pytest.approx(100 * (0.8 - 0.65) / 0.8)
    assert grey.deletion_curve[::16] == pytest.approx((0.8, 0.5))
    black = measure({"half": half}, images=image)["half"]
    assert values(black)[0] == pytest.approx(50)
    # A darker quarter becomes brighter when it is hidden: confidence increases.
    dark = measure({"rest": 1 - QUARTER}, Procedure(), images=1 - image)["rest"]
    assert values(dark)[:2] == [0, 1]
    # Nothing can be lost of a probability of 0, and an empty map shows nothing.
    nothing = measure({"empty": 0 * QUARTER}, images=0 * WHITE)["empty"]
    assert values(nothing) == [0, 0, 0, 0]


def test_the_blur_is_a_gaussian_with_repeated_edges() -> None:
    image = np.random.default_rng(0).uniform(0, 1, [1, 8, 8, 1]).astype(np.float32)
    procedure = Procedure(inserted_into="blurred", blur_fraction=0.125)
    start = measure({"a": QUARTER}, procedure, images=image)["a"].insertion_curve[0]
    weights = np.exp(-(np.arange(-4, 5) ** 2) / 2.0)  # a deviation of one pixel
    weights /= weights.sum()
    blurred = np.pad(image[0, :, :, 0], 4, mode="edge")
    for axis in (0, 1):
        blurred = np.apply_along_axis(np.convolve, axis, blurred, weights, "valid")
    assert start == pytest.approx(blurred[:4, :4].mean(), abs=1e-5)


def score_by_loops(image: Floats, heatmap: Floats, chance: Floats, steps: int) -> list[float]:
    """Drop, its control, deletion and insertion of one picture, to its mean, pixel by pixel."""

    def ask(picture: Floats) -> float:
        return float(look_at_the_quarter(picture[None, :, :, None])[0, 1])

    places = [(row, column) for row in range(8) for column in range(8)]
    order = sorted(places, key=lambda place: (-heatmap[place], -chance[place], place))
    by_chance = sorted(places, key=lambda place: (-chance[place], place))
    mean = image.mean()
    laid_out = np.zeros_like(heatmap)
    for value, place in zip(sorted(heatmap.ravel(), reverse=True), by_chance, strict=True):
        laid_out[place] = value
    whole = ask(image)
    drops = []
    for weights in (heatmap, laid_out):
        shown = ask((weights * image + (1 - weights) * mean).astype(np.float32))
        drops.append(100 * max(0.0, whole - shown) / whole)
    areas = [0.0, 0.0]
    for step in range(steps + 1):
        out, into = image.copy(), np.full_like(image, mean)
        for place in order[: round(step * 64 / steps)]:
            out[place], into[place] = mean, image[place]
        share = 0.5 / steps if step in (0, steps) else 1 / steps
        areas[0] += share * ask(out)
        areas[1] += share * ask(into)
    return [*drops, *areas]


def test_scores_are_those_of_loops_over_pixels() -> None:
    random = np.random.default_rng(5)
    images = random.uniform(0, 1, [7, 8, 8, 1]).astype(np.float32)
    maps = (random.integers(0, 3, [7, 8, 8]) / 2).astype(np.float32)  # full of ties
    maps[3] = 0
    procedure = Procedure(inserted_into="mean", steps=5, cells=3, seed=9)
    chance = draw_random_maps((7, 8, 8), 3, 9)
    expected = np.array(
        [score_by_loops(images[row, :, :, 0], maps[row], chance[row], 5) for row in range(7)]
    )
    others = np.array(
        [score_by_loops(images[row, :, :, 0], chance[row], chance[row], 5) for row in range(7)]
    )
    measured = measure({"a": maps}, procedure, images=images, classes=(1,) * 7)
    drop, increase, deletion, insertion = measured["a"].scores.values()
    for score, own, control in (
        (drop, expected[:, 0], expected[:, 1]),
        (deletion, expected[:, 2], others[:, 2]),
        (insertion, expected[:, 3], others[:, 3]),
    ):
        assert score.value == pytest.approx(own.mean(), abs=1e-4)
        assert score.control == pytest.approx(control.mean(), abs=1e-4)
        paired = ttest_rel(own, control)
        assert score.difference.value == pytest.approx((own - control).mean(), abs=1e-4)
        bounds = [score.difference.low, score.difference.high]
        assert bounds == pytest.approx([*paired.confidence_interval()], abs=1e-3)
    assert 0 < increase.value < 1
    assert values(measured[RANDOM])[2:] == pytest.approx(others[:, 2:].mean(axis=0), abs=1e-5)


def test_a_map_that_says_nothing_is_worth_what_chance_is() -> None:
    images = np.random.default_rng(2).uniform(0, 1, [5, 8, 8, 1]).astype(np.float32)
    nothing = np.zeros([5, 8, 8], np.float32)
    measured = measure(
        {"empty": nothing, "full": nothing + 1}, Procedure(), images=images, classes=(1,) * 5
    )
    for method in ("empty", "full", RANDOM, UNIFORM):
        for score in measured[method].scores.values():
            mean = score.difference
            assert (mean.value, mean.low, mean.high) == (0, 0, 0)
    assert values(measured["full"]) == values(measured[UNIFORM])


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 9))
def test_scores_do_not_depend_on_batches_nor_on_the_order_of_methods(
    seed: int, pictures: int, batch: int
) -> None:
    random = np.random.default_rng(seed)
    images = random.uniform(0, 1, [pictures, 8, 8, 1]).astype(np.float32)
    classes = random.integers(0, 2, pictures)
    coarse = random.integers(0, 9, [pictures, 8, 8]).astype(np.float32) / 8
    maps = {"one": coarse, "same order": np.square(coarse), "other": coarse[:, ::-1]}

    def cut(names: list[str], size: int) -> Iterator[Batch]:
        for start in range(0, pictures, size):
            rows = slice(start, start + size)
            yield images[rows], classes[rows].tolist(), {name: maps[name][rows] for name in names}

    procedure = Procedure(steps=3)
    whole = measure_faithfulness(look_at_the_quarter, cut(list(maps), pictures), procedure)
    parts = measure_faithfulness(look_at_the_quarter, cut(list(maps)[::-1], batch), procedure)
    by_name = {one.method: one for one in parts}
    for one in whole:
        assert values(one) == pytest.approx(values(by_name[one.method]), abs=1e-4)
        drop, increase, deletion, insertion = values(one)
        assert 0 <= drop <= 100
        assert min(increase, deletion, insertion) >= 0
        assert max(increase, deletion, insertion) <= 1
    assert whole[0].deletion_curve == whole[1].deletion_curve
    assert whole[0].insertion_curve == whole[1].insertion_curve
    again = measure_faithfulness(look_at_the_quarter, cut(list(maps), pictures), procedure)
    assert again == whole


@settings(deadline=None)
@given(st.integers(0, 10**6))
def test_an_order_holds_each_pixel_once_and_laying_out_keeps_all_values(seed: int) -> None:
    random = np.random.default_rng(seed)
    maps = random.integers(0, 4, [3, 5, 6]).astype(np.float32)
    order = random.uniform(0, 1, [3, 5, 6]).astype(np.float32)
    ranks = rank_pixels(maps, order).reshape(3, -1)
    np.testing.assert_array_equal(np.sort(ranks, axis=1), np.tile(np.arange(30), [3, 1]))
    laid_out = lay_out(maps, order)
    for row in range(3):
        np.testing.assert_array_equal(np.sort(laid_out[row], None), np.sort(maps[row], None))
        descending = laid_out[row].ravel()[np.argsort(-order[row].ravel())]
        assert (np.diff(descending) <= 0).all()


def test_random_maps_are_enlarged_as_real_ones_and_belong_to_their_picture() -> None:
    maps = draw_random_maps((4, 40, 24), 8, 3)
    assert maps.dtype == np.float32
    np.testing.assert_array_equal(maps.max(axis=(1, 2)), np.ones(4))
    assert maps.min() >= 0
    grid = np.random.default_rng([3, 2]).random((8, 8))
    enlarged = tf.image.resize(grid[..., None], (40, 24), method="bilinear").numpy()[..., 0]
    np.testing.assert_allclose(maps[2], enlarged / enlarged.max(), atol=1e-6)
    np.testing.assert_array_equal(draw_random_maps((2, 40, 24), 8, 3, 2), maps[2:])
    assert np.abs(draw_random_maps((4, 40, 24), 8, 4) - maps).max() > 0.5


def test_no_batch_is_larger_than_those_handed_in() -> None:
    sizes: list[int] = []

    def predict(images: Floats) -> Floats:
        sizes.append(len(images))
        assert images.dtype == np.float32
        return look_at_the_quarter(images)

    batch: Batch = (np.repeat(WHITE, 3, 0), [1] * 3, {"a": np.repeat(QUARTER, 3, 0)})
    (one, *_) = measure_faithfulness(predict, iter([batch, batch]), BLACK)
    assert one.pictures == 6
    # Two batches; the whole pictures; of two methods two pictures shown and two curves.
    assert sizes == [3] * (2 * (1 + 2 * (2 + 2 * 5)))


@pytest.mark.parametrize(
    ("batch", "complaint"),
    [
        ((WHITE, [1], {RANDOM: QUARTER}), "name 'random'"),
        ((WHITE, [1], {"a": 2 * QUARTER}), "must be 0 to 1"),
        ((WHITE, [1], {"a": QUARTER * np.nan}), "must be 0 to 1"),
        ((WHITE, [1], {"a": QUARTER[:, :4]}), "in the pictures' size"),
        ((WHITE, [1, 1], {"a": QUARTER}), "2 classes do not fit"),
        ((WHITE, [-1], {"a": QUARTER}), "do not fit"),
        ((WHITE[0], [1], {"a": QUARTER}), "do not fit"),
        ((WHITE * np.nan, [1], {"a": QUARTER}), "not one row of probabilities"),
        ((WHITE * 3, [1], {"a": QUARTER}), "not one row of probabilities"),
    ],
)
def test_what_does_not_fit_is_refused(batch: Batch, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        measure_faithfulness(look_at_the_quarter, [batch], BLACK)


def test_other_methods_no_pictures_and_unknown_references_are_refused() -> None:
    batches: list[Batch] = [(WHITE, [1], {"a": QUARTER}), (WHITE, [1], {"b": QUARTER})]
    for some in (batches, []):
        with pytest.raises(ValueError, match="no picture, or not every batch"):
            measure_faithfulness(look_at_the_quarter, some, BLACK)
    with pytest.raises(ValueError, match="mean, blurred or black, not 'grey'"):
        measure_faithfulness(look_at_the_quarter, batches[:1], Procedure(shown_on="grey"))


def test_table_and_figure_hold_all_scores(tmp_path: Path) -> None:
    procedure = Procedure(shown_on="black", deleted_to="black", inserted_into="black", steps=4)
    measured = list(measure({"=right": QUARTER, "wrong": 1 - QUARTER}, procedure).values())
    write_faithfulness(tmp_path / "faithfulness.csv", measured)
    rows = list(csv.DictReader((tmp_path / "faithfulness.csv").open()))
    assert len(rows) == 4 * 4
    assert rows[2]["method"] == "'=right"
    assert rows[2]["score"] == "deletion_area"
    assert (rows[2]["value"], rows[2]["better"], rows[2]["pictures"]) == ("0.125", "lower", "1")
    assert (rows[2]["low"], rows[2]["high"]) == ("", "")  # one picture has no interval
    content = json.loads(json.dumps(faithfulness_json(measured, procedure), allow_nan=False))
    assert content["procedure"]["steps"] == 4
    assert content["methods"][0]["scores"]["insertion_area"]["value"] == 0.875
    deletion, insertion = faithfulness_figure(content).axes
    lines = {str(line.get_label()): line for line in deletion.lines}
    assert list(lines) == ["=right", "wrong", "random map"]
    np.testing.assert_allclose(points(lines["=right"], "x"), [0, 25, 50, 75, 100])
    np.testing.assert_allclose(points(lines["=right"], "y"), [1, 0, 0, 0, 0])
    np.testing.assert_allclose(points(insertion.lines[1], "y"), [0, 0, 0, 0, 1])
    assert lines["random map"].get_color() == GREY
    right = content["methods"][0]
    many = content | {"methods": [right | {"method": str(place)} for place in range(6)]}
    drawn = faithfulness_figure(many).axes[0].lines
    looks = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in drawn}
    assert len(looks) == 6
    assert len({line.get_marker() for line in drawn}) == 6
    with pytest.raises(ValueError, match="At most 6"):
        faithfulness_figure(content | {"methods": [right] * 7})


@pytest.mark.parametrize("seed", range(3))
def test_similarity_is_that_of_scipy(seed: int) -> None:
    random = np.random.default_rng(seed)
    one, other = random.integers(0, 5, [2, 4, 6, 7]).astype(np.float32)
    other += one
    similarity = rank_similarity(one, other)
    for row in range(4):
        expected = spearmanr(one[row].ravel(), other[row].ravel()).statistic
        assert similarity[row] == pytest.approx(expected)
    np.testing.assert_allclose(rank_similarity(one, one**3), 1)
    np.testing.assert_allclose(rank_similarity(one, -one), -1)  # no absolute value


def test_constant_maps_are_similar_to_constant_ones_alone() -> None:
    empty, full = np.zeros([1, 8, 8], np.float32), np.ones([1, 8, 8], np.float32)
    for one, other, similarity in ((empty, QUARTER, 0), (QUARTER, full, 0), (empty, full, 1)):
        assert rank_similarity(one, other) == similarity


def test_the_mean_has_the_interval_of_student() -> None:
    mean = estimate_mean(np.array([1.0, 2.0, 6.0]))
    # Deviation sqrt 7, and 4.30265 is the 97.5 % quantile for two degrees of freedom.
    margin = 4.30265 * math.sqrt(7 / 3)
    assert (mean.value, mean.low, mean.high) == pytest.approx((3, 3 - margin, 3 + margin), abs=1e-4)


def points(line: Line2D, axis: str) -> npt.NDArray[np.float64]:
    return np.asarray(line.get_xdata() if axis == "x" else line.get_ydata(), np.float64)


def find_edges(images: Floats) -> Floats:
    """Gradient magnitude of the picture: looks like an explanation, and knows no model."""
    down, right = np.gradient(images.mean(axis=-1), axis=(1, 2))
    edges = np.hypot(down, right)
    return np.asarray(edges / edges.max(axis=(1, 2), keepdims=True), np.float32)


def test_an_edge_detector_fails_and_a_map_of_the_model_passes() -> None:
    keras.utils.set_random_seed(1)
    image = keras.Input([16, 16, 2])
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    x = keras.layers.Conv2D(16, 3, padding="same", activation="relu", name="features")(x)
    x = keras.layers.Dense(10, activation="relu")(keras.layers.Flatten()(x))
    model = keras.Model(image, keras.layers.Dense(3, name="logits")(x))
    images = np.random.default_rng(0).uniform(0, 1, (8, 16, 16, 2)).astype(np.float32)
    cam = make_cam("gradcam++", model, "features")

    def explain() -> dict[str, Floats]:
        return {"cam": cam(images, [0, 1, 2, 0, 1, 2, 0, 1]), "edges": find_edges(images)}

    with randomized(model) as cascade:
        of_model, of_edges = measure_sanity(explain, cascade)
    assert [step.similarity.value for step in of_edges.steps] == pytest.approx([1, 1, 1, 1])
    assert not of_edges.changes
    assert of_edges.verdict == "does not change: it shows the picture, not the model"
    assert of_model.changes
    assert of_model.verdict == "changes"
    assert of_model.steps[-1].similarity.value < 0.5
    assert [step.fraction for step in of_model.steps][-1] == 1
    assert of_model.pictures == 8


def _sanity_of(maps: list[Floats], bound: float = 0.5) -> list[dict[str, Any]]:
    states = iter(maps)
    stages = [(f"layer_${place}", place / (len(maps) - 1)) for place in range(1, len(maps))]
    return sanity_json(measure_sanity(lambda: {"a": next(states)}, iter(stages), bound=bound))


def test_stages_are_compared_with_the_trained_model_each(tmp_path: Path) -> None:
    ramp = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 8, 8)
    trained = np.concatenate([ramp, ramp, 0 * ramp])
    half = np.concatenate([ramp, 1 - ramp, ramp])
    (one,) = _sanity_of([trained, half, 0 * trained])
    assert one["constant"] == 1
    assert [step["constant"] for step in one["steps"]] == [0, 3]
    # Same, opposite, and from empty to full; then all empty, one of them as before.
    means = [step["similarity"]["value"] for step in one["steps"]]
    assert means == pytest.approx([0, 1 / 3])
    assert one["changes"]
    (strict,) = _sanity_of([trained, half, 0 * trained], bound=0.3)
    assert not strict["changes"]
    for reached in ([], [("top", 0.4)]):
        with pytest.raises(ValueError, match="must cover all weights"):
            measure_sanity(lambda: {"a": trained}, reached)
    maps = iter([trained, half])
    measured = measure_sanity(lambda: {"a": next(maps)}, [("top", 1.0)])
    write_sanity(tmp_path / "sanity.csv", measured)
    (row,) = csv.DictReader((tmp_path / "sanity.csv").open())
    assert (row["method"], row["stage"], row["fraction"]) == ("a", "top", "1")
    assert (row["constant"], row["pictures"]) == ("0", "3")
    # Similarities 1, -1 and 0; a bound below 0 is a number, not a text that is guarded.
    assert float(row["similarity"]) == pytest.approx(0, abs=1e-6)
    assert float(row["low"]) == pytest.approx(-4.30265 / math.sqrt(3), abs=1e-4)


def test_the_figure_shows_every_stage() -> None:
    ramp = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 8, 8)
    content = json.loads(json.dumps(_sanity_of([ramp, 1 - ramp, 0 * ramp]), allow_nan=False))
    (axes,) = sanity_figure(content * 6).axes
    drawn = [line for line in axes.lines if line.get_label() == "a"]
    assert len(drawn) == 6
    for line in drawn:
        np.testing.assert_allclose(points(line, "y"), [1, -1, 0])
    ticks = [text.get_text() for text in axes.get_xticklabels()]
    assert ticks == ["as trained", "layer_$1\n50.0 %", "layer_$2\n100 %"]
    assert axes.get_ylim()[0] < -1
    with pytest.raises(ValueError, match="At most 6"):
        sanity_figure(content * 7)
