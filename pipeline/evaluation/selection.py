"""Which pictures of an evaluation are worth a look: the errors, then a spread of the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

PICTURES_AT_MOST = 24
ERRORS_AT_MOST = 16
"""More of them only where too few pictures were judged right to fill the rest."""
OTHERS_FRACTION = 0.25
"""Of two classes: the places kept for the one that need not be caught."""


def choose_pictures(
    *,
    true: npt.NDArray[np.int64],
    predicted: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float32],
    positive: int | None,
) -> list[int]:
    """Chooses pictures: errors first, then right ones spread over classes and certainty.

    Places are dealt out evenly over the true classes; with a positive class its pictures come
    first and may take all places but `OTHERS_FRACTION`. Of the errors of a class the surest are
    taken, of the right ones an even spread from the most to the least sure.

    Args:
        true: Class indices `[pictures]`.
        predicted: Class indices `[pictures]`.
        probabilities: `[pictures, classes]`.
        positive: Of two classes the index of the one that must be caught, else None.

    Returns:
        At most `PICTURES_AT_MOST` row numbers, each once; the same for the same arguments.
    """
    certainty = probabilities[np.arange(len(predicted)), predicted]
    ranked = sorted(range(len(true)), key=lambda row: (-float(certainty[row]), row))
    wrong = [row for row in ranked if true[row] != predicted[row]]
    right = [row for row in ranked if true[row] == predicted[row]]
    places = min(len(wrong), max(ERRORS_AT_MOST, PICTURES_AT_MOST - len(right)), PICTURES_AT_MOST)
    errors, rest = (_group(rows, true, positive) for rows in (wrong, right))
    error_shares = _deal(errors, places, positive)
    rest_shares = _deal(rest, PICTURES_AT_MOST - places, positive)
    return [
        *(row for name, rows in errors.items() for row in rows[: error_shares[name]]),
        *(row for name, rows in rest.items() for row in _spread(rows, rest_shares[name])),
    ]


def _group(
    rows: Sequence[int], true: npt.NDArray[np.int64], first: int | None
) -> dict[int, list[int]]:
    """Rows by their true class, in the order of the classes, `first` before all others."""
    groups: dict[int, list[int]] = {}
    for row in rows:
        groups.setdefault(int(true[row]), []).append(row)
    return dict(sorted(groups.items(), key=lambda item: (item[0] != first, item[0])))


def _deal(groups: Mapping[int, Sequence[int]], places: int, favoured: int | None) -> dict[int, int]:
    """Deals places out one by one in turn, to no class more than it has pictures."""
    shares = dict.fromkeys(groups, 0)
    dealt_to = [name for name in groups if name != favoured]
    if favoured is not None and favoured in groups:
        others = sum(len(groups[name]) for name in dealt_to)
        kept = min(others, int(places * OTHERS_FRACTION))
        shares[favoured] = min(len(groups[favoured]), places - kept)
        places -= shares[favoured]
    while places > 0 and (open_to := [x for x in dealt_to if shares[x] < len(groups[x])]):
        for name in open_to[:places]:
            shares[name] += 1
        places -= len(open_to)
    return shares


def _spread(rows: Sequence[int], count: int) -> list[int]:
    """`count` of the rows, from the first to the last, at distances as even as can be."""
    positions = np.linspace(0, len(rows) - 1, count).round().astype(int)
    return [rows[position] for position in positions]
