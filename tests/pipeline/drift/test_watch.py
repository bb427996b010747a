from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from models.appearance import PICTURE_STATISTICS, measure_picture
from pipeline.drift.baseline import DriftBaseline
from pipeline.drift.fit import Measured, fit_baseline
from pipeline.drift.watch import Drift, DriftWatch, Movement
from pipeline.evaluation.perturbations import Perturbation

NAMES = ("mean_grey", "sharpness", "confidence")
CLASSES = ("io", "nio")
DARKER, BLURRED, SURER = np.array([-3.0, 0, 0]), np.array([0, -3.0, 0]), np.array([0, 0, 3.0])


def draw(count: int, seed: int, *, nio: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Statistics and classes; the two classes differ in everything."""
    rng = np.random.default_rng(seed)
    decided = (rng.random(count) < nio).astype(np.int64)
    return rng.normal(size=[count, 3]) + decided[:, None] * [20, -10, -5], decided


@pytest.fixture(scope="module")
def baseline() -> DriftBaseline:
    statistics, decided = draw(600, 1)
    train = Measured(tuple(map(str, range(600))), decided, statistics)
    return fit_baseline(NAMES, CLASSES, train=train, validation=train)


def watch_all(
    watch: DriftWatch, statistics: np.ndarray, decided: np.ndarray, batch: int = 10
) -> list[Drift]:
    steps = range(0, len(decided), batch)
    said = [watch.add(statistics[at : at + batch], decided[at : at + batch]) for at in steps]
    return [drift for drift in said if drift is not None]


def test_clean_pictures_say_nothing(baseline: DriftBaseline) -> None:
    assert [watch_all(DriftWatch(baseline), *draw(200, seed)) for seed in range(100)] == [[]] * 100


@pytest.mark.parametrize("nio", [0.0, 0.02, 0.98])
def test_another_mix_of_classes_says_nothing(baseline: DriftBaseline, nio: float) -> None:
    # Unconditioned, the mean of the grey values is ten deviations off.
    assert watch_all(DriftWatch(baseline), *draw(600, 5, nio=nio)) == []


def test_what_has_always_been_so_is_said_after_a_quarter_of_a_window(
    baseline: DriftBaseline,
) -> None:
    statistics, decided = draw(600, 2)
    (drift,) = watch_all(DriftWatch(baseline), statistics + DARKER, decided)
    assert (drift.first, drift.last) == (1, 50)
    (movement,) = drift.movements
    assert movement.name == "mean_grey"
    assert movement.share < 0.05
    assert movement.now - movement.before == pytest.approx(-3, abs=0.4)


@pytest.mark.parametrize("start", [200, 437, 1003])
def test_what_changes_later_is_said_within_a_window(baseline: DriftBaseline, start: int) -> None:
    statistics, decided = draw(start + 400, 3)
    statistics[start:] += DARKER
    (drift,) = watch_all(DriftWatch(baseline), statistics, decided)
    assert start < drift.last <= start + 200
    assert drift.last - drift.first == 199


def test_what_is_over_and_comes_again_is_said_again(baseline: DriftBaseline) -> None:
    statistics, decided = draw(1500, 4)
    statistics[300:600] += DARKER
    statistics[1000:1300] += DARKER
    first, second = watch_all(DriftWatch(baseline), statistics, decided)
    assert 300 < first.last <= 500
    assert 1000 < second.last <= 1200


def test_what_comes_on_top_is_said_with_what_is_still_so(baseline: DriftBaseline) -> None:
    statistics, decided = draw(800, 4)
    statistics += DARKER
    statistics[400:] += BLURRED
    first, second = watch_all(DriftWatch(baseline), statistics, decided)
    assert [one.name for one in first.movements] == ["mean_grey"]
    assert {one.name for one in second.movements} == {"mean_grey", "sharpness"}
    distances = [abs(one.share - 0.5) / one.limit for one in second.movements]
    assert distances == sorted(distances, reverse=True)


def test_a_shift_at_the_limit_is_not_said_again_and_again(baseline: DriftBaseline) -> None:
    statistics, decided = draw(20_000, 6)
    limit = baseline.limits(decided[:200])[0]
    # Of two normal values a is above b with a probability of Phi((mean a - mean b) / sqrt(2)).
    at_limit = statistics + np.array([2**0.5 * scipy.stats.norm.ppf(0.5 - limit), 0, 0])
    shares = [
        abs(baseline.rank(at_limit[at : at + 200], decided[at : at + 200])[:, 0].mean() - 0.5)
        for at in range(0, 20_000, 50)
    ]
    crossings = np.sum(np.diff(np.array(shares) > limit))
    said = watch_all(DriftWatch(baseline), at_limit, decided)
    assert len(said) < crossings / 4


def test_only_what_is_worse_is_worth_saying_of_the_model(baseline: DriftBaseline) -> None:
    statistics, decided = draw(200, 7)
    assert watch_all(DriftWatch(baseline), statistics + SURER, decided) == []
    (drift,) = watch_all(DriftWatch(baseline), statistics - SURER, decided)
    assert "judged with less confidence" in str(drift)
    assert "where validation pictures have" in str(drift)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=30))
def test_how_pictures_are_cut_into_batches_does_not_matter(
    baseline: DriftBaseline, batches: list[int]
) -> None:
    count = sum(batches)
    statistics, decided = draw(count, 8)
    statistics[100:] += DARKER
    ends = np.cumsum(batches)
    watch = DriftWatch(baseline)
    parts = zip(np.split(statistics, ends), np.split(decided, ends), strict=True)
    found = [drift for part in parts if (drift := watch.add(*part)) is not None]
    assert found == watch_all(DriftWatch(baseline), statistics, decided, batch=1)


def test_a_warning_is_in_words_of_the_line() -> None:
    movement = Movement("mean_grey", "train", before=131.2, now=118.4, share=0.18, limit=0.15)
    drift = Drift(151, 350, (movement,))
    assert str(drift).splitlines() == [
        "Drift: pictures 151 to 350 do not look like those the model knows:",
        "  pictures are darker: mean grey value 118 where training pictures have 131; lower in 82 "
        "of 100 comparisons, usual are up to 65. Look at: lamp, exposure, gain",
    ]
    assert drift.to_json()["movements"][0]["now"] == 118.4


def test_no_zero_has_a_sign() -> None:
    said = str(Movement("mean_grey", "train", before=-0.2, now=-1e-9, share=0.1, limit=0.2))
    assert "mean grey value 0 where training pictures have 0;" in said


def test_an_unknown_statistic_is_called_by_its_name() -> None:
    assert "pictures are higher: hum 2 where training" in str(
        Movement("hum", "train", before=1, now=2, share=0.9, limit=0.2)
    )


def test_too_few_pictures_are_not_looked_at(baseline: DriftBaseline) -> None:
    watch = DriftWatch(baseline)
    statistics, decided = draw(50, 9)
    assert watch.add(statistics[:49] + DARKER, decided[:49]) is None
    assert not watch.has_looked
    assert watch.add(statistics[49:], decided[49:]) is not None
    assert watch.has_looked


def test_what_does_not_fit_is_refused(baseline: DriftBaseline) -> None:
    with pytest.raises(ValueError, match="baseline of 3"):
        DriftWatch(baseline).add(np.zeros([2, 4]), np.zeros(2, int))
    with pytest.raises(ValueError, match="at least 4"):
        DriftWatch(baseline, window=3)


_PIXELS = tf.TensorSpec([None, None, 1], tf.float32)
_measure = tf.function(measure_picture, input_signature=[_PIXELS])


@tf.function(input_signature=[_PIXELS])
def _darken(pixels: tf.Tensor) -> tf.Tensor:
    return Perturbation("darker", 10).apply(pixels, tf.constant([0, 0]))


def _blur(pixels: tf.Tensor) -> np.ndarray:
    blurred = scipy.ndimage.gaussian_filter(pixels.numpy(), (1.5, 1.5, 0), mode="nearest")
    return np.rint(blurred)


def _measure_files(
    paths: list[Path], change: Callable[[tf.Tensor], tf.Tensor] = tf.identity
) -> Measured:
    classes = sorted({path.parent.name for path in paths})
    pictures = (
        tf.cast(tf.io.decode_jpeg(path.read_bytes(), channels=1), tf.float32) for path in paths
    )
    return Measured(
        source_ids=tuple(path.name for path in paths),
        decided=np.array([classes.index(path.parent.name) for path in paths]),
        statistics=np.stack([_measure(change(pixels)).numpy() for pixels in pictures]),
    )


def _count_warnings(baseline: DriftBaseline, pictures: Measured, *, windows: int) -> int:
    rng = np.random.default_rng(0)
    drawn = [rng.choice(len(pictures.decided), 200, replace=False) for _ in range(windows)]
    return sum(
        bool(watch_all(DriftWatch(baseline), pictures.statistics[rows], pictures.decided[rows]))
        for rows in drawn
    )


def test_on_steel_strip_faults_of_the_camera_are_seen_and_clean_windows_are_left(
    real_data: Path,
) -> None:
    folder = real_data / "neu-det"
    # A third of the training pictures and two thirds of the test pictures are enough, and quick.
    train = _measure_files(sorted(folder.glob("train/images/*/*.jpg"))[::3])
    test = sorted(folder.glob("validation/images/*/*.jpg"))
    new = [path for row, path in enumerate(test) if row % 3]
    classes = sorted({path.parent.name for path in new})
    baseline = fit_baseline(PICTURE_STATISTICS, classes, train=train, validation=train)
    warnings = [
        _count_warnings(baseline, _measure_files(new, change), windows=20)
        for change in (tf.identity, _darken, _blur)
    ]
    assert warnings == [0, 20, 20]
