"""Pictures that must not stand on two sides of a split: near-duplicates, and what a user names."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from records import faults
from records.errors import InputError, picture_changed
from records.near_duplicates import NearPair, find_near_duplicates
from records.pictures import PictureError, probe_pixels, read_file
from records.places import Place
from records.time_limit import limiting
from records.types import Example, Finding
from records.workers import Workers

SECONDS_A_PATH = 1.0
"""That `group_regex` may take for one path; a sound expression takes microseconds."""

_Edge = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Groups:
    """Which pictures belong together; a picture alone is a group of its own.

    Attributes:
        group_of: The number of the group of each `source_id`.
        alike_of: The same by likeness alone, without what `--group_regex` joins.
    """

    group_of: dict[str, int]
    alike_of: dict[str, int]

    def gather(self, examples: Iterable[Example]) -> list[list[Example]]:
        """The examples, group by group; the groups in the order of their first example."""
        gathered: dict[int, list[Example]] = {}
        for example in examples:
            gathered.setdefault(self.group_of[example.source_id], []).append(example)
        return list(gathered.values())

    def count_shared(self) -> dict[str, int]:
        """How many groups have more than one picture, and how many pictures are in those."""
        sizes = [size for size in Counter(self.group_of.values()).values() if size > 1]
        return {"groups": len(sizes), "pictures": sum(sizes)}


def form_groups(
    examples: Sequence[Example],
    fingerprints: npt.NDArray[np.float16] | None,
    *,
    source: Place,
    workers: Workers | None = None,
    group_regex: str = "",
) -> tuple[Groups, list[Finding]]:
    """Puts pictures that show the same into groups.

    Args:
        examples: The usable pictures.
        fingerprints: Of each, as `records.fingerprints` makes them; None: near-duplicates are not
            looked for.
        source: The data folder.
        workers: Who compares pictures.
        group_regex: A regular expression that is searched for in each `source_id`. Pictures with
            the same captured groups (without any: the same match) belong together; those in which
            it is not found, or finds nothing but emptiness, stay by themselves.

    Returns:
        The groups, and for each group of `n` near-duplicates the `n - 1` findings that join them,
        the most similar first.

    Raises:
        InputError: `group_regex` is found in no picture's path, or takes too long.
        re.error: It is no regular expression.
    """
    named = _join_by_name(examples, group_regex) if group_regex else []
    pairs: list[NearPair] = []
    if fingerprints is not None:
        pairs = find_near_duplicates(
            fingerprints,
            [example.source_id for example in examples],
            functools.partial(_load, source.absolute()),
            workers,
        )
    alike = [(pair.first, pair.second) for pair in pairs]
    paths = [example.source_id for example in examples]
    groups = Groups(
        group_of=dict(zip(paths, _number(len(paths), [*alike, *named]), strict=True)),
        alike_of=dict(zip(paths, _number(len(paths), alike), strict=True)),
    )
    return groups, [_report(examples, pair) for pair in _find_joining(len(paths), pairs)]


def _load(source: Place, source_id: str) -> npt.NDArray[np.uint8]:
    try:
        return probe_pixels(read_file(source / source_id))[1]
    except PictureError as error:
        raise picture_changed(source / source_id) from error


def _join_by_name(examples: Sequence[Example], group_regex: str) -> list[_Edge]:
    """Joins each picture to the first one of the same key."""
    first: dict[tuple[str | None, ...], int] = {}
    edges = []
    for index, key in enumerate(_find_keys([item.source_id for item in examples], group_regex)):
        if any(key):
            edges.append((first.setdefault(key, index), index))
    if examples and not edges:
        raise InputError(
            f"--group_regex={group_regex} is found in the path of no picture, such as "
            f"{examples[0].source_id}.",
            "Correct it, or leave it out.",
        )
    return edges


def _find_keys(paths: Sequence[str], group_regex: str) -> list[tuple[str | None, ...]]:
    """What the expression captures in each path, empty where it is not found."""
    pattern, keys = re.compile(group_regex), []
    try:
        with limiting(SECONDS_A_PATH) as begin_step:
            for path in paths:
                begin_step()
                found = pattern.search(path)
                keys.append((found.groups() or (found[0],)) if found else ())
    except TimeoutError as error:
        raise InputError(
            f"--group_regex={group_regex} takes longer than {SECONDS_A_PATH:g} s for the path "
            f"{paths[len(keys)]}.",
            r"Write it without a repetition in a repetition: (\d+)_ for (\d+)+_.",
        ) from error
    return keys


def _number(count: int, edges: Sequence[_Edge]) -> list[int]:
    """The number of the connected component of each of `count` pictures."""
    return connected_components(_build_graph(count, edges, np.ones(len(edges))))[1].tolist()


def _find_joining(count: int, pairs: Sequence[NearPair]) -> Iterator[NearPair]:
    """The pairs of a spanning tree of each group that joins the most similar."""
    edges = [(pair.first, pair.second) for pair in pairs]
    # A weight of 0 would be no edge.
    weights = 2.0 - np.array([pair.similarity for pair in pairs])
    tree = minimum_spanning_tree(_build_graph(count, edges, weights)).tocoo()
    joining = set(zip(tree.row.tolist(), tree.col.tolist(), strict=True))
    return (pair for pair in pairs if (pair.first, pair.second) in joining)


def _build_graph(count: int, edges: Sequence[_Edge], weights: npt.NDArray[np.float64]) -> coo_array:
    rows, columns = np.array(edges, np.int32).reshape(-1, 2).T
    return coo_array((weights, (rows, columns)), shape=(count, count)).tocsr()


def _report(examples: Sequence[Example], pair: NearPair) -> Finding:
    first, second = sorted((examples[pair.first].source_id, examples[pair.second].source_id))
    how = f", {pair.how}" * bool(pair.how)
    reason = f"it shows the same as {first}{how} (similarity {pair.similarity:.2f})"
    labels = {examples[pair.first].label, examples[pair.second].label}
    if len(labels) == 1:
        return faults.NEAR_DUPLICATE.found(second, reason, other=first)
    reason += f"; their classes differ: {' and '.join(sorted(labels))}"
    return faults.NEAR_DUPLICATE_OF_OTHER_CLASS.found(second, reason, other=first)
