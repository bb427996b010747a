"""Facts of a model for tests; each says what it is about and leaves the rest."""

from __future__ import annotations

import dataclasses
from typing import Any

from pipeline.modelfacts import ModelFacts

_FACTS = ModelFacts(
    model="autoencoder",
    classes=("io", "nio"),
    positive_class="nio",
    fail_classes=("nio",),
    image_size=32,
    channels=1,
    resize="letterbox",
    standardize=False,
    cam_layer="gated",
    seed=0,
    records_digest="",
    weights_digest="",
    training={},
    versions={},
    git_commit="unknown",
)


def make_facts(**values: Any) -> ModelFacts:
    """Facts of a small autoencoder, `io` against `nio`, but for `values`."""
    return dataclasses.replace(_FACTS, **values)
