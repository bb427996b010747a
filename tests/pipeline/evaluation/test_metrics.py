"""Counts, rates, intervals, curves."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest
from sklearn.metrics import auc, classification_report, log_loss, roc_auc_score

from pipeline.evaluation.curves import format_area, trace_precision_recall
from pipeline.evaluation.metrics import Metrics, compute_metrics, write_confusion_matrix
from pipeline.evaluation.rates import format_per_cent, measure_rate


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float32)


def _binary(scores: list[float], true: list[int], threshold: float = 0.5) -> Metrics:
    column = np.array(scores, np.float32)
    return compute_metrics(
        true=np.array(true),
        predicted=(column >= threshold).astype(int),
        probabilities=np.stack([1 - column, column], axis=1),
        classes=("io", "nio"),
        positive_class="nio",
    )


# Exact limits as in any table of them.
@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    [
        (0, 10, 0.0, 0.3085),
        (1, 10, 0.0025, 0.4450),
        (5, 10, 0.1871, 0.8129),
        (10, 10, 0.6915, 1.0),
        (0, 59, 0.0, 0.0606),
    ],
)
def test_interval_has_the_tabulated_limits(count: int, of: int, low: float, high: float) -> None:
    rate = measure_rate(count=count, of=of)
    assert rate.value == count / of
    assert rate.low == pytest.approx(low, abs=5e-5)
    assert rate.high == pytest.approx(high, abs=5e-5)


@pytest.mark.parametrize(("of", "bound"), [(59, 0.05), (299, 0.01), (2995, 0.001)])
def test_no_escapes_bound_the_escape_rate(of: int, bound: float) -> None:
    # The upper end of a two-sided 90 % interval is the one-sided 95 % bound.
    high = measure_rate(count=0, of=of, confidence=0.9).high
    assert high == pytest.approx(1 - 0.05 ** (1 / of))
    assert high is not None
    assert 0.98 * bound < high <= bound


@settings(deadline=None)
@given(st.integers(1, 500).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))))
def test_interval_agrees_with_scipy(counts: tuple[int, int]) -> None:
    count, of = counts
    expected = binomtest(count, of).proportion_ci(confidence_level=0.95, method="exact")
    rate = measure_rate(count=count, of=of)
    assert (rate.low, rate.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_interval_covers_at_least_as_often_as_it_says() -> None:
    of = 30
    rates = [measure_rate(count=count, of=of) for count in range(of + 1)]
    low, high = (np.array([getattr(rate, name) for rate in rates]) for name in ("low", "high"))
    for truth in np.linspace(0.01, 0.99, 197):
        covered = (low <= truth) & (truth <= high)
        assert binom.pmf(np.arange(of + 1), of, truth)[covered].sum() >= 0.95


def test_rate_of_nothing_is_undefined() -> None:
    rate = measure_rate(count=0, of=0)
    assert (rate.value, rate.low, rate.high) == (None, None, None)


def test_rate_refuses_more_than_all() -> None:
    with pytest.raises(ValueError, match="within 0 and 3; received 4"):
        measure_rate(count=4, of=3)


@pytest.mark.parametrize(
    ("fraction", "digits", "text"),
    [
        (0.0, 1, "0"),
        (1.0, 1, "100"),
        (0.0001, 1, "<0.1"),
        (0.9999, 1, ">99.9"),
        (0.9994, 1, "99.9"),
        (0.0006, 1, "0.1"),
        (0.004, 0, "<1"),
        (0.996, 0, ">99"),
        (0.0506, 1, "5.1"),
    ],
)
def test_only_0_and_1_read_as_0_and_100(fraction: float, digits: int, text: str) -> None:
    assert format_per_cent(fraction, digits=digits) == text


def test_only_a_perfect_area_reads_as_1() -> None:
    assert format_area(0.99999) == "0.9999"
    assert format_area(1 - 1e-9) == "0.9999"
    assert format_area(1.0) == "1.0000"
    # Seven recalls that are added up come to 1 but for the last bit.
    is_positive, scores = np.arange(14) < 7, np.linspace(0.9, 0.1, 14)
    perfect = trace_precision_recall(is_positive=is_positive, scores=scores)
    assert format_area(perfect.area) == "1.0000"


def test_an_area_of_four_digits_reads_as_it_is() -> None:
    for count in range(10_001):
        assert format_area(count / 10_000) == f"{count / 10_000:.4f}"


def test_two_classes_by_hand() -> None:
    # nio: 4, of which 0.4 is missed at 0.5; io: 6, of which 0.5 is stopped (score >= threshold).
    scores = [0.9, 0.8, 0.6, 0.4, 0.5, 0.3, 0.2, 0.1, 0.1, 0.0]
    metrics = _binary(scores, [1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
    assert metrics.confusion_matrix == ((5, 1), (1, 3))
    assert metrics.confusion_matrix_normalized == ((5 / 6, 1 / 6), (1 / 4, 3 / 4))
    assert (metrics.accuracy.count, metrics.accuracy.of) == (8, 10)
    good, bad = metrics.per_class
    assert (bad.recall.value, bad.precision.value, bad.f1) == (3 / 4, 3 / 4, 3 / 4)
    assert (good.recall.count, good.precision.of, good.support) == (5, 6, 6)
    assert metrics.macro.recall == pytest.approx((5 / 6 + 3 / 4) / 2)
    assert metrics.weighted.recall == pytest.approx(0.8)
    binary = metrics.binary
    assert binary is not None
    assert (binary.positive_class, binary.negative_class) == ("nio", "io")
    assert (binary.escapes.count, binary.escapes.of) == (1, 4)
    assert (binary.false_calls.count, binary.false_calls.of) == (1, 6)
    # Of 24 pairs one is in the wrong order: 0.4 (nio) below 0.5 (io).
    assert binary.roc is not None
    assert binary.roc.area == pytest.approx(23 / 24)
    # Average precision: the positives are found at ranks 1, 2, 3 and 5.
    assert binary.precision_recall is not None
    assert binary.precision_recall.area == pytest.approx((1 + 1 + 1 + 4 / 5) / 4)


def test_roc_runs_from_nothing_to_everything_stopped() -> None:
    roc = _binary([0.9, 0.8, 0.6, 0.4, 0.5, 0.3], [1, 1, 0, 1, 0, 0]).binary
    assert roc is not None
    assert roc.roc is not None
    assert (roc.roc.false_call_rate[0], roc.roc.recall[0], roc.roc.thresholds[0]) == (0, 0, None)
    assert (roc.roc.false_call_rate[-1], roc.roc.recall[-1]) == (1, 1)
    assert roc.roc.area == pytest.approx(auc(roc.roc.false_call_rate, roc.roc.recall))
    curve = roc.precision_recall
    assert curve is not None
    assert (curve.recall[0], curve.precision[-1], curve.thresholds[-1]) == (1, 1, None)
    assert len(curve.recall) == len(curve.precision) == len(curve.thresholds)


def test_many_classes_agree_with_scikit_learn() -> None:
    random = np.random.default_rng(5)
    true = random.integers(0, 5, 300)
    logits = random.normal(size=(300, 5))
    logits[np.arange(300), true] += 1.5
    probabilities = _softmax(logits)
    predicted = probabilities.argmax(axis=1)
    classes = [f"c{index}" for index in range(5)]
    metrics = compute_metrics(
        true=true, predicted=predicted, probabilities=probabilities, classes=classes
    )
    report = classification_report(true, predicted, target_names=classes, output_dict=True)
    for entry in metrics.per_class:
        expected = report[entry.name]
        assert entry.precision.value == pytest.approx(expected["precision"])
        assert entry.recall.value == pytest.approx(expected["recall"])
        assert entry.f1 == pytest.approx(expected["f1-score"])
        assert entry.support == expected["support"]
    for average, name in ((metrics.macro, "macro avg"), (metrics.weighted, "weighted avg")):
        assert average.precision == pytest.approx(report[name]["precision"])
        assert average.f1 == pytest.approx(report[name]["f1-score"])
    assert metrics.accuracy.value == pytest.approx(report["accuracy"])
    assert metrics.log_loss == pytest.approx(log_loss(true, probabilities), rel=1e-6)
    assert metrics.binary is None


def test_positive_class_may_come_first() -> None:
    scores = np.array([0.9, 0.7, 0.2, 0.6], np.float32)
    true = np.array([0, 0, 1, 1])
    binary = compute_metrics(
        true=true,
        predicted=np.where(scores >= 0.5, 0, 1),
        probabilities=np.stack([scores, 1 - scores], axis=1),
        classes=("bad", "good"),
        positive_class="bad",
    ).binary
    assert binary is not None
    assert (binary.escapes.count, binary.false_calls.count) == (0, 1)
    assert binary.roc is not None
    assert binary.roc.area == roc_auc_score(true == 0, scores)


def test_one_class_in_the_split_leaves_the_other_undefined() -> None:
    metrics = _binary([0.1, 0.2, 0.9], [0, 0, 0])
    good, bad = metrics.per_class
    assert metrics.confusion_matrix_normalized == ((2 / 3, 1 / 3), (None, None))
    assert bad.recall.value is None
    assert (bad.precision.value, bad.f1) == (0.0, 0.0)
    assert good.recall.value == 2 / 3
    assert metrics.macro.recall == 2 / 3
    assert metrics.binary is not None
    assert metrics.binary.escapes.value is None
    assert metrics.binary.false_calls.count == 1
    assert metrics.binary.roc is None
    assert metrics.binary.precision_recall is None


def test_class_neither_present_nor_predicted_is_undefined() -> None:
    probabilities = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]], np.float32)
    indices = np.array([0, 1])
    metrics = compute_metrics(
        true=indices, predicted=indices, probabilities=probabilities, classes=("a", "b", "c")
    )
    absent = metrics.per_class[2]
    assert (absent.recall.value, absent.precision.value, absent.f1) == (None, None, None)
    assert (metrics.macro.f1, metrics.accuracy.value) == (1.0, 1.0)


def test_a_certain_error_costs_a_finite_log_loss() -> None:
    metrics = _binary([0.0, 0.0], [1, 0])
    assert metrics.log_loss == pytest.approx(-math.log(np.finfo(np.float64).eps) / 2)


@settings(deadline=None)
@given(st.data())
def test_json_is_strict_and_counts_add_up(data: st.DataObject) -> None:
    classes = data.draw(st.integers(2, 5))
    count = data.draw(st.integers(1, 12))
    index = st.lists(st.integers(0, classes - 1), min_size=count, max_size=count)
    true, predicted = np.array(data.draw(index)), np.array(data.draw(index))
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    metrics = compute_metrics(
        true=true,
        predicted=predicted,
        probabilities=_softmax(random.normal(size=(count, classes))),
        classes=[str(number) for number in range(classes)],
        positive_class="1" if classes == 2 else "",
    )
    again = json.loads(json.dumps(metrics.to_json(), allow_nan=False))
    assert sum(map(sum, again["confusion_matrix"])) == again["pictures"] == count
    assert (
        sum(entry["recall"]["count"] for entry in again["per_class"])
        == (again["accuracy"]["count"])
    )
    for row in again["confusion_matrix_normalized"]:
        assert row == [None] * classes or sum(row) == pytest.approx(1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predicted": np.array([0])}, "do not fit"),
        ({"probabilities": np.zeros((2, 3), np.float32)}, "do not fit"),
        ({"true": np.array([0, 2])}, "true holds a class index outside 0 to 1"),
        ({"probabilities": np.array([[0.5, np.nan], [1, 0]])}, "not a number"),
        ({"positive_class": "x"}, "positive_class must be one of"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {
        "true": np.array([0, 1]),
        "predicted": np.array([0, 1]),
        "probabilities": np.array([[1, 0], [0, 1]], np.float32),
        "classes": ("io", "nio"),
        "positive_class": "nio",
    }
    with pytest.raises(ValueError, match=message):
        compute_metrics(**(arguments | change))  # type: ignore[arg-type]


def test_no_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="need pictures"):
        _binary([], [])


def test_confusion_matrix_as_csv_has_true_rows(tmp_path: Path) -> None:
    path = tmp_path / "confusion_matrix.csv"
    write_confusion_matrix(path, matrix=[[3, 1], [0, 2]], classes=["=io", "n,io"])
    with path.open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["true \\ predicted", "'=io", "n,io"],
            ["'=io", "3", "1"],
            ["n,io", "0", "2"],
        ]
