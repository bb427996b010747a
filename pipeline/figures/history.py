"""Losses and accuracies of a training, by epoch, as a figure."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.figures.palette import BLUE, GREEN, ORANGE, PINK
from records.errors import InputError

_COLOURS = {
    "loss": BLUE,
    "logits_loss": ORANGE,
    "evidence_loss": PINK,
    "reconstruction_loss": GREEN,
    "accuracy": BLUE,
}
_VALIDATION = "val_"


@dataclass(frozen=True)
class History:
    """What `history.csv` says, epoch after epoch.

    Attributes:
        phases: Name of the phase of each epoch.
        series: Loss or accuracy by column name; NaN in epochs that have none.
    """

    phases: tuple[str, ...]
    series: dict[str, tuple[float, ...]]


def read_history(path: Path) -> History:
    """Reads the losses and accuracies of a `history.csv`; columns without a number are left out.

    Raises:
        InputError: The file is missing or no such table.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
        if any(None in row or None in row.values() for row in rows):
            raise ValueError("a line has not as many cells as the first one")
        names = [name for name in reader.fieldnames or () if _base(name) in _COLOURS]
        series = {name: tuple(float(row[name] or "nan") for row in rows) for name in names}
        return History(
            phases=tuple(row["phase"] for row in rows),
            series={name: v for name, v in series.items() if _says_something(name, v)},
        )
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise InputError(
            f"{path} cannot be read as a training history: {error}.", "Run --stage=train again."
        ) from error


def history_figure(history: History) -> Figure:
    """Draws losses and accuracies by epoch: solid for validation, dashed for training."""
    figure = Figure(figsize=(9.0, 6.4), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    losses = [name for name in history.series if name.endswith("loss")]
    _draw_series(upper, history, losses)
    _draw_series(lower, history, [name for name in history.series if name not in losses])
    upper.set_ylabel("loss")
    lower.set_ylabel("accuracy")
    lower.set_xlabel("epoch")
    lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    if _spans_decades([value for name in losses for value in history.series[name]]):
        upper.set_yscale("log")
    for axes in (upper, lower):
        axes.set_xlim(0.5, max(len(history.phases), 1) + 0.5)
        axes.grid(color="#dddddd")
        for number, (_, first, last) in enumerate(_find_phases(history.phases)):
            if number % 2:
                axes.axvspan(first - 0.5, last + 0.5, color="#f0f0f0", zorder=0)
    _name_phases(upper, history.phases)
    return figure


def _draw_series(axes: Axes, history: History, names: list[str]) -> None:
    """Draws a line a phase: what is minimised changes from one to the next."""
    for name in names:
        validation = name.startswith(_VALIDATION)
        label = ("validation " if validation else "training ") + _base(name).replace("_", " ")
        for _, first, last in _find_phases(history.phases):
            axes.plot(
                range(first, last + 1),
                history.series[name][first - 1 : last],
                color=_COLOURS[_base(name)],
                linestyle="-" if validation else "--",
                marker="o" if validation else ".",
                markersize=3,
                linewidth=1.6 if validation else 1.1,
                label=label if first == 1 else None,
            )
    if names:
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    else:
        axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", va="center")


def _says_something(name: str, values: tuple[float, ...]) -> bool:
    """Whether a series holds numbers; a loss of nothing, as without boxes, is 0 in every epoch."""
    finite = [value for value in values if math.isfinite(value)]
    return any(finite) if name.endswith("loss") else bool(finite)


def _spans_decades(values: list[float]) -> bool:
    finite = [value for value in values if math.isfinite(value)]
    return bool(finite) and 0 < 10 * min(finite) < max(finite)


def _find_phases(phases: tuple[str, ...]) -> Iterator[tuple[str, int, int]]:
    """Name, first and last epoch of each stretch of epochs of one phase."""
    end = 0
    for name, epochs in itertools.groupby(phases):
        first, end = end + 1, end + len(list(epochs))
        yield name, first, end


def _name_phases(axes: Axes, phases: tuple[str, ...]) -> None:
    for number, (name, first, _) in enumerate(_find_phases(phases)):
        axes.annotate(
            name,
            (first - 0.5, 1.0),
            xycoords=axes.get_xaxis_transform(),
            xytext=(2, 4 + 13 * (number % 2)),  # two rows, so that a short phase stays readable
            textcoords="offset points",
            parse_math=False,
        )


def _base(name: str) -> str:
    return name.removeprefix(_VALIDATION)
