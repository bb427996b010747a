from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.drift.baseline import DriftBaseline, Reference, rank_among
from pipeline.drift.fit import Measured, fit_baseline
from records.errors import InputError

CLASSES = ("io", "nio")


def measured(values: np.ndarray, decided: np.ndarray | None = None) -> Measured:
    """Pictures named p1, p2, ... with one statistic."""
    names = tuple(f"p{number}.png" for number in range(1, len(values) + 1))
    decided = np.zeros(len(values), np.int64) if decided is None else decided
    return Measured(names, decided, np.asarray(values, np.float32)[:, None])


def fit(train: Measured, name: str = "mean_grey", validation: Measured | None = None) -> Reference:
    baseline = fit_baseline([name], CLASSES, train=train, validation=validation or train)
    return baseline.references[0]


def test_a_rank_is_the_share_below_and_half_of_what_is_equal() -> None:
    assert rank_among(np.array([0, 1, 2, 2.5, 9]), [1, 2, 2, 4]).tolist() == [
        *(0, 1 / 8, 2 / 4, 3 / 4, 1)
    ]


def test_the_mean_rank_is_the_statistic_of_mann_and_whitney() -> None:
    rng = np.random.default_rng(0)
    old, new = rng.integers(0, 30, 80), rng.integers(5, 40, 50)
    expected = scipy.stats.mannwhitneyu(new, old).statistic / (80 * 50)
    assert rank_among(new, np.sort(old).tolist()).mean() == pytest.approx(expected)


def test_a_picture_is_ranked_among_those_of_its_class() -> None:
    decided = np.repeat([0, 1], 40)
    values = np.concatenate([np.arange(40), np.arange(100, 140)])
    baseline = fit_baseline(
        ["mean_grey"], CLASSES, train=measured(values, decided), validation=measured(values)
    )
    ranks = baseline.rank(np.array([[120.0], [120.0], [20.0]]), np.array([0, 1, 1]))
    assert ranks[:, 0].tolist() == [1, (20 + 21) / 80, 0]


def test_a_class_of_few_pictures_is_not_compared() -> None:
    decided = np.repeat([0, 1], [40, 19])
    values = np.concatenate([np.zeros(40), np.full(19, 5.0)])
    train = measured(values, decided)
    baseline = fit_baseline(["mean_grey"], CLASSES, train=train, validation=train)
    assert list(map(len, baseline.references[0].samples)) == [40, 0, 0]
    new, classes = np.array([[9.0], [9.0]]), np.array([0, 1])
    assert baseline.rank(new, classes).tolist() == [[1], [0.5]]
    assert baseline.medians(new, classes).tolist() == [[0], [9]]
    assert np.isnan(baseline.medians(new, np.array([1, 1]))).all()


def test_where_each_class_has_few_pictures_all_are_compared_with_all() -> None:
    values, decided = np.repeat([0.0, 5.0], [15, 5]), np.repeat([0, 1], [15, 5])
    train = measured(values, decided)
    baseline = fit_baseline(["mean_grey"], CLASSES, train=train, validation=train)
    assert list(map(len, baseline.references[0].samples)) == [0, 0, 20]
    assert baseline.rank(np.array([[5.0]]), np.array([1])).item() == (15 + 20) / 40
    # Runs of 4: three of zeros, among 11 zeros and 5 fives; 3 zeros and a five, among 12 and 4;
    # fives, among 15 zeros and a five.
    zeros, mixed, fives = 11 / 2 / 16, (3 * 6 / 16 + 14 / 16) / 4, (15 + 0.5) / 16
    shifts = np.array([zeros, zeros, zeros, mixed, fives]) - 0.5
    assert baseline.references[0].spread == pytest.approx(np.sqrt(np.mean(shifts**2)))


def test_what_the_model_makes_of_pictures_is_measured_on_validation() -> None:
    train, validation = measured(np.zeros(30)), measured(np.ones(25))
    for name, split, value in (("mean_grey", "train", 0.0), ("confidence", "validation", 1.0)):
        reference = fit(train, name, validation)
        assert (reference.name, reference.split) == (name, split)
        assert set(reference.samples[0]) == {value}


def test_many_pictures_are_thinned_out_evenly() -> None:
    sample = fit(measured(np.arange(1000.0))).samples[0]
    assert sample == tuple(range(5, 1000, 10))


def test_the_spread_is_that_of_runs_in_the_order_of_their_names() -> None:
    # Runs of 5 of 25, each value above all of the run before: mean ranks 0, 1/4, 1/2, 3/4, 1.
    rising = measured(np.arange(25.0))
    assert fit(rising).spread == pytest.approx(np.sqrt((0.5 + 0.125) / 5))
    mixed = np.random.default_rng(0).permutation(25)
    shuffled = Measured(
        tuple(rising.source_ids[row] for row in mixed), rising.decided, rising.statistics[mixed]
    )
    assert fit(shuffled) == fit(rising)


