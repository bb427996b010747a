"""Which worker of a training this process is: TensorFlow's `TF_CONFIG`, read and checked.

Needs no TensorFlow, so that what is wrong with it is said at once.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from records.errors import InputError

_ADDRESS = re.compile(r"[^\s/]+:([0-9]{1,5})")
_PORTS = range(1, 2**16)
_EXAMPLE = (
    '{"cluster": {"worker": ["first.host:2222", "second.host:2222"]}, '
    '"task": {"type": "worker", "index": 0}}'
)


@dataclass(frozen=True)
class Place:
    """One worker among those that train together.

    Attributes:
        index: From 0; that of the chief.
        workers: How many there are.
    """

    index: int = 0
    workers: int = 1

    @property
    def is_chief(self) -> bool:
        """Whether it is the one that writes the run directory."""
        return self.index == 0


def read_place(distribute: str, environment: Mapping[str, str] = os.environ) -> Place:
    """The place of this process, as `TF_CONFIG` has it; the only one without `multiworker`.

    Args:
        distribute: Value of `--distribute`.
        environment: Environment variables.

    Raises:
        InputError: `TF_CONFIG` is missing, or does not say where which worker is.
    """
    if distribute != "multiworker":
        return Place()
    try:
        return _parse(environment.get("TF_CONFIG", ""))
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"--distribute=multiworker needs the environment variable TF_CONFIG: {error}.",
            "Give every worker the same cluster and an index of its own, such as\n"
            f"  TF_CONFIG='{_EXAMPLE}'",
        ) from error


def _parse(text: str) -> Place:
    if not text:
        raise ValueError("it is not set")
    try:
        config = json.loads(text)
    except ValueError as error:
        raise ValueError(f"it is no JSON ({error})") from error
    cluster, task = (_section(config, name) for name in ("cluster", "task"))
    # TensorFlow counts a chief before the workers.
    jobs = {job: _addresses(job, cluster[job]) for job in ("chief", "worker") if job in cluster}
    if others := sorted(set(cluster) - set(jobs)):
        raise ValueError(f"its cluster names {', '.join(others)}, but only workers train here")
    if len(jobs.get("chief", [])) > 1:
        raise ValueError("its cluster has more than one chief")
    addresses = [address for job in jobs.values() for address in job]
    if len(set(addresses)) < len(addresses):
        raise ValueError("two of its workers have the same address")
    kind, index = task.get("type"), task.get("index")
    if not isinstance(kind, str) or kind not in jobs:
        raise ValueError(f"its task is of type {kind!r}, which its cluster does not have")
    if type(index) is not int or not 0 <= index < len(jobs[kind]):
        raise ValueError(f"its task has the index {index!r}, of {len(jobs[kind])} {kind}s")
    before = len(jobs.get("chief", [])) if kind == "worker" else 0
    return Place(before + index, len(addresses))


def _section(config: Any, name: str) -> dict[str, Any]:
    section = config.get(name) if isinstance(config, dict) else None
    if not isinstance(section, dict) or not section:
        raise ValueError(f"it has no {name}")
    return section


def _addresses(job: str, values: Any) -> list[str]:
    if not isinstance(values, list) or not values:
        raise ValueError(f"its {job}s are no list of addresses")
    for value in values:
        match = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
        if not match or int(match[1]) not in _PORTS:
            raise ValueError(f"{value!r} is no address of the form host:port")
    return values
