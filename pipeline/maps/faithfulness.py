"""How faithful class activation maps are to the model: scores, and what they are worth.

* Average drop and increase: Chattopadhay, Sarkar, Howlader and Balasubramanian, "Grad-CAM++", WACV
  2018, arXiv 1710.11063, objective evaluation. The picture is multiplied by its map; with `Y` the
  probability of the class in the whole picture and `O` in what the map shows, average drop is
  `100/N sum max(0, Y - O) / Y` (0 where `Y` is 0), increase the share of pictures with `O > Y`.
* Deletion and insertion: Petsiuk, Das and Saenko, "RISE", BMVC 2018, arXiv 1806.07421. The area
  under the probability of the class while the most important pixels are taken out of the picture,
  or laid into a blurred one, in equal steps; by the trapezoidal rule.

They tell whether the pixels a map points to move this model's answer more than others do. No more:
a picture with holes is like none the model has seen, and a probability that falls may have fallen
to the holes (Hooker, Erhan, Kindermans and Kim, "A benchmark for interpretability methods in deep
neural networks", NeurIPS 2019, arXiv 1806.10758, therefore train anew; that is not done here). A
map that shows everything wins average drop, and a part of a texture is that texture still. A model
that is right for a wrong reason has faithful maps of it. No score says if a map finds the defect.
Nor if it comes from the model: edges of 64 pictures of steel, found without one, beat random maps
in all four scores, and five ways of class activation mapping in insertion. See `sanity`.

So every score is also that of a random map, smooth as maps are. Its order of pixels is the control
of deletion and insertion. Average drop and increase depend on how much a map shows, so there the
control is the map's own values laid out in that order. What counts is the difference, picture by
picture. Among equal values the random map decides: a map that says nothing scores as it does.

Deviations: what is hidden becomes the picture's mean instead of black. Black is not neutral: a dark
defect is nearer to it than sound steel. The program of RISE deletes to one grey for all pictures,
and blurs with a kernel of 11 pixels, which leaves a coarse texture as it is.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from pipeline.maps import sanity
from pipeline.maps.sanity import FloatArray, IntArray, Maps, Mean
from records.atomic import write_text

RANDOM, UNIFORM = "random", "uniform"
SCORES: Final = {  # which is better
    "average_drop_per_cent": "lower",
    "increase_share": "higher",
    "deletion_area": "lower",
    "insertion_area": "higher",
}

Images = npt.NDArray[np.float32]
Predict = Callable[[Images], npt.ArrayLike]
Batch = tuple[Images, Sequence[int], Mapping[str, Maps]]
_Ask = Callable[[Images], FloatArray]


@dataclass(frozen=True)
class Procedure:
    """How it is measured.

    Attributes:
        shown_on: What stands where a map is 0: `mean` of the picture, `blurred` picture, or
            `black`, 0 in the model's units, which is the paper's form.
        deleted_to: What pixels become that are deleted; likewise.
        inserted_into: What insertion begins with; likewise.
        blur_fraction: Standard deviation of the blur as a share of the picture's shorter side.
        steps: Equal parts in which pixels are deleted and inserted.
        cells: Cells of the random maps along each side.
        seed: Seed of the random maps.
    """

    shown_on: str = "mean"
    deleted_to: str = "mean"
    inserted_into: str = "blurred"
    blur_fraction: float = 1 / 16
    steps: int = 16
    cells: int = 8
    seed: int = 0


@dataclass(frozen=True)
class Score:
    """A mean over pictures, that of the control, and the mean of value less control."""

    value: float
    control: float
    difference: Mean


@dataclass(frozen=True)
class Faithfulness:
    """The scores of one method.

    Attributes:
        method: Its name, or `RANDOM`, or `UNIFORM`: a map that shows everything.
        pictures: How many.
        scores: By the names of `SCORES`.
        deletion_curve: Mean probability at each step, `steps + 1` values, as of insertion.
    """

    method: str
    pictures: int
    scores: dict[str, Score]
    deletion_curve: tuple[float, ...]
    insertion_curve: tuple[float, ...]


class _Answers(NamedTuple):
    """Probabilities of the class explained: `[n]` thrice, `[n, steps + 1]` twice."""

    whole: FloatArray
    shown: FloatArray
    control: FloatArray
    deletion: FloatArray
    insertion: FloatArray


def measure_faithfulness(
    predict: Predict, batches: Iterable[Batch], procedure: Procedure
) -> list[Faithfulness]:
    """Asks the model about pictures of which parts are hidden, as the maps say.

    Memory holds a few copies of one batch, whatever the number of steps and pictures. The division
    into batches does not change the result. The model sees each batch `2 steps + 4` times a method.

    Args:
        predict: From float32 `[n, h, w, c]` to probabilities `[n, classes]`.
        batches: Images, float32 `[n, h, w, c]` in the model's own units; the class index explained
            of each; by method the maps, float32 `[n, h, w]`, 0 to 1, all 0 if empty.
        procedure: How it is measured.

    Returns:
        One entry a method, in the order of the maps; then `RANDOM` and `UNIFORM`.

    Raises:
        ValueError: Shapes or values are not as described, or there is no picture.
    """
    answers: dict[str, list[_Answers]] = {}
    first = 0
    for batch in batches:
        for method, part in _score(predict, batch, procedure, first).items():
            answers.setdefault(method, []).append(part)
        first += len(batch[0])
    joined = {
        method: _Answers(*map(np.concatenate, zip(*parts, strict=True)))
        for method, parts in answers.items()
    }
    if len({len(one.whole) for one in joined.values()}) != 1:
        raise ValueError("There is no picture, or not every batch has maps of the same methods.")
    return [_summarize(method, one, joined[RANDOM]) for method, one in joined.items()]


def faithfulness_json(measured: Sequence[Faithfulness], procedure: Procedure) -> dict[str, Any]:
    """The same as dicts and lists, with the procedure and which scores are better."""
    methods = [dataclasses.asdict(one) for one in measured]
    return {"procedure": dataclasses.asdict(procedure), "better": SCORES, "methods": methods}


def write_faithfulness(path: Path, measured: Sequence[Faithfulness]) -> None:
    """Writes a line for each method and score."""
    lines = ["method,score,better,pictures,value,control,difference,low,high\n"]
    for one in measured:
        for name, score in one.scores.items():
            texts = [one.method, name, SCORES[name], str(one.pictures)]
            numbers = [score.value, score.control, *dataclasses.astuple(score.difference)]
            lines.append(sanity.format_line(texts, numbers))
    write_text(path, "".join(lines))


def _score(predict: Predict, batch: Batch, procedure: Procedure, first: int) -> dict[str, _Answers]:
    images, classes, maps = batch
    _check(images, classes, maps)
    chance = sanity.draw_random_maps(images.shape[:3], procedure.cells, procedure.seed, first)
    ask = functools.partial(_ask, predict, classes)
    trace = functools.partial(_trace, ask, steps=procedure.steps)
    hide = functools.partial(_hide, images, blur_fraction=procedure.blur_fraction)
    background, blank = hide(procedure.shown_on), hide(procedure.inserted_into)
    deleted, whole = hide(procedure.deleted_to), ask(images)

    def score(values: Maps) -> _Answers:
        ranks = sanity.rank_pixels(values, chance)
        weights = (values[..., None], sanity.lay_out(values, chance)[..., None])
        shown, control = (ask(one * images + (1 - one) * background) for one in weights)
        deletion, insertion = trace(images, deleted, ranks), trace(blank, images, ranks)
        return _Answers(whole, shown, control, deletion, insertion)

    answers = {method: score(values) for method, values in maps.items()}
    answers[RANDOM] = score(chance)
    # Shows the whole picture, and puts no pixel before another.
    answers[UNIFORM] = answers[RANDOM]._replace(shown=whole, control=whole)
    return answers


def _ask(predict: Predict, classes: Sequence[int], images: Images) -> FloatArray:
    answers = np.asarray(predict(images.astype(np.float32)), np.float64)
    if answers.ndim != 2 or not (np.abs(answers - 0.5) < 0.5 + 1e-5).all():
        raise ValueError("What the model predicts is not one row of probabilities a picture.")
    return np.clip(answers[np.arange(len(images)), classes], 0.0, 1.0)


def _trace(ask: _Ask, start: Images, end: Images, ranks: IntArray, *, steps: int) -> FloatArray:
    """The class's probability while pixels pass from `start` to `end`, `[n, steps + 1]`."""
    counts = np.linspace(0, ranks[0].size, steps + 1).round()
    passing = (np.where((ranks < count)[..., None], end, start) for count in counts)
    return np.stack([ask(pictures) for pictures in passing], axis=1)


