"""What a cache of a trunk's output stands for, in one number."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import keras

# Where a config names an operation.
_NAMES = ("name", "keras_history", "input_layers", "output_layers")


def digest_trunk(trunk: keras.Model, facts: Mapping[str, Any]) -> str:
    """SHA-256 of the trunk's structure and weights and of what is said of its pictures.

    Args:
        trunk: A functional model.
        facts: JSON values: whatever else its output depends on.
    """
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    digest.update(_describe(trunk).encode())
    for weight in trunk.get_weights():
        digest.update(weight.tobytes())
    return digest.hexdigest()


def _describe(trunk: keras.Model) -> str:
    """The model's config with ranks for names, since Keras counts names up through the process."""
    ranks = {operation.name: str(rank) for rank, operation in enumerate(trunk.operations)}
    ranks[trunk.name] = ""
    return json.dumps(_rename(json.loads(trunk.to_json()), ranks))


def _rename(value: Any, ranks: Mapping[str, str], key: str = "") -> Any:
    if isinstance(value, dict):
        # Keras names shared objects by their addresses in memory.
        return {k: _rename(v, ranks, k) for k, v in value.items() if k != "shared_object_id"}
    if isinstance(value, list):
        return [_rename(x, ranks, key) for x in value]
    return ranks.get(value, value) if key in _NAMES else value
