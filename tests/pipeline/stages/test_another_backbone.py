"""Another network of `keras.applications` takes one entry in the registry, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from models.files import load_model
from models.registry import MODELS, Backbone, ModelSpec
from pipeline.config import Settings
from pipeline.rundir import RunDir
from pipeline.stages import evaluate, records, train
from records.sample import draw_data_set

ENTRY = ModelSpec(
    cam_layer="conv_pw_13_relu",
    image_size=32,
    batch_size=8,
    epochs=1,
    pretrain_epochs=1,
    learning_rate=1e-3,
    augment="flip",
    backbone=Backbone(
        function="MobileNet",
        preprocessing="tf",
        smallest_size=32,
        fine_tune_from="conv_dw_13",
        views=2,
    ),
)


def test_one_entry_is_trained_evaluated_saved_and_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "mobilenet", ENTRY)
    draw_data_set(tmp_path / "pictures", seed=5, counts={"train": 24, "validation": 8, "test": 8})
    settings = Settings(
        data_dir=tmp_path / "pictures",
        work_dir=tmp_path / "run",
        model="mobilenet",
        backbone_weights="calibrated",
    )
    for stage in (records, train, evaluate):
        stage.run(settings)
    run_dir = RunDir(settings.work_dir, settings.model)
    config = json.loads(run_dir.config.read_text())
    assert config["cam_layer"] == "conv_pw_13_relu"
    phases = [phase["name"] for phase in config["training"]["phases"]]
    assert phases == ["head", "fine-tune"]
    assert json.loads(run_dir.metrics.read_text())["pictures"] == 8
    answers = load_model(run_dir.weights)(np.zeros((2, 32, 32, 1), np.float32))
    assert answers.shape == (2, 2)
    assert sorted(path.name for path in run_dir.trunk_cache.glob("*/*")) == [
        "validation.rows", "view-0.rows", "view-1.rows",
    ]  # fmt: skip
