"""The drawn data set on disk: pictures in order and not in order, with boxes, in three splits.

Layout: `<split>/images/{io,nio}/NAME.png` and `<split>/annotations/NAME.xml`, for every picture;
`sample.json` beside the splits says what was drawn and marks the folder as ours.
"""

from __future__ import annotations

import functools
import io
import re
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from records.atomic import locked, write_json
from records.board import Board
from records.defects import DEFECT_KINDS, LIMITS, add_defect, has_places
from records.drawing import HEIGHT_PX, WIDTH_PX, draw_board
from records.errors import InputError
from records.types import SPLITS, AnnotatedObject, Annotation, Split
from records.untrusted import read_json
from records.voc import format_annotation
from records.workers import Workers
from records.xray import draw_exposure, expose, to_pixels

COUNTS: Mapping[Split, int] = {"train": 900, "validation": 200, "test": 500}
"""Pictures a split; with `NIO_SHARE` 60 of the test pictures are not in order, so that a model
without an escape has a one-sided 95 % bound below 5 % (Clopper-Pearson needs 59)."""
NIO_SHARE = 0.12
SECOND_DEFECT_SHARE = 0.2
DRAWING_VERSION = 1
"""Raised when the same seed gives other pictures than before."""

LABELS = ("io", "nio")
MARKER = "sample.json"
_AUTHOR = "nioscope sample"
_PNG_LEVEL = 3
# Pictures; fewer are drawn before a second process has started.
_WORTH_A_PROCESS = 200
_DRAFT = ".sample-draft"
_OURS = re.compile(
    r"sample\.json|(?P<split>train|validation|test)/"
    r"(images/(io|nio)/(?P=split)_\d{4,}\.png|annotations/(?P=split)_\d{4,}\.xml)"
)


@dataclass(frozen=True, slots=True)
class DrawnPicture:
    """A picture and what is wrong with it.

    Attributes:
        pixels: uint8 [height, width], grey.
        defects: Names from `records.defects.DEFECT_KINDS`, and boxes; none on a board in order.
    """

    pixels: np.ndarray
    defects: tuple[AnnotatedObject, ...]


@dataclass(frozen=True, slots=True)
class _Order:
    """One picture to draw: where it goes, its stream of random numbers, and its defects."""

    split: Split
    number: int
    kinds: tuple[str, ...]

    @property
    def label(self) -> str:
        return "nio" if self.kinds else "io"

    @property
    def name(self) -> str:
        return f"{self.split}_{self.number:04d}"


def draw_picture(seeds: np.random.SeedSequence, kinds: tuple[str, ...] = ()) -> DrawnPicture:
    """Draws one picture.

    Board, defects and exposure have streams of their own: pictures from equal `seeds` show the
    same board under the same exposure, and differ in the defects and the grain of the noise.

    Args:
        seeds: Of this picture.
        kinds: Defects to put on the board, from `records.defects.DEFECT_KINDS`.
    """
    for_board, for_defects, for_exposure = (
        np.random.Generator(np.random.PCG64(_child(seeds, index))) for index in range(3)
    )
    board = _draw_usable_board(for_board)
    defects = []
    for kind in kinds:
        board, defect = add_defect(board, kind, for_defects)
        defects.append(defect)
    exposure = draw_exposure(for_exposure)
    return DrawnPicture(to_pixels(expose(board, exposure, for_exposure)), tuple(defects))


def draw_data_set(
    folder: Path, *, seed: int, counts: Mapping[Split, int] = COUNTS, nio_share: float = NIO_SHARE
) -> dict[str, dict[str, int]]:
    """Draws a data set into `folder`, in place of an earlier one.

    Equal arguments give equal bytes, whatever the number of processors. The pictures are drawn
    beside their place and moved there when all are done.

    Args:
        folder: Created when missing; otherwise empty or an earlier data set of this function.
        seed: Of everything.
        counts: Pictures a split.
        nio_share: Share of pictures with defects, the same in each split.

    Returns:
        Pictures of each class in each split.

    Raises:
        InputError: `folder` holds something else, cannot be written, or is drawn into already.
    """
    orders = [order for split in SPLITS for order in _orders(split, counts[split], nio_share, seed)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder) as is_ours:
            if not is_ours:
                raise InputError(f"Another process draws into {folder}.", "Wait for its end.")
            return _draw_alone(folder, orders, seed)
    except OSError as error:
        raise InputError(
            f"The drawn pictures cannot be written to {folder}: {error.strerror or error}.",
            "Give another --data_dir, or make room and change the folder's permissions.",
        ) from error


