"""Pictures that show the same thing: mirrored, coded anew, brighter, shifted, cropped, shot again.

Every picture is compared with those whose fingerprints are nearest. What decides is the correlation
of fine structure, and how much better it is than what is usual among look-alikes: on pictures of
one product nearly everything agrees, so that a correlation of 0.9 means nothing, while on a rough
surface it cannot be chance. So a duplicate is judged by what is unlike, 1 - correlation, as a share
of what is unlike in its usual look-alikes.

Seen of that share: at most 0.17 in 700 copies of NEU's 1,800 pictures of steel (mirrored, turned,
JPEG of quality 70, gain 0.95 and 1.05, shifted by 2 pixels, cropped, all of it together), and 0.06
in 137 such copies of drawn boards (3 more were not among the nearest); at least 0.39 between 1,600
drawn boards, 0.87 between 400 drawn boards of one design in one place. The limit is 0.3. It finds
35 pairs in NEU as published, all of them the same place of the steel; 10 cross the published split.

Limits. Many copies of one picture are look-alikes too, and then usual: of noisy frames of one place
in NEU 4 were found, 13 were not. Crops of more than 5 % a side are found by luck, as are those of
pictures of one design in one place. Noise may hide that a board was shot twice.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from records.alignment import COARSE_PX, FINE_PX, Placement, Target
from records.fingerprints import Fingerprints, is_flat
from records.gallery import Gallery, Loader
from records.neighbours import Hit, nearest
from records.workers import Workers

NEIGHBOURS = 12
_HITS_A_TASK = 2048
# Of what is unlike in a picture's usual look-alikes, a duplicate has at most this share.
_SHARE = 0.3
# Look-alikes may be copies too, so what is usual counts up to this, and fully only from so many.
_MOST_USUAL, _ENOUGH = 0.9, 9
# Below these correlations, finer sizes are not looked at.
_LEAST = {COARSE_PX: 0.75, 64: 0.6, 128: 0.0}
# A corner that moves less, as a share of the picture, has not moved.
_STILL = 0.004
# Grey levels by which pictures without structure may differ anywhere.
_SAME_GREY = 2

_Pair = tuple[int, int]

_TURNED = (
    "",
    "mirrored left to right",
    "mirrored top to bottom",
    "turned by 180 degrees",
    "mirrored and turned by 90 degrees",
    "turned by 90 degrees",
    "turned by 90 degrees",
    "mirrored and turned by 90 degrees",
)


@dataclass(frozen=True, slots=True)
class NearPair:
    """Two pictures that show the same thing.

    Attributes:
        first: Index of one.
        second: Index of the other, larger than `first`.
        similarity: Correlation of their fine structure, 0 to 1; 1 for equal pictures.
        how: What was done to one to get the other, in words; empty when nothing but its coding or
            brightness changed.
    """

    first: int
    second: int
    similarity: float
    how: str


class _Match(NamedTuple):
    similarity: float = 0.0
    turn: int = 0
    move: float = 0.0
    is_resized: bool = False

    @property
    def rank(self) -> tuple[float, int]:
        """Orders matches of two pictures: the better, then the plainer."""
        return round(self.similarity, 2), -self.turn

    @property
    def how(self) -> str:
        """What was done, in words."""
        moved = "shifted or cropped" if self.move > _STILL else ""
        resized = "resized" if self.is_resized and not moved else ""
        return ", ".join(filter(None, (_TURNED[self.turn], moved, resized)))


class _Task(NamedTuple):
    """Some pictures and which of them to compare: `(one, other, turn)`, ordered by other."""

    places: list[int]
    keys: list[Any]
    fingerprints: Fingerprints
    hits: list[Hit]


def find_near_duplicates(
    fingerprints: Fingerprints,
    keys: Sequence[Any],
    load_grey: Loader,
    workers: Workers | None = None,
) -> list[NearPair]:
    """Finds pictures that show the same thing.

    Not every pair of a large group is reported, only what is among the `NEIGHBOURS` nearest.
    The outcome depends on what the pictures show, not on their order or the number of workers.

    Args:
        fingerprints: `[n, FINGERPRINT_LENGTH]`, as `records.fingerprints.fingerprint` makes them.
        keys: What `load_grey` is given for each.
        load_grey: Gives the picture of a key as uint8 `[height, width]`. Called for those that
            have look-alikes; more than once for one where these are very many. For several workers
            it must pass through `pickle`.
        workers: Who compares.

    Returns:
        The pairs, sorted.
    """
    order = Gallery(fingerprints, keys, load_grey).order()
    ordered, chosen = fingerprints[order], [keys[index] for index in order]
    compare = partial(_compare, load_grey)
    found = dict(_outstanding(_match_nearest(ordered, chosen, compare, workers or Workers(1))))
    found.update(_match_flat(Gallery(ordered, chosen, load_grey), ordered))
    pairs = [
        NearPair(
            min(order[one], order[other]),
            max(order[one], order[other]),
            match.similarity,
            match.how,
        )
        for (one, other), match in found.items()
    ]
    return sorted(pairs, key=lambda pair: (pair.first, pair.second))


def _match_nearest(
    ordered: Fingerprints,
    keys: Sequence[Any],
    compare: Callable[[_Task], list[tuple[_Pair, _Match]]],
    workers: Workers,
) -> dict[_Pair, _Match]:
    """Compares every picture with its nearest."""
    hits = sorted(nearest(ordered, NEIGHBOURS), key=lambda hit: hit[1:])
    tasks = []
    for piece in _cut_between_others(hits):
        places = sorted({place for one, other, _ in piece for place in (one, other)})
        tasks.append(_Task(places, [keys[place] for place in places], ordered[places], piece))
    matches: dict[_Pair, _Match] = {}
    with tqdm(total=len(hits), desc="compared", unit="pairs", disable=None) as progress:
        for task, found in zip(tasks, workers.map(compare, tasks), strict=True):
            matches.update(found)
            progress.update(len(task.hits))
    return matches


def _cut_between_others(hits: Sequence[Hit]) -> Iterator[list[Hit]]:
    """Pieces of at least `_HITS_A_TASK` hits; all on one picture are in the same."""
    piece: list[Hit] = []
    for _, of_other in groupby(hits, key=lambda hit: hit[1]):
        piece += of_other
        if len(piece) >= _HITS_A_TASK:
            yield piece
            piece = []
    if piece:
        yield piece


def _compare(load_grey: Loader, task: _Task) -> list[tuple[_Pair, _Match]]:
    """Compares pictures; of several ways to lay one on another the best counts."""
    gallery = Gallery(task.fingerprints, task.keys, load_grey)
    position = {place: index for index, place in enumerate(task.places)}
    matches: dict[_Pair, _Match] = {}
    for other, of_other in groupby(task.hits, key=lambda hit: hit[1]):
        fixed = _Fixed(gallery, position[other])
        for one, _, turn in of_other:
            match = fixed.compare(position[one], turn)
            known = matches.get((one, other), _Match())
            matches[one, other] = max(known, match, key=lambda each: each.rank)
    return list(matches.items())


class _Fixed:
    """A picture on which others are laid."""

    def __init__(self, gallery: Gallery, index: int) -> None:
        self._gallery = gallery
        self._index = index
        self._targets: dict[int, Target] = {}

    def compare(self, index: int, turn: int) -> _Match:
        """Lays another picture on this one, in ever finer sizes while they agree."""
        placement = Placement()
        for side in (COARSE_PX, *FINE_PX):
            placement, similarity = self._fit(index, side, turn, placement)
            if similarity < _LEAST[side]:
                return _Match()
        shape, own = (self._gallery.small(each)[1] for each in (index, self._index))
        is_resized = own != (shape[::-1] if turn & 4 else shape)
        return _Match(min(similarity, 1.0), turn, placement.largest_move, is_resized)

    def _fit(self, index: int, side: int, turn: int, start: Placement) -> tuple[Placement, float]:
        if side not in self._targets:
            self._targets[side] = Target(self._gallery.structure(self._index, side))
        return self._targets[side].fit(self._gallery.structure(index, side), turn, start)


def _outstanding(matches: dict[_Pair, _Match]) -> Iterator[tuple[_Pair, _Match]]:
    """The matches that are far better than what is usual for both pictures."""
    similarities: dict[int, list[float]] = defaultdict(list)
    for pair, match in matches.items():
        for picture in pair:
            similarities[picture].append(match.similarity)
    usual = {picture: _usual(values) for picture, values in similarities.items()}
    for pair, match in matches.items():
        unlike = 1.0 - max(usual[picture] for picture in pair)
        if 1.0 - match.similarity <= _SHARE * unlike:
            yield pair, match


def _usual(similarities: list[float]) -> float:
    """How similar a picture's look-alikes usually are: their median, trusted when many."""
    trust = min(1.0, (len(similarities) - 1) / (_ENOUGH - 1))
    return min(_MOST_USUAL, trust * statistics.median_low(similarities))


def _match_flat(gallery: Gallery, ordered: Fingerprints) -> Iterator[tuple[_Pair, _Match]]:
    """Compares pictures without structure with those of the same grey."""
    flat = np.flatnonzero(is_flat(ordered)).tolist()
    for position, one in enumerate(flat):
        for other in flat[position + 1 : position + 1 + NEIGHBOURS]:
            if ordered[one, 0] != ordered[other, 0]:
                break
            small, others = (gallery.small(each)[0].astype(int) for each in (one, other))
            if np.abs(small - others).max() <= _SAME_GREY:
                yield (one, other), _Match(1.0)
