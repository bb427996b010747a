"""Checks on maps: what chance gives, and whether a map notices that the model has gone.

Adebayo, Gilmer, Muelly, Goodfellow, Hardt and Kim, "Sanity checks for saliency maps", NeurIPS 2018,
arXiv 1810.03292: while a model loses what it has learned, layer by layer, its maps must change. One
that does not shows the picture, as an edge detector does. Similarity is Spearman's rank correlation
of the pixels (the paper's "no absolute value"): a map and its negative are opposites.

Passing is no proof of a good map: noise passes. And maps become empty where the random model says
nothing more about the picture; how many do is counted, for a check passed by empty maps is passed
cheaply. Before the last stage a map may rightly stay: if the head weights all channels alike, it is
the sum of the layer's activations, whatever the head has learned.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata
from scipy.stats import t as student

from records.atomic import write_text
from records.sheets import format_csv

CHANGES: Final = "changes"
DOES_NOT_CHANGE: Final = "does not change: it shows the picture, not the model"
BOUND: Final = 0.5
"""Mean similarity below which maps of a model without knowledge count as changed. The paper sets
none: half way between maps in no relation, 0, and the same maps, 1."""

Maps = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Mean:
    """A mean over pictures and its two-sided 95 % interval, by Student's t; none of one picture."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Step:
    """The maps of one method after one stage of randomisation.

    Attributes:
        stage: The lowest layer randomised.
        fraction: Share of the weights randomised, in (0, 1].
        similarity: To the maps of the model as trained, -1 to 1.
        constant: How many of the maps are the same everywhere, as an empty one is.
    """

    stage: str
    fraction: float
    similarity: Mean
    constant: int


@dataclass(frozen=True)
class Sanity:
    """How the maps of one method change.

    Attributes:
        method: Its name.
        pictures: How many.
        constant: How many of the maps of the model as trained are the same everywhere.
        steps: One a stage, in order.
        bound: See `changes`.
    """

    method: str
    pictures: int
    constant: int
    steps: tuple[Step, ...]
    bound: float

    @property
    def changes(self) -> bool:
        """Whether the mean similarity after the last stage is below the bound."""
        return self.steps[-1].similarity.value < self.bound

    @property
    def verdict(self) -> str:
        """The same in words."""
        return CHANGES if self.changes else DOES_NOT_CHANGE


def measure_sanity(
    explain: Callable[[], Mapping[str, Maps]],
    stages: Iterable[tuple[str, float]],
    *,
    bound: float = BOUND,
) -> list[Sanity]:
    """Makes all maps as trained and after each stage, and compares them; an entry a method.

    Args:
        explain: Makes the maps of each method by the model as it is when called: float32
            `[n, h, w]`, 0 to 1, always of the same pictures and classes.
        stages: Name of the lowest layer and share of the weights, each yielded when the model has
            been randomised so far, as `models.randomization.randomized` does.
        bound: Of the verdict, after the last stage.

    Raises:
        ValueError: There is no stage, the last does not cover all weights, or there is no picture.
    """
    trained = {method: np.array(maps) for method, maps in explain().items()}
    steps: dict[str, list[Step]] = {method: [] for method in trained}
    reached = 0.0
    for stage, reached in stages:
        for method, maps in explain().items():
            similarity = estimate_mean(rank_similarity(trained[method], maps))
            steps[method].append(Step(stage, reached, similarity, int(_is_constant(maps).sum())))
    if not math.isclose(reached, 1.0):
        raise ValueError(f"The last stage must cover all weights, it covers {reached:.1%}.")
    return [
        Sanity(method, len(maps), int(_is_constant(maps).sum()), tuple(steps[method]), bound)
        for method, maps in trained.items()
    ]


def rank_similarity(one: Maps, other: Maps) -> FloatArray:
    """Spearman's rank correlation of two maps of each picture; ties have their mean rank.

    A constant map has no ranks. One beside a map that is not constant counts as similarity 0; two
    as 1, for the method has not changed what it says.

    Args:
        one: float32 `[n, h, w]`.
        other: The same shape.

    Returns:
        `[n]`, -1 to 1.
    """
    return np.array([_correlate(first, second) for first, second in zip(one, other, strict=True)])


