from __future__ import annotations

import pytest

from models.registry import MODELS


@pytest.mark.parametrize("name", sorted(MODELS))
def test_an_entry_builds_the_model_it_describes(name: str) -> None:
    spec = MODELS[name]
    statistics = {"mean": 100.0, "variance": 400.0} if spec.reconstructs else {}
    model = spec.build(image_size=96, channels=1, classes=3, **statistics)
    outputs = set(model.output) if isinstance(model.output, dict) else {"logits"}
    assert "logits" in outputs
    assert ("reconstruction" in outputs) == spec.reconstructs
    places = [
        layer.name for layer in model.layers
        if layer.name == spec.cam_layer and len(layer.output.shape) == 4
    ]  # fmt: skip
    assert places == [spec.cam_layer]
    assert bool(spec.fine_tune_from) == bool(spec.views) == (not spec.reconstructs)
