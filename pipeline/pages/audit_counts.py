"""What the audit's page counts: pictures a class and split, sizes, formats, boxes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from records.types import SPLITS, AnnotatedObject, Example, Split

SMALL_BOX_PX = 4
"""A shorter side below this, in the model's input, leaves little of what the box is around."""
MODEL_SIDE_PX = 128
"""The smaller of the models' default sides."""

_KIND_DIFFERENCE = 0.5  # of the shares of a format in two classes, from which it is remarked on


@dataclass(frozen=True, slots=True)
class ClassCount:
    """How many pictures of one class are used.

    Attributes:
        name: Of the class.
        per_split: Pictures in each of `SPLITS`; empty when no split was made.
        pictures: In all.
    """

    name: str
    per_split: dict[Split, int]
    pictures: int


@dataclass(frozen=True, slots=True)
class Range:
    """Smallest, median and largest of something; all 0 of nothing."""

    smallest: float
    median: float
    largest: float


@dataclass(frozen=True, slots=True)
class PictureKind:
    """Pictures that were saved alike.

    Attributes:
        text: Such as `JPEG, grey`.
        pictures: How many.
        tells_classes_apart: Whether its share of one class exceeds that of another by half.
    """

    text: str
    pictures: int
    tells_classes_apart: bool


@dataclass(frozen=True, slots=True)
class BoxCount:
    """The boxes of one class.

    Attributes:
        name: Of the box class.
        pictures: That hold one at least.
        corners: float64 `[boxes, 4]`: xmin, ymin, xmax, ymax in fractions of their pictures, 0..1.
        width_px: In pixels of the pictures.
        height_px: Likewise.
        area_fraction: Of the picture, 0..1.
        small: Boxes with a side below `SMALL_BOX_PX` once the picture's longer side has
            `MODEL_SIDE_PX`: a model sees it in its proportions, unless told to stretch it.
    """

    name: str
    pictures: int
    corners: npt.NDArray[np.float64]
    width_px: Range
    height_px: Range
    area_fraction: Range
    small: int


def count_classes(
    classes: Sequence[str],
    examples: Iterable[Example],
    splits: Mapping[Split, Sequence[Example]] | None,
) -> list[ClassCount]:
    """One entry a class, in the order of `classes`; with splits their pictures alone count."""
    if splits is None:
        pictures = Counter(example.label for example in examples)
        return [ClassCount(name, {}, pictures[name]) for name in classes]
    counts = {split: Counter(item.label for item in splits.get(split, ())) for split in SPLITS}
    rows = ({split: counts[split][name] for split in SPLITS} for name in classes)
    return [
        ClassCount(name, row, sum(row.values())) for name, row in zip(classes, rows, strict=True)
    ]


def highest_error_rate(pictures: int) -> float:
    """The error rate that no error among `pictures` still allows, with 95 % confidence.

    The one-sided bound of C. J. Clopper and E. S. Pearson, Biometrika 26 (1934) 404, for a count of
    0: `1 - 0.05 ** (1 / n)`; 1 for no picture.
    """
    return float(1.0 - 0.05 ** (1.0 / pictures)) if pictures else 1.0


def measure_range(values: Iterable[float]) -> Range:
    """Smallest, median and largest."""
    numbers = np.fromiter(values, np.float64)
    if not numbers.size:
        return Range(0.0, 0.0, 0.0)
    return Range(float(numbers.min()), float(np.median(numbers)), float(numbers.max()))


def count_kinds(examples: Iterable[Example]) -> list[PictureKind]:
    """How pictures were saved, the most frequent first, and whether that tells classes apart."""
    of_class: dict[str, Counter[str]] = defaultdict(Counter)
    for example in examples:
        of_class[example.label][_describe_kind(example)] += 1
    together = sum(of_class.values(), Counter[str]())
    kinds = []
    for text, pictures in sorted(together.items(), key=lambda item: (-item[1], item[0])):
        shares = [counts[text] / counts.total() for counts in of_class.values()]
        differs = max(shares) - min(shares) >= _KIND_DIFFERENCE
        kinds.append(PictureKind(text, pictures, differs))
    return kinds


def count_boxes(examples: Iterable[Example]) -> list[BoxCount]:
    """The boxes of each box class, by name."""
    found: dict[str, list[tuple[Example, AnnotatedObject]]] = defaultdict(list)
    for example in examples:
        for item in example.objects:
            found[item.name].append((example, item))
    return [_measure_boxes(name, boxes) for name, boxes in sorted(found.items())]


def _describe_kind(example: Example) -> str:
    stored = example.image_format.upper()
    colour = "grey" if example.is_grey else "colour"
    return f"{stored}, {colour}{', converted by the records' if example.is_converted else ''}"


def _measure_boxes(name: str, boxes: Sequence[tuple[Example, AnnotatedObject]]) -> BoxCount:
    corners_px = np.array(
        [(item.box.xmin, item.box.ymin, item.box.xmax, item.box.ymax) for _, item in boxes]
    )
    sizes_px = np.array([(example.width, example.height) for example, _ in boxes], np.float64)
    sides_px = corners_px[:, 2:] - corners_px[:, :2]
    scales = MODEL_SIDE_PX / sizes_px.max(axis=1)
    return BoxCount(
        name=name,
        pictures=len({example.source_id for example, _ in boxes}),
        corners=corners_px / np.tile(sizes_px, 2),
        width_px=measure_range(sides_px[:, 0]),
        height_px=measure_range(sides_px[:, 1]),
        area_fraction=measure_range((sides_px / sizes_px).prod(axis=1)),
        small=int(np.count_nonzero(scales * sides_px.min(axis=1) < SMALL_BOX_PX)),
    )