def _draw_alone(folder: Path, orders: list[_Order], seed: int) -> dict[str, dict[str, int]]:
    _check_folder(folder)
    draft = folder / _DRAFT
    try:
        shutil.rmtree(draft, ignore_errors=True)
        facts = _draw_into(draft, orders, seed)
        (folder / MARKER).unlink(missing_ok=True)  # From here on until it is written anew.
        for split in SPLITS:
            shutil.rmtree(folder / split, ignore_errors=True)
            (draft / split).replace(folder / split)
        (draft / MARKER).replace(folder / MARKER)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        if not (folder / MARKER).exists() and any(folder.iterdir()):
            draft.mkdir()  # It tells the next run that the rest is ours.
    return dict(facts["pictures"])


def _draw_usable_board(rng: np.random.Generator) -> Board:
    """Draws boards until one could carry every kind of defect, whatever its class will be."""
    while not has_places(board := draw_board(rng)):
        pass
    return board


def _orders(split: Split, count: int, nio_share: float, seed: int) -> list[_Order]:
    """Deals classes and kinds of defect over the pictures of a split, kinds in equal number."""
    rng = np.random.Generator(np.random.PCG64(_seeds(seed, split)))
    spoilt = rng.permutation(count)[: round(count * nio_share)].tolist()
    kinds: dict[int, tuple[str, ...]] = {}
    for turn, number in enumerate(spoilt):
        first = turn % len(DEFECT_KINDS)
        other = (first + int(rng.integers(1, len(DEFECT_KINDS)))) % len(DEFECT_KINDS)
        chosen = (first, other) if rng.random() < SECOND_DEFECT_SHARE else (first,)
        kinds[number] = tuple(DEFECT_KINDS[kind] for kind in chosen)
    return [_Order(split, number + 1, kinds.get(number, ())) for number in range(count)]


def _seeds(seed: int, split: Split, *number: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=(SPLITS.index(split), *number))


def _child(seeds: np.random.SeedSequence, index: int) -> np.random.SeedSequence:
    """As `seeds.spawn` the first time; a second call would give others."""
    return np.random.SeedSequence(seeds.entropy, spawn_key=(*seeds.spawn_key, index))


def _draw_into(draft: Path, orders: list[_Order], seed: int) -> dict[str, Any]:
    """Draws every picture below `draft` and returns what `sample.json` says of them."""
    for split, label in product(SPLITS, LABELS):
        (draft / split / "images" / label).mkdir(parents=True)
        (draft / split / "annotations").mkdir(exist_ok=True)
    defects = {split: Counter(dict.fromkeys(DEFECT_KINDS, 0)) for split in SPLITS}
    with Workers(1 if len(orders) < _WORTH_A_PROCESS else 0) as workers:
        drawn = workers.map(functools.partial(_draw_files, draft, seed=seed), orders)
        bar = tqdm(drawn, desc="drawing", total=len(orders), unit="pictures", disable=None)
        for order, kinds in zip(orders, bar, strict=True):
            defects[order.split].update(kinds)
    pictures = Counter((order.split, order.label) for order in orders)
    facts = {
        "drawn_by": _AUTHOR,
        "drawing_version": DRAWING_VERSION,
        "seed": seed,
        "width": WIDTH_PX,
        "height": HEIGHT_PX,
        "limits": LIMITS,
        "pictures": {
            split: {label: pictures[split, label] for label in LABELS} for split in SPLITS
        },
        "defects": defects,
    }
    write_json(draft / MARKER, facts)
    return facts


def _draw_files(draft: Path, order: _Order, *, seed: int) -> tuple[str, ...]:
    """Draws one picture, writes it and its annotation, and returns the kinds of its defects."""
    picture = draw_picture(_seeds(seed, order.split, order.number), order.kinds)
    encoded = io.BytesIO()
    Image.fromarray(picture.pixels).save(encoded, "PNG", compress_level=_PNG_LEVEL)
    filename = f"{order.name}.png"
    annotation = Annotation(filename, WIDTH_PX, HEIGHT_PX, 1, picture.defects)
    folder = draft / order.split
    (folder / "images" / order.label / filename).write_bytes(encoded.getvalue())
    (folder / "annotations" / f"{order.name}.xml").write_bytes(format_annotation(annotation))
    return tuple(defect.name for defect in picture.defects)


def _check_folder(folder: Path) -> None:
    """Refuses what holds a file that was not drawn here: it would be lost."""
    is_drawn = _is_marker(folder / MARKER) or (folder / _DRAFT).is_dir()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name.startswith(f"{_DRAFT}/") or (path.is_dir() and not path.is_symlink()):
            continue
        if not (is_drawn and _OURS.fullmatch(name)):
            raise InputError(
                f"{folder} holds {name}, which is not of an earlier drawing.",
                "Give --data_dir a new or empty folder: drawn pictures replace what is there.",
            )


def _is_marker(path: Path) -> bool:
    try:
        return read_json(path).get("drawn_by") == _AUTHOR
    except (OSError, ValueError, AttributeError):
        return False