def test_pictures_that_are_all_the_same_have_no_spread() -> None:
    assert fit(measured(np.full(25, 3.0))).spread == 0


def make_baseline(spread: float) -> DriftBaseline:
    sample = tuple(np.arange(20.0).tolist())
    return DriftBaseline(CLASSES, (Reference("mean_grey", "train", (sample, sample, ()), spread),))


@pytest.mark.parametrize(
    ("counts", "spread", "expected"),
    [
        ([192, 0], 0.05, 4 * np.sqrt(0.05**2 + 1 / (12 * 192))),
        ([96, 96], 0.08, 4 * np.sqrt(0.08**2 / 2 + 1 / (12 * 192))),
        ([144, 48], 0.08, 4 * np.sqrt(0.08**2 * 10 / 16 + 1 / (12 * 192))),
        ([200, 0], 0.0, 0.15),
        ([200, 0], 0.2, 0.45),
    ],
)
def test_the_limit_by_hand(counts: list[int], spread: float, expected: float) -> None:
    decided = np.repeat([0, 1], counts)
    assert make_baseline(spread).limits(decided).tolist() == pytest.approx([expected])


def test_medians_are_those_of_the_classes_in_the_mix() -> None:
    low, high = tuple(map(float, range(21))), tuple(map(float, range(100, 121)))
    baseline = DriftBaseline(CLASSES, (Reference("noise", "train", (low, high, ()), 0.1),))
    new = np.array([[1.0], [3.0], [2.0], [50.0]])
    before, now = baseline.medians(new, np.array([0, 0, 0, 1]))
    assert before.tolist() == [(3 * 10 + 110) / 4]
    assert now.tolist() == [(3 * 2 + 50) / 4]


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_reading_gives_what_was_written(count: int, seed: int) -> None:
    import tempfile

    rng = np.random.default_rng(seed)
    train = Measured(
        tuple(f"{number}" for number in rng.permutation(count)),
        rng.integers(0, 2, count),
        rng.normal(size=[count, 2]).astype(np.float32),
    )
    baseline = fit_baseline(["noise", "confidence"], CLASSES, train=train, validation=train)
    with tempfile.TemporaryDirectory() as folder:
        baseline.write(Path(folder) / "drift.json")
        assert DriftBaseline.read(Path(folder) / "drift.json") == baseline


def test_what_was_measured_is_ranked_in_the_middle(tmp_path: Path) -> None:
    values = np.random.default_rng(3).normal(size=150).astype(np.float32)
    train = measured(values, np.arange(150) % 2)  # few enough that every one is kept
    baseline = fit_baseline(["noise"], CLASSES, train=train, validation=train)
    baseline.write(tmp_path / "drift.json")
    read = DriftBaseline.read(tmp_path / "drift.json")
    assert read.rank(train.statistics, train.decided).mean() == pytest.approx(0.5, abs=1e-12)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: text[:-30],
        lambda text: "[]",
        lambda text: text.replace('"form": 1', '"form": 0'),
        lambda text: text.replace('"spread"', '"sprawl"'),
        lambda text: text.replace('"nio"', '"other"', 1),
    ],
)
def test_a_damaged_file_is_refused_with_a_remedy(tmp_path: Path, change: object) -> None:
    path = tmp_path / "drift.json"
    make_baseline(0.1).write(path)
    text = change(path.read_text())  # type: ignore[operator]
    path.write_text(text)
    with pytest.raises(InputError, match=r"drift\.json") as refused:
        DriftBaseline.read(path)
    assert "--stage=export" in refused.value.remedy


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        DriftBaseline.read(tmp_path / "drift.json")


def test_the_file_is_strict_json_in_plain_words(tmp_path: Path) -> None:
    make_baseline(0.1).write(tmp_path / "drift.json")
    values = json.loads((tmp_path / "drift.json").read_text())
    assert values["classes"] == ["io", "nio"]
    assert values["references"][0]["name"] == "mean_grey"
    assert values["references"][0]["samples"]["nio"] == list(range(20))


@pytest.mark.parametrize(
    "change",
    [
        {"statistics": np.zeros([3, 2])},
        {"statistics": np.full([3, 1], np.nan)},
        {"decided": np.zeros(2, int)},
        {"source_ids": (), "decided": np.zeros(0, int), "statistics": np.zeros([0, 1])},
    ],
)
def test_what_does_not_fit_is_refused(change: dict) -> None:
    good = measured(np.arange(3.0))
    with pytest.raises(ValueError, match="validation"):
        fit(good, validation=dataclasses.replace(good, **change))
