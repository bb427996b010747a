"""The figures: what is drawn in them, and that the files are sound."""

from __future__ import annotations

import io
import itertools
import math
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from PIL import Image

from pipeline.evaluation.calibration import measure_reliability
from pipeline.evaluation.metrics import Metrics, compute_metrics
from pipeline.figures import plots
from pipeline.figures.matrix import shorten_name
from records.errors import InputError

_HEADER = "epoch,phase,seconds,learning_rate,loss,val_loss,accuracy,val_accuracy\n"


def _metrics(matrix: npt.ArrayLike, names: Sequence[str] = ()) -> Metrics:
    counts = np.array(matrix)
    true, predicted = (
        np.repeat(index.ravel(), counts.ravel()) for index in np.indices(counts.shape)
    )
    probabilities = np.full((len(true), len(counts)), 0.1 / (len(counts) - 1))
    probabilities[np.arange(len(true)), predicted] = 0.9
    classes = list(names) or [f"class {index}" for index in range(len(counts))]
    return compute_metrics(
        true=true,
        predicted=predicted,
        probabilities=probabilities,
        classes=classes,
        positive_class=classes[1] if len(classes) == 2 else "",
    )


def _many(classes: int) -> Metrics:
    matrix = np.eye(classes, dtype=int) * 90
    matrix[3, 5], matrix[0] = 7, 0
    return _metrics(matrix, [f"a rather long class name {index}" for index in range(classes)])


