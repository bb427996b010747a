from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from models.registry import MODELS
from pipeline.config import Settings
from pipeline.rundir import RunDir
from pipeline.training.plan import TrainingPlan, make_plan
from records.errors import InputError
from records.manifest import Manifest, file_digest

MANIFEST = Manifest(
    folder=Path("records"),
    name="strips",
    layout="folders",
    classes=("io", "nio"),
    box_classes=(),
    is_grey=True,
    counts={
        "train": {"io": 60, "nio": 41},
        "validation": {"io": 5, "nio": 5},
        "test": {"io": 5, "nio": 5},
    },
    shards={"train": (), "validation": (), "test": ()},
    source_digest="ab",
    split_seed=0,
)


@pytest.fixture(autouse=True)
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the digest of the records is taken of."""
    monkeypatch.chdir(tmp_path)
    Path("records").mkdir()
    Path("records/manifest.json").write_text("{}")


def plan_for(**flags: Any) -> TrainingPlan:
    settings = Settings(stage="train", **flags)
    return make_plan(settings, MANIFEST, MODELS[settings.model])


def test_what_flags_leave_open_is_the_models_own() -> None:
    own, plan = MODELS["autoencoder"], plan_for()
    for name in ("image_size", "batch_size", "epochs", "pretrain_epochs", "augment",
                 "learning_rate", "reconstruction_weight", "pretraining"):  # fmt: skip
        assert getattr(plan, name) == getattr(own, name)
    assert (plan.resize, plan.precision, plan.labels_per_class) == ("letterbox", "float32", 0)
    assert (plan.positive_class, plan.channels, plan.training_pictures) == ("nio", 1, 101)
    assert (plan.backbone_weights, plan.fine_tune_from, plan.views) == ("", "", 0)


def test_flags_that_are_given_count() -> None:
    plan = plan_for(
        image_size=64, batch_size=20, epochs=3, pretrain_epochs=0, augment="", resize="stretch",
        reconstruction_weight=0.0, pretraining="masked", labels_per_class=10, mixed_precision=True,
        seed=4, learning_rate=0.01,
    )  # fmt: skip
    assert (plan.image_size, plan.batch_size, plan.epochs, plan.pretrain_epochs) == (64, 20, 3, 0)
    assert (plan.augment, plan.resize, plan.seed, plan.labels_per_class) == ("", "stretch", 4, 10)
    assert (plan.reconstruction_weight, plan.pretraining) == (0.0, "masked")
    assert plan.learning_rate == 0.01
    assert plan.precision.startswith("mixed_")
    assert plan.steps_per_epoch == 6  # 101 pictures, 20 at a time


def test_boxes_are_used_unless_they_are_not_to_be() -> None:
    assert plan_for().evidence_weight == 1.0
    assert plan_for().box_classes == MANIFEST.box_classes
    assert plan_for(evidence_weight=0.0).evidence_weight == 0.0


def test_a_backbone_may_stay_frozen_and_an_autoencoder_must_classify() -> None:
    assert plan_for(model="xception", epochs=0).epochs == 0
    with pytest.raises(InputError, match="never classify"):
        plan_for(epochs=0)
    with pytest.raises(InputError, match="nothing to train"):
        plan_for(model="xception", epochs=0, pretrain_epochs=0)
    with pytest.raises(InputError, match="--evidence_weight"):
        plan_for(model="xception", evidence_weight=0.5)


def test_no_batch_is_larger_than_the_training_split() -> None:
    assert plan_for(batch_size=500).batch_size == 101


def test_a_weights_file_is_known_by_what_it_holds(tmp_path: Path) -> None:
    weights = tmp_path / "weights.h5"
    weights.write_bytes(b"abc")
    plan = plan_for(model="xception", backbone_weights=str(weights), views=2, full_epochs=1)
    assert plan.backbone_weights == file_digest(weights)
    assert (plan.views, plan.full_epochs, plan.pretraining) == (2, 1, "")
    own = plan_for(model="xception", backbone_weights="calibrated")
    assert (own.backbone_weights, own.views) == ("calibrated", MODELS["xception"].views)
    assert own.fine_tune_from == MODELS["xception"].fine_tune_from


@pytest.mark.parametrize(
    ("model", "name", "value"),
    [
        ("autoencoder", "views", 2),
        ("autoencoder", "full_epochs", 1),
        ("autoencoder", "fine_tune_from", "block13"),
        ("xception", "pretraining", "plain"),
        ("xception", "reconstruction_weight", 0.0),
    ],
)
def test_a_flag_of_the_other_kind_of_model_is_refused(model: str, name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"--{name}=.* --model={model}"):
        plan_for(model=model, **{name: value})


def test_there_are_as_many_parts_as_machines_unless_it_is_said() -> None:
    settings = Settings(stage="train", batch_size=12)
    own = MODELS["autoencoder"]
    assert make_plan(settings, MANIFEST, own).parts == 1
    assert make_plan(settings, MANIFEST, own, workers=3).parts == 3
    six = dataclasses.replace(settings, parts=6)
    assert make_plan(six, MANIFEST, own, workers=3).parts == 6
    with pytest.raises(InputError, match="--parts=6"):
        make_plan(six, MANIFEST, own, workers=4)


@pytest.mark.parametrize("model", ["autoencoder", "xception"])
def test_every_model_trains_in_parts(model: str) -> None:
    settings = Settings(stage="train", model=model, distribute="multiworker", batch_size=12)
    assert make_plan(settings, MANIFEST, MODELS[model], workers=2).parts == 2


def test_windows_are_for_the_autoencoder() -> None:
    line = "flip|window(96)"
    assert plan_for(augment=line).augment == line
    with pytest.raises(InputError, match="window has no meaning for --model=xception"):
        plan_for(model="xception", backbone_weights="calibrated", augment=line)


def leave_state(folder: RunDir, plan: TrainingPlan) -> None:
    plan.settle(folder)
    folder.epoch_state.write_text("state")


def test_the_same_plan_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = RunDir(tmp_path, "autoencoder").checkpoint
    leave_state(folder, plan_for())
    plan_for().settle(folder)
    assert folder.epoch_state.read_text() == "state"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"augment": "flip"}, {"records_digest": "other"}, {"git_commit": "other"},
     {"versions": {"keras": "0"}}, {"precision": "mixed_bfloat16"}],
)  # fmt: skip
def test_another_plan_starts_anew_with_a_line(
    tmp_path: Path, change: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunDir(tmp_path, "autoencoder").checkpoint
    leave_state(folder, plan_for())
    other = dataclasses.replace(plan_for(), **change)
    other.settle(folder)
    assert not folder.can_resume
    said = capsys.readouterr().out
    assert f"differs in {next(iter(change))}; this one starts anew" in said
    leave_state(folder, other)
    other.settle(folder)
    assert folder.can_resume


@pytest.mark.parametrize("damage", [b"", b"[]", b"\xff", b'{"seed": 0}'])
def test_a_damaged_plan_starts_anew(tmp_path: Path, damage: bytes) -> None:
    folder = RunDir(tmp_path, "autoencoder").checkpoint
    leave_state(folder, plan_for())
    folder.training_plan.write_bytes(damage)
    plan_for().settle(folder)
    assert not folder.can_resume