def draw_random_maps(shape: tuple[int, int, int], cells: int, seed: int, first: int = 0) -> Maps:
    """Maps that know nothing: uniform noise in coarse cells, enlarged bilinearly as real maps are.

    Args:
        shape: How many, height and width in pixels.
        cells: Cells along each side.
        seed: A map depends on it and on the picture's number alone.
        first: Number of the first picture.

    Returns:
        float32 of that shape, 0 to 1, each with a maximum of 1.
    """
    numbers = range(first, first + shape[0])
    grids = [np.random.default_rng([seed, one]).random((cells, cells)) for one in numbers]
    rows, columns = (_interpolation(cells, side) for side in shape[1:])
    maps = rows @ np.stack(grids) @ columns.T
    return np.asarray(maps / maps.max(axis=(1, 2), keepdims=True), np.float32)


def rank_pixels(maps: Maps, ties: Maps) -> IntArray:
    """The place of each pixel in its map's order, 0 for the most important one.

    Args:
        maps: float32 `[n, h, w]`.
        ties: Of the same shape; decides among equal values, and where it has equal ones too, the
            upper left pixel comes first.

    Returns:
        `[n, h, w]`, 0 to `h w - 1`, each once a map.
    """
    first, second = (-one.reshape(len(maps), -1) for one in (maps, ties))
    order = np.lexsort((second, first), axis=1)  # the last key is the first to decide; stable
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(order.shape[1])[None], axis=1)
    return ranks.reshape(maps.shape)


def lay_out(values: Maps, order: Maps) -> Maps:
    """The values of each map, the largest where `order` has its largest, and so on."""
    flat = np.sort(values.reshape(len(values), -1), axis=1)[:, ::-1]
    ranks = rank_pixels(order, order).reshape(flat.shape)
    return np.take_along_axis(flat, ranks, axis=1).reshape(values.shape)


def estimate_mean(values: FloatArray) -> Mean:
    """The mean of at least one value, one a picture, and its interval."""
    count, mean = len(values), float(values.mean())
    if count == 1:
        return Mean(mean, None, None)
    margin = float(student.ppf(0.975, count - 1) * values.std(ddof=1) / math.sqrt(count))
    return Mean(mean, mean - margin, mean + margin)


def sanity_json(measured: Sequence[Sanity]) -> list[dict[str, Any]]:
    """The same as lists and dicts, with the verdicts."""
    return [
        dataclasses.asdict(one) | {"changes": one.changes, "verdict": one.verdict}
        for one in measured
    ]


def write_sanity(path: Path, measured: Sequence[Sanity]) -> None:
    """Writes a line for each method and stage."""
    lines = ["method,stage,pictures,constant,fraction,similarity,low,high\n"]
    for one in measured:
        for step in one.steps:
            texts = [one.method, step.stage, str(one.pictures), str(step.constant)]
            numbers = [step.fraction, *dataclasses.astuple(step.similarity)]
            lines.append(format_line(texts, numbers))
    write_text(path, "".join(lines))


def format_line(texts: Sequence[str], numbers: Sequence[float | None]) -> str:
    """A line of CSV. Numbers stay numbers: `format_csv` would guard a negative one as a formula."""
    cells = ["" if number is None else f"{number:.6g}" for number in numbers]
    return ",".join([format_csv([texts]).rstrip("\n"), *cells]) + "\n"


def _correlate(one: Maps, other: Maps) -> float:
    first, second = rankdata(one), rankdata(other)
    first, second = first - first.mean(), second - second.mean()
    size = math.sqrt((first @ first) * (second @ second))
    if size:
        return float(first @ second / size)
    return float(not first.any() and not second.any())


def _is_constant(maps: Maps) -> npt.NDArray[np.bool_]:
    return np.asarray(maps.max(axis=(1, 2)) == maps.min(axis=(1, 2)))


def _interpolation(cells: int, side: int) -> FloatArray:
    """Weights `[side, cells]`: centres of pixels between centres of cells, edges held."""
    places = np.clip((np.arange(side) + 0.5) * cells / side - 0.5, 0, cells - 1)
    return np.asarray(np.maximum(0.0, 1.0 - np.abs(places[:, None] - np.arange(cells))))