def _cells(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def _points(line: Line2D) -> npt.NDArray[np.float64]:
    return np.column_stack([np.asarray(line.get_xdata()), np.asarray(line.get_ydata())])


def _marked(lines: Sequence[Line2D], marker: str) -> npt.NDArray[np.float64]:
    """The points `[n, 2]` of the one line that is drawn with `marker`."""
    (line,) = (line for line in lines if line.get_marker() == marker)
    return _points(line)


def _assert_sound(figure: Figure) -> None:
    """Nothing warned about, nothing outside, and no two tick labels of an axis overlap."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        png = plots.png_bytes(figure)
    renderer = FigureCanvasAgg(figure).get_renderer()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            labels = [label for label in axis.get_ticklabels() if label.get_text()]
            _assert_apart(labels, renderer)
    assert Image.open(io.BytesIO(png)).convert("L").getextrema() != (255, 255)


def _assert_apart(labels: list[Text], renderer: object) -> None:
    angled = any(label.get_rotation() % 90 for label in labels)
    boxes = [label.get_window_extent(renderer) for label in labels]  # type: ignore[arg-type]
    if not angled:  # the boxes of slanted labels overlap though the letters do not
        assert not any(first.overlaps(second) for first, second in itertools.pairwise(boxes))


def test_counts_stand_in_their_cells() -> None:
    figure = plots.confusion_figure(_metrics([[95, 3], [1, 9]], ["io", "nio"]), normalized=False)
    assert _cells(figure) == ["95", "3", "1", "9"]
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["io (98)", "nio (10)"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["io", "nio"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true (pictures)")
    _assert_sound(figure)


def test_normalized_cells_never_hide_an_error() -> None:
    figure = plots.confusion_figure(_metrics([[99999, 1], [0, 0]]), normalized=True)
    assert _cells(figure) == [">99.9", "<0.1", "-", "-"]
    _assert_sound(figure)


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("classes", [6, 40])
def test_matrix_of_many_classes_stays_readable(classes: int, normalized: bool) -> None:
    figure = plots.confusion_figure(_many(classes), normalized=normalized)
    _assert_sound(figure)
    renderer = FigureCanvasAgg(figure).get_renderer()
    cell_px = figure.axes[0].get_window_extent(renderer).width / classes
    for text in figure.axes[0].texts:
        assert text.get_window_extent(renderer).width <= cell_px
        assert float(text.get_fontsize()) >= 4.5
    assert len({"90", "93", "92.8"} & set(_cells(figure))) == 1


def test_a_scale_replaces_numbers_that_would_not_fit() -> None:
    matrix = np.eye(100, dtype=int)
    matrix[0, 0] = 12_345
    figure = plots.confusion_figure(_metrics(matrix), normalized=False)
    assert _cells(figure) == []
    assert len(figure.axes) == 2


def test_cell_numbers_contrast_with_their_cells() -> None:
    figure = plots.confusion_figure(_metrics([[900, 30], [10, 80]]), normalized=False)
    image = figure.axes[0].images[0]
    shades = image.to_rgba(np.asarray(image.get_array()))[..., :3].reshape(-1, 3)
    for text, shade in zip(figure.axes[0].texts, shades, strict=True):
        ink = 0.0 if text.get_color() == "black" else 1.0
        assert _contrast(np.full(3, ink), shade) >= 4.5


def _contrast(first: np.ndarray, second: np.ndarray) -> float:
    """Contrast ratio of two sRGB colours (WCAG 2.2, section 1.4.3)."""
    lights = [
        float(
            np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
            @ (0.2126, 0.7152, 0.0722)
        )
        for c in (first, second)
    ]
    return (max(lights) + 0.05) / (min(lights) + 0.05)


def test_names_are_not_read_as_tex() -> None:
    metrics = _metrics([[3, 1], [1, 3]], ["$\\broken{$", "<b>_^$"])
    _assert_sound(plots.confusion_figure(metrics, normalized=False))
    three = _metrics(np.eye(3, dtype=int), ["$\\broken{$", "<b>_^$", "$a"])
    _assert_sound(plots.curves_figure(three))


def test_long_names_are_shortened_in_the_middle() -> None:
    assert shorten_name("line\nbreak") == "line break"
    assert shorten_name("x" * 24) == "x" * 24
    assert shorten_name("abcdefghijklmnopqrstuvwxyz") == "abcdefghijkl…pqrstuvwxyz"
    assert len(shorten_name("y" * 99)) == 24


def test_two_classes_get_both_curves_with_the_operating_point() -> None:
    figure = plots.curves_figure(_metrics([[8, 2], [1, 4]], ["io", "nio"]))
    roc, precision_recall = figure.axes
    assert roc.get_title().startswith("ROC, area 0.8")
    assert _marked(roc.lines, "o").tolist() == [pytest.approx([0.2, 0.8])]
    assert _marked(precision_recall.lines, "o").tolist() == [pytest.approx([0.8, 4 / 6])]
    _assert_sound(figure)


def test_curves_of_one_class_say_so() -> None:
    figure = plots.curves_figure(_metrics([[5, 1], [0, 0]], ["io", "nio"]))
    assert ["undefined" in axes.texts[0].get_text() for axes in figure.axes] == [True, True]
    _assert_sound(figure)


@pytest.mark.parametrize("classes", [6, 40])
def test_more_classes_get_recall_and_precision_each(classes: int) -> None:
    figure = plots.curves_figure(_many(classes))
    recall, precision = (_marked(figure.axes[0].lines, marker) for marker in "os")
    assert len(recall) == classes - 1  # class 0 has no pictures
    assert recall[2, 0] == pytest.approx(90 / 97)
    assert precision[4, 0] == pytest.approx(90 / 97)
    _assert_sound(figure)


def _history(folder: Path, rows: str) -> Path:
    path = folder / "history.csv"
    path.write_text(_HEADER + rows)
    return path


def test_history_is_read_with_gaps(tmp_path: Path) -> None:
    rows = "1,pretrain,2,0.1,0.5,0.6,,\n2,joint,2,0.1,1.5,1.6,0.25,\n"
    history = plots.read_history(_history(tmp_path, rows))
    assert history.phases == ("pretrain", "joint")
    assert list(history.series) == ["loss", "val_loss", "accuracy"]
    assert history.series["loss"] == (0.5, 1.5)
    assert math.isnan(history.series["accuracy"][0])


@pytest.mark.parametrize(("evidence", "shown"), [("0.0", []), ("0.7", ["evidence_loss"])])
def test_a_loss_of_nothing_is_not_drawn(tmp_path: Path, evidence: str, shown: list[str]) -> None:
    path = tmp_path / "history.csv"
    path.write_text(f"epoch,phase,evidence_loss,val_accuracy\n1,joint,{evidence},0.0\n")
    assert list(plots.read_history(path).series) == [*shown, "val_accuracy"]


def test_history_marks_phases_and_does_not_join_them(tmp_path: Path) -> None:
    rows = "".join(f"{n},{'a' if n < 4 else 'b'},1,0.1,{1 / n},{2 / n},,\n" for n in range(1, 9))
    figure = plots.history_figure(plots.read_history(_history(tmp_path, rows)))
    losses, accuracies = figure.axes
    assert [text.get_text() for text in losses.texts] == ["a", "b"]
    assert [_points(line)[:, 0].tolist() for line in losses.lines[:2]] == [
        [1, 2, 3],
        [4, 5, 6, 7, 8],
    ]
    assert losses.get_yscale() == "log"
    assert [text.get_text() for text in accuracies.texts] == ["not recorded"]
    _assert_sound(figure)


@pytest.mark.parametrize("rows", ["", "1,only,1,0.1,0.5,0.5,1,1\n", "1,$x,1,0,nan,inf,0,0\n"])
def test_short_and_odd_histories_are_drawn(tmp_path: Path, rows: str) -> None:
    path = plots.write_history(_history(tmp_path, rows))
    assert path == tmp_path / "history.png"
    assert Image.open(path).format == "PNG"


@pytest.mark.parametrize(
    "row", ["1,joint,1,0.1,high,0.5,1,1\n", "1,joint,1,0.1,0.5,0.5,1,1,more\n", "1\n"]
)
def test_damaged_history_is_named(row: str, tmp_path: Path) -> None:
    path = _history(tmp_path, row)
    with pytest.raises(InputError, match=r"history\.csv cannot be read") as caught:
        plots.write_history(path)
    assert "--stage=train" in caught.value.remedy
    with pytest.raises(InputError):
        plots.read_history(tmp_path / "none.csv")


def test_same_figure_gives_same_bytes_without_date_or_program(tmp_path: Path) -> None:
    metrics = _metrics([[8, 2], [1, 4]], ["io", "nio"])
    first, second = tmp_path / "first.png", tmp_path / "second.png"
    for path in (first, second):
        plots.write_png(path, plots.curves_figure(metrics))
    assert first.read_bytes() == second.read_bytes()
    assert set(Image.open(first).info) <= {"dpi"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first.png", "second.png"]


def test_failing_figure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "figure.png"
    path.write_bytes(b"old")
    figure = Figure()
    figure.text(0.5, 0.5, "$\\broken{$")
    with pytest.raises(ValueError, match="broken"):
        plots.write_png(path, figure)
    assert [item.read_bytes() for item in tmp_path.iterdir()] == [b"old"]


def test_neither_pyplot_nor_tensorflow_is_imported() -> None:
    code = (
        "from pipeline.evaluation import baseline, metrics, predictions, threshold\n"
        "from pipeline.figures import plots\n"
        "from pipeline.pages import report\n"
        "import sys\n"
        "print(list(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[3],
    )
    for name in ("matplotlib.pyplot", "tensorflow", "keras"):
        assert f"'{name}'" not in done.stdout


def test_the_operating_point_lies_on_the_curve_of_all_thresholds() -> None:
    true = np.array([0] * 8 + [1] * 4)
    scores = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.35, 0.55, 0.8, 0.9])
    metrics = compute_metrics(
        true=true,
        predicted=(scores >= 0.5).astype(int),
        probabilities=np.stack([1 - scores, scores], axis=1),
        classes=("io", "nio"),
        positive_class="nio",
    )
    assert metrics.binary is not None
    axes = plots.operating_figure(metrics.binary).axes[0]
    curve = axes.lines[0]
    across, up = (np.round(np.asarray(data, float), 6) for data in curve.get_data())
    # At 0.5: one of four escapes, three of eight are stopped. Points on a straight line are left
    # out of the curve, which keeps its height until the next.
    assert up[across <= 37.5][-1] == 25.0
    marker = axes.containers[0][0]
    assert [float(data[0]) for data in marker.get_data()] == [37.5, 25.0]


@pytest.mark.parametrize("classes", [2, 5])
def test_reliability_is_drawn_where_it_was_measured(classes: int) -> None:
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(classes), 300)
    true = random.integers(0, classes, 300)
    measured = measure_reliability(probabilities, true, positive=1 if classes == 2 else None)
    values = {"temperature": 1.5, "before": measured.to_json(), "after": measured.to_json()}
    figure = plots.calibration_figure(values)
    seen = figure.axes[0].containers[0][0]
    bins = [one for one in measured.bins if one.mean is not None]
    pairs = [(float(one.mean or 0), float(one.observed.value or 0)) for one in bins]
    np.testing.assert_allclose(np.transpose([np.asarray(d, float) for d in seen.get_data()]), pairs)
    bars = [bar for bar in figure.axes[2].patches if isinstance(bar, Rectangle)]
    assert [bar.get_height() for bar in bars] == [one.observed.of for one in measured.bins]
    assert plots.png_bytes(figure) == plots.png_bytes(plots.calibration_figure(values))