def _hide(images: Images, reference: str, *, blur_fraction: float) -> Images:
    if reference == "blurred":
        deviation = blur_fraction * min(images.shape[1:3])
        return np.asarray(gaussian_filter(images, deviation, mode="nearest", axes=(1, 2)))
    if reference not in ("mean", "black"):
        raise ValueError(f"A reference is mean, blurred or black, not {reference!r}.")
    return images.mean(axis=(1, 2), keepdims=True) * np.float32(reference == "mean")


def _check(images: Images, classes: Sequence[int], maps: Mapping[str, Maps]) -> None:
    if images.ndim != 4 or not len(images) or len(classes) != len(images) or min(classes) < 0:
        raise ValueError(f"{len(classes)} classes do not fit images of shape {images.shape}.")
    for method, values in maps.items():
        if method in (RANDOM, UNIFORM):
            raise ValueError(f"The name {method!r} is that of a control.")
        if values.shape != images.shape[:3] or not ((values >= 0) & (values <= 1)).all():
            raise ValueError(f"Maps of {method} must be 0 to 1, in the pictures' size.")


def _summarize(method: str, answers: _Answers, random: _Answers) -> Faithfulness:
    whole, step = answers.whole, 1 / (answers.deletion.shape[1] - 1)
    shown = np.stack([answers.shown, answers.control])
    lost = np.maximum(0.0, whole - shown)
    pairs = {
        "average_drop_per_cent": 100 * np.divide(lost, whole, out=lost, where=whole > 0),
        "increase_share": (shown > whole).astype(np.float64),
        "deletion_area": np.trapezoid([answers.deletion, random.deletion], dx=step),
        "insertion_area": np.trapezoid([answers.insertion, random.insertion], dx=step),
    }
    return Faithfulness(
        method=method,
        pictures=len(whole),
        scores={
            name: Score(float(own.mean()), float(other.mean()), sanity.estimate_mean(own - other))
            for name, (own, other) in pairs.items()
        },
        deletion_curve=tuple(answers.deletion.mean(axis=0).tolist()),
        insertion_curve=tuple(answers.insertion.mean(axis=0).tolist()),
    )
