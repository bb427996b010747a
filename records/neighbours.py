"""Which pictures look most alike, by their fingerprints alone."""

from __future__ import annotations

from collections.abc import Iterator

import faiss
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from records.fingerprints import (
    ANALYSIS,
    TURNS,
    Fingerprints,
    Floats,
    as_matrices,
    is_flat,
    pixel_centres,
    turn_matrices,
    undo_turn,
    waves,
)

# Only the lowest frequencies are compared; higher ones do not survive a crop of 5 % a side.
_COMPARED = 8
# What left, right, top and bottom lose in the crops that are searched for: all around, and towards
# each corner. Crops of up to 5 % a side are near enough to one of these, or to none.
_CROP = 0.045
_CROPS = ((_CROP,) * 4, *((x, _CROP - x, y, _CROP - y) for x in (0, _CROP) for y in (0, _CROP)))
# Vectors of this length are rounded to whole numbers. Their products add up to less than 2**24, so
# that float32 holds every sum exactly: neither the order of adding nor the processor matters.
_LENGTH = 2000
# So many pictures must agree before what they share counts as much as what tells them apart.
_DOUBT = 32
_CHUNK = 8192

Hit = tuple[int, int, int]
_Scored = tuple[float, int, int]


def nearest(fingerprints: Fingerprints, count: int) -> list[Hit]:
    """Finds for every picture the others that look most like it: upright, turned, cropped.

    Compared are directions: the lowest frequencies, each times its number of half waves, less what
    all pictures have in common, in units of how the pictures differ (whitened by their mean and
    covariance). So pictures of one product, alike at first sight, are told apart by the little that
    each has for itself. The search is exhaustive and exact (faiss, inner product); memory grows
    with the number of pictures alone, time with its square. Pictures without structure are left
    out.

    Args:
        fingerprints: `[n, FINGERPRINT_LENGTH]`. Where similarities are equal, the order decides.
        count: How many to find for each picture; the same one laid down in two ways counts twice.

    Returns:
        `(picture, other, turn)` with picture < other: laid down by `turn`, picture is like other.
        Sorted, each once.
    """
    places = np.flatnonzero(~is_flat(fingerprints)).tolist()
    if len(places) < 2:
        return []
    matrices = as_matrices(fingerprints[places])
    whiten = _Whitening(matrices)
    index = faiss.IndexFlatIP(_COMPARED**2 - 1)
    index.add(whiten(matrices))
    found: set[Hit] = set()
    with tqdm(total=len(places), desc="look-alikes", unit="pictures", disable=None) as progress:
        for start in range(0, len(places), _CHUNK):
            chunk = matrices[start : start + _CHUNK]
            for row, scored in enumerate(_search(index, whiten, chunk, count), start):
                found.update(_best(row, scored, count))
            progress.update(len(chunk))
    return sorted((places[picture], places[other], turn) for picture, other, turn in found)


class _Whitening:
    """Turns fingerprints into vectors of whole numbers whose products say how alike they are."""

    def __init__(self, matrices: Floats) -> None:
        vectors = _directions(matrices)
        trust = len(vectors) / (len(vectors) + _DOUBT)
        mean = vectors.mean(axis=0)
        self._mean = trust * mean
        squares = vectors.T @ vectors / len(vectors)
        covariance = squares - (2 * trust - trust**2) * np.outer(mean, mean)
        round_one = np.eye(len(covariance)) * np.trace(covariance) / len(covariance)
        values, axes = np.linalg.eigh(trust * covariance + (1.01 - trust) * round_one)
        self._axes = axes / np.sqrt(values)

    def __call__(self, matrices: Floats) -> Floats:
        """From `[n, FREQUENCIES, FREQUENCIES]` to `[n, _COMPARED**2 - 1]`."""
        return _whole((_directions(matrices) - self._mean) @ self._axes).astype(np.float32)


def _directions(matrices: Floats) -> NDArray[np.float64]:
    lowest = matrices[:, :_COMPARED, :_COMPARED] * np.hypot(*np.mgrid[:_COMPARED, :_COMPARED])
    return _whole(lowest.reshape(len(matrices), -1)[:, 1:].astype(np.float64))


def _whole(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.rint(vectors * (_LENGTH / np.maximum(lengths, 1e-12)))


def _search(
    index: faiss.IndexFlatIP, whiten: _Whitening, matrices: Floats, count: int
) -> Iterator[list[_Scored]]:
    """Yields for each picture `(minus similarity, other, turn)` of the best in every way."""
    # Upright, each picture finds itself: one more than asked for.
    count = min(count + 1, index.ntotal)
    answers = [(turn, *index.search(whiten(laid), count)) for turn, laid in _ways(matrices)]
    for row in range(len(matrices)):
        yield [
            (-similarity, other, turn)
            for turn, similarities, others in answers
            for similarity, other in zip(
                similarities[row].tolist(), others[row].tolist(), strict=True
            )
        ]


def _ways(matrices: Floats) -> Iterator[tuple[int, Floats]]:
    """The pictures laid down in every way, and upright with their edges cropped."""
    for turn in TURNS:
        yield turn, turn_matrices(matrices, turn)
    for left, right, top, bottom in _CROPS:
        yield 0, (_crop(top, bottom) @ matrices @ _crop(left, right).T).astype(np.float32)


def _crop(before: float, after: float) -> Floats:
    """What turns an axis's coefficients into those of its middle, stretched to the whole."""
    places = before + pixel_centres(ANALYSIS.shape[1]) * (1.0 - before - after)
    cropped: Floats = ANALYSIS @ waves(places)
    return cropped


def _best(row: int, hits: list[_Scored], count: int) -> Iterator[Hit]:
    """The first `count` hits on others, each with the smaller number first."""
    others = dict.fromkeys((other, turn) for _, other, turn in sorted(hits) if other != row)
    for other, turn in list(others)[:count]:
        yield (row, other, turn) if row < other else (other, row, undo_turn(turn))
