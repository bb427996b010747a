"""What may stand in the fields of `manifest.json`, so that a damaged one is found when it is read.

Every function takes what JSON gave and raises a `ValueError` that names the field.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from records.shard_plan import SHARD_ENDING
from records.types import SPLITS

_SHA256: Final = re.compile("[0-9a-f]{64}")
_NAME: Final = re.compile("[a-z][a-z0-9_]*")
_SHARD_FIELDS: Final = frozenset({"file", "count", "sha256", "plan"})


def check_fields(values: dict[str, Any]) -> None:
    """Looks at every field but `schema_version`, and whether they fit one another."""
    unknown = values.keys() - _CHECKS.keys() - {"schema_version"}
    _require(not unknown, f"there is no field {', '.join(sorted(unknown))}")
    for field, check in _CHECKS.items():
        _require(field in values, f"the field {field} is missing")
        check(field, values[field])
    for split in SPLITS:
        counts = values["counts"][split]
        _require(
            counts.keys() == set(values["classes"]),
            f"counts of {split} are not those of the classes",
        )
        held = sum(shard["count"] for shard in values["shards"][split])
        _require(
            held == sum(counts.values()),
            f"counts of {split} add up to {sum(counts.values())}, its shards hold {held}",
        )
    _check_files(values)


def _check_files(values: dict[str, Any]) -> None:
    # A name is joined to the folder's path later: nothing but the names we give may stand here.
    files = [
        (shard["file"], f"{values['name']}-{split}")
        for split in SPLITS
        for shard in values["shards"][split]
    ]
    for file, stem in files:
        fits = file.startswith(stem) and SHARD_ENDING.fullmatch(file[len(stem) :])
        _require(bool(fits), f"{file!r} is no name of a shard {stem}")
    _require(len({file for file, _ in files}) == len(files), "a shard is there twice")


def _check_text(field: str, value: Any) -> None:
    _require(isinstance(value, str) and value != "", f"{field} is no text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{field} is no valid Unicode") from error


def _check_name(field: str, value: Any) -> None:
    _require(isinstance(value, str) and bool(_NAME.fullmatch(value)), f"{field} is no name")


def _check_digest(field: str, value: Any) -> None:
    _require(isinstance(value, str) and bool(_SHA256.fullmatch(value)), f"{field} is no SHA-256")


def _check_bool(field: str, value: Any) -> None:
    _require(isinstance(value, bool), f"{field} is neither true nor false")


def _check_int(field: str, value: Any) -> None:
    # To Python true and false are numbers too.
    _require(isinstance(value, int) and not isinstance(value, bool), f"{field} is no whole number")


def _check_count(field: str, value: Any) -> None:
    _check_int(field, value)
    _require(value >= 0, f"{field} is negative")


def _check_names(field: str, value: Any) -> None:
    _require(isinstance(value, list), f"{field} is no list")
    for item in value:
        _check_text(f"a name in {field}", item)
    _require(len(set(value)) == len(value), f"{field} has a name twice")


def _check_counts(field: str, value: Any) -> None:
    _check_splits(field, value)
    for split in SPLITS:
        _require(isinstance(value[split], dict), f"{field} of {split} is no table")
        for name, count in value[split].items():
            _check_count(f"{field} of {split}, {name},", count)


def _check_shards(field: str, value: Any) -> None:
    _check_splits(field, value)
    for split in SPLITS:
        _require(isinstance(value[split], list), f"{field} of {split} is no list")
        for shard in value[split]:
            where = f"of a shard of {split}"
            _require(isinstance(shard, dict), f"an entry {where} is no table")
            _require(shard.keys() == _SHARD_FIELDS, f"the fields {where} are others")
            _check_text(f"file {where}", shard["file"])
            _check_count(f"count {where}", shard["count"])
            _check_digest(f"sha256 {where}", shard["sha256"])
            _check_digest(f"plan {where}", shard["plan"])


def _check_splits(field: str, value: Any) -> None:
    is_table = isinstance(value, dict) and value.keys() == set(SPLITS)
    _require(is_table, f"{field} is no table of {', '.join(SPLITS)}")


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise ValueError(problem)


_CHECKS: Final[dict[str, Callable[[str, Any], None]]] = {
    "name": _check_name,
    "layout": _check_text,
    "classes": _check_names,
    "box_classes": _check_names,
    "is_grey": _check_bool,
    "counts": _check_counts,
    "shards": _check_shards,
    "source_digest": _check_digest,
    "split_seed": _check_int,
}
