"""JSON with one value that somebody changed."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

ODD: tuple[Any, ...] = (
    *(
        None,
        True,
        -1,
        0,
        10**30,
        1.5,
        1e308,
        "",
        "x",
        "\ud800",
        "../../x",
        "\x1b[31m",
        "n" * 10_000,
    ),
    *([], {}, [[]], [None], {"a": {"b": 1}}, [1, "a"]),
)


def mutate(values: Any, odd: tuple[Any, ...] = ODD) -> Iterator[tuple[str, Any]]:
    """Yields the path of a value, and a copy with another one there, or with none."""
    for path in list_paths(values):
        for value in (*odd, ...):
            mutant = copy.deepcopy(values)
            parent = mutant
            for key in path[:-1]:
                parent = parent[key]
            if value is ...:
                del parent[path[-1]]
            else:
                parent[path[-1]] = value
            yield f"{'/'.join(map(str, path))} = {value!r}"[:100], mutant


def list_paths(values: Any) -> Iterator[tuple[str | int, ...]]:
    """The keys that lead to each value; of a list those of its first entry alone."""
    items: list[tuple[str | int, Any]] = []
    if isinstance(values, dict):
        items = list(values.items())
    elif isinstance(values, list):
        items = list(enumerate(values[:1]))
    for key, value in items:
        yield (key,)
        yield from ((key, *path) for path in list_paths(value))
