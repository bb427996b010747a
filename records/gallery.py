"""Pictures in the sizes in which near-duplicates are compared, loaded when they are needed."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

from records.alignment import COARSE_PX, coarse_structure, fine_structure, thumbnail
from records.fingerprints import Fingerprints, Floats, Pixels

Loader = Callable[[Any], Pixels]
"""Gives the picture of a key as uint8 `[height, width]`."""
_Small = tuple[Pixels, tuple[int, int]]

# How many are kept: 16 KB a thumbnail, 4 KB a coarse structure, 40 KB a fine one on average.
_THUMBNAILS, _STRUCTURES = 16384, 4096


class Gallery:
    """The pictures in the sizes in which they are compared; those used last are kept.

    Args:
        fingerprints: `[n, FINGERPRINT_LENGTH]`, as `records.fingerprints.fingerprint` makes them.
        keys: What `load_grey` is given for each.
        load_grey: Loads a picture.

    Attributes:
        small: Gives the thumbnail of an index, and height and width of its picture.
    """

    def __init__(self, fingerprints: Fingerprints, keys: Sequence[Any], load_grey: Loader) -> None:
        self._fingerprints = fingerprints
        self.small = lru_cache(_THUMBNAILS)(partial(_make_small, keys, load_grey))
        self._coarse = lru_cache(_THUMBNAILS)(partial(_make_coarse, fingerprints))
        self._fine = lru_cache(_STRUCTURES)(partial(_make_fine, self.small))

    def structure(self, index: int, side: int) -> Floats:
        """The structure of a picture in one of the sizes of `records.alignment`."""
        return self._coarse(index) if side == COARSE_PX else self._fine(index, side)

    def order(self) -> list[int]:
        """The indices in an order that does not depend on them, but for equal pictures."""
        keys = [each.tobytes() for each in self._fingerprints]
        counts = Counter(keys)
        contents = {
            index: hashlib.sha256(self.small(index)[0].tobytes()).digest()
            for index, key in enumerate(keys)
            if counts[key] > 1
        }
        return sorted(range(len(keys)), key=lambda index: (keys[index], contents.get(index, b"")))


def _make_small(keys: Sequence[Any], load_grey: Loader, index: int) -> _Small:
    grey = load_grey(keys[index])
    return thumbnail(grey), (grey.shape[0], grey.shape[1])


def _make_coarse(fingerprints: Fingerprints, index: int) -> Floats:
    return coarse_structure(fingerprints[index])


def _make_fine(small: Callable[[int], _Small], index: int, side: int) -> Floats:
    return fine_structure(small(index)[0], side)
