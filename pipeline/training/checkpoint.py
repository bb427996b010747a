"""State of an interrupted training on disk: arrays and facts that are there whole or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from records.atomic import replacing
from records.untrusted import require_file

_DIGEST_BYTES = hashlib.sha256().digest_size
_FACTS = "facts"
_DAMAGES = (
    *(OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError),
    *(EOFError, zipfile.BadZipFile),
)


@dataclass(frozen=True)
class State:
    """What was written at one moment of a training.

    Attributes:
        arrays: Lists of arrays by name, in the order they were given.
        facts: JSON values; a number that is not finite comes back as it was.
    """

    arrays: Mapping[str, Sequence[np.ndarray]]
    facts: Mapping[str, Any]


def write_state(path: Path, state: State) -> None:
    """Writes `state`, led by the SHA-256 of what follows."""
    flat = {
        f"{name}/{rank}": np.asarray(array)
        for name, arrays in state.arrays.items()
        for rank, array in enumerate(arrays)
    }
    counts = {name: len(arrays) for name, arrays in state.arrays.items()}
    text = json.dumps({"counts": counts, "facts": dict(state.facts)})
    flat[_FACTS] = np.frombuffer(text.encode(), np.uint8)
    content = io.BytesIO()
    # As np.savez does, which also writes the time, and fails where the clock is before 1980.
    with zipfile.ZipFile(content, "w") as archive:
        for name, array in flat.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    with replacing(path) as draft, draft.open("wb") as file:
        file.write(hashlib.sha256(content.getbuffer()).digest())
        file.write(content.getbuffer())


def read_state(path: Path) -> State | None:
    """What `write_state` wrote; None when there is nothing or it is damaged anywhere."""
    try:
        content = require_file(path).read_bytes()
    except OSError:
        return None
    digest, content = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        return None
    # From here on it is what we wrote, unless somebody gave it a digest of its own as well.
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as flat:
            values = json.loads(flat[_FACTS].tobytes())
            arrays = {
                name: [flat[f"{name}/{rank}"] for rank in range(count)]
                for name, count in values["counts"].items()
            }
        return State(arrays, values["facts"])
    except _DAMAGES:
        return None


def fits(arrays: Sequence[np.ndarray], variables: Sequence[Any]) -> bool:
    """Whether `arrays` can be assigned to `variables`, one by one."""
    return len(arrays) == len(variables) and all(
        array.shape == tuple(variable.shape)
        for array, variable in zip(arrays, variables, strict=True)
    )


def assign(variables: Sequence[Any], arrays: Sequence[np.ndarray]) -> None:
    """Sets each variable to its array."""
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def values_of(variables: Sequence[Any]) -> list[np.ndarray]:
    """The values of variables, as arrays."""
    return [variable.numpy() for variable in variables]
