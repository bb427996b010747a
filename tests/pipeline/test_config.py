from __future__ import annotations

import math
from pathlib import Path

import pytest

from pipeline.config import Settings
from pipeline.modelfacts import ModelFacts, choose_fail_classes, choose_positive_class
from pipeline.rundir import RunDir
from records.errors import InputError
from tests.pipeline.model_facts import make_facts


def test_defaults_are_a_whole_run() -> None:
    settings = Settings(data_dir=Path("tests"))
    assert (settings.stage, settings.model, settings.layout) == ("all", "autoencoder", "auto")


@pytest.mark.parametrize(
    "name",
    [
        "seed",
        "image_size",
        "batch_size",
        "labels_per_class",
        "views",
        "full_epochs",
        "feature_maps",
        "evidence_weight",
    ],
)
def test_a_negative_number_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"--{name}=-1"):
        Settings(data_dir=Path("tests"), **{name: -1})  # type: ignore[arg-type]


def test_an_unknown_method_of_maps_is_refused_before_anything_runs() -> None:
    Settings(data_dir=Path("tests"), cam_methods="gradcam, layercam")
    with pytest.raises(InputError, match="--cam_methods=cam is unknown"):
        Settings(data_dir=Path("tests"), cam_methods="gradcam,cam")


@pytest.mark.parametrize("name", ["epochs", "pretrain_epochs", "reconstruction_weight"])
def test_minus_one_is_the_models_own_and_less_is_refused(name: str) -> None:
    assert getattr(Settings(data_dir=Path("tests"), **{name: -1}), name) == -1  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"--{name}=-2"):
        Settings(data_dir=Path("tests"), **{name: -2})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("classes", "counts", "asked", "expected"),
    [
        (("io", "nio"), {"io": 1, "nio": 9}, "", "nio"),
        (("io", "nio"), {"io": 9, "nio": 1}, "nio", "nio"),
        (("crack", "io"), {"crack": 40, "io": 20}, "", "crack"),
        (("io", "void"), {"io": 20, "void": 40}, "", "void"),
        (("bad", "good"), {"bad": 5, "good": 50}, "good", "good"),
        (("bad", "good"), {"bad": 5, "good": 50}, "", "bad"),
        (("bad", "good"), {"bad": 50, "good": 5}, "", "good"),
        (("bad", "good"), {"bad": 5, "good": 5}, "", "bad"),
        (("a", "b", "c"), {"a": 1, "b": 2, "c": 3}, "", ""),
    ],
)
def test_positive_class(
    classes: tuple[str, ...], counts: dict[str, int], asked: str, expected: str
) -> None:
    assert choose_positive_class(classes, counts, asked=asked) == expected


@pytest.mark.parametrize(
    ("classes", "asked"),
    [(("io", "nio"), "x"), (("io", "nio"), "io"), (("a", "b", "c"), "a")],
)
def test_a_positive_class_that_cannot_be_is_refused(classes: tuple[str, ...], asked: str) -> None:
    with pytest.raises(InputError, match=f"--positive_class={asked}"):
        choose_positive_class(classes, dict.fromkeys(classes, 1), asked=asked)


def test_fail_classes() -> None:
    assert choose_fail_classes(("bad", "good"), positive_class="bad") == ("bad",)
    assert choose_fail_classes(("crack", "io", "void"), positive_class="") == ("crack", "void")
    assert choose_fail_classes(("crack", "void"), positive_class="") == ("crack", "void")


def test_model_facts_come_back_as_they_were(tmp_path: Path) -> None:
    facts = make_facts(
        image_size=128,
        standardize=True,
        seed=3,
        records_digest="ab",
        weights_digest="cd",
        training={"seconds": 1.5, "phases": []},
        versions={"python": "3.11"},
    )
    facts.write(tmp_path / "config.json")
    assert ModelFacts.read(tmp_path / "config.json") == facts


def test_weights_that_are_not_those_described_are_refused(tmp_path: Path) -> None:
    weights = tmp_path / "model.keras"
    weights.write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
    facts = make_facts(weights_digest=digest)
    assert facts.require_weights(weights) == weights
    weights.write_bytes(b"abd")
    with pytest.raises(InputError, match=r"model\.keras"):
        facts.require_weights(weights)
    weights.unlink()
    with pytest.raises(InputError, match=r"model\.keras"):
        facts.require_weights(weights)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"classes": 3}', '{"classes": [], "x": 1}'])
def test_a_damaged_config_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"config\.json"):
        ModelFacts.read(tmp_path / "config.json")


def test_a_work_dir_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        RunDir(tmp_path / "run", "autoencoder").make()


def test_a_missing_forerunner_says_which_command(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path, "xception")
    with pytest.raises(InputError, match=r"--stage=records .*--data_dir=FOLDER"):
        run_dir.require_forerunner("train")
    run_dir.records.mkdir()
    (run_dir.records / "manifest.json").write_text("{}")
    run_dir.require_forerunner("train")
    with pytest.raises(InputError, match=r"--stage=train .*--model=xception"):
        run_dir.require_forerunner("explain")
    for stage in ("sample", "records", "all"):
        run_dir.require_forerunner(stage)


def fill(run_dir: RunDir, text: str) -> None:
    """Writes what a training leaves, every file holding `text`."""
    for path in (run_dir.config, run_dir.weights, run_dir.history, run_dir.history_plot,
                 run_dir.logs / "events"):  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_whole_training_replaces_the_old_but_leaves_the_saved_models(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path, "autoencoder")
    fill(run_dir, "old")
    saved_model = run_dir.export / "1" / "saved_model.pb"
    others = run_dir.judging(tmp_path / "others", "ab" * 32)
    stale = (run_dir.metrics, run_dir.explain / "maps.json", run_dir.report, others.report)
    for path in (saved_model, *stale):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("old")
    with run_dir.replacing_model() as draft:
        fill(draft, "new")
        # Until the block ends the old model stands.
        assert run_dir.config.read_text() == run_dir.metrics.read_text() == "old"
    after = {path: path.read_text() for path in run_dir.model_dir.rglob("*") if path.is_file()}
    assert after.pop(saved_model) == "old"
    assert set(after.values()) == {"new"}
    assert set(after) == {run_dir.config, run_dir.weights, run_dir.history, run_dir.history_plot,
                          run_dir.logs / "events"}  # fmt: skip
    assert not run_dir.checkpoint.model_dir.exists()


def test_an_evaluation_of_other_records_has_a_folder_of_its_own(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path, "autoencoder")
    others = run_dir.judging(tmp_path / "others", "0123456789abcdef")
    assert others.records == tmp_path / "others"
    assert others.metrics == run_dir.model_dir / "eval-0123456789ab" / "metrics.json"
    assert others.report == run_dir.model_dir / "eval-0123456789ab" / "report.html"
    assert others.explain != run_dir.explain
    assert (others.weights, others.config) == (run_dir.weights, run_dir.config)


def test_a_training_that_fails_leaves_the_old_model_and_nothing_else(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path, "autoencoder")
    fill(run_dir, "old")
    before = sorted(run_dir.model_dir.rglob("*"))
    with pytest.raises(KeyboardInterrupt), run_dir.replacing_model() as draft:
        fill(draft, "half")
        raise KeyboardInterrupt
    assert sorted(run_dir.model_dir.rglob("*")) == before
    assert run_dir.weights.read_text() == "old"


@pytest.mark.parametrize("left", ["finished_state", "epoch_state"])
def test_a_training_that_can_go_on_keeps_what_it_goes_on_from(tmp_path: Path, left: str) -> None:
    run_dir = RunDir(tmp_path, "autoencoder")
    with pytest.raises(KeyboardInterrupt), run_dir.replacing_model() as draft:
        for path in (getattr(draft, left), draft.training_plan, draft.pictures / "train"):
            path.parent.mkdir(exist_ok=True)
            path.write_text("half")
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt), run_dir.replacing_model():
        raise KeyboardInterrupt  # before there are pictures
    with run_dir.replacing_model() as draft:
        assert getattr(draft, left).read_text() == draft.training_plan.read_text() == "half"
        assert not draft.pictures.exists()
        fill(draft, "new")
    assert not run_dir.checkpoint.model_dir.exists()


def test_what_was_killed_while_it_took_its_place_does_so_again(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path, "autoencoder")
    fill(run_dir.checkpoint, "new")
    # As far as it got: the event files have moved, the rest has not.
    run_dir.checkpoint.logs.rename(run_dir.logs)
    with run_dir.replacing_model():
        pass
    for path in (run_dir.config, run_dir.weights, run_dir.history, run_dir.logs / "events"):
        assert path.read_text() == "new"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("resize", "crop"),
        ("learning_rate", -0.5),
        ("learning_rate", 1.5),
        ("learning_rate", math.nan),
        ("pretraining", "guessing"),
        ("reconstruction_weight", -0.5),
        ("reconstruction_weight", math.nan),
        ("reconstruction_weight", math.inf),
    ],
)
def test_a_value_that_cannot_be_is_refused(name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"--{name}={value}"):
        Settings(data_dir=Path("tests"), **{name: value})  # type: ignore[arg-type]


def test_flags_are_checked_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="spin"):
        Settings(data_dir=tmp_path, augment="flip|spin")
    with pytest.raises(InputError, match="no such file"):
        Settings(data_dir=tmp_path, backbone_weights=str(tmp_path / "none.h5"))
    with pytest.raises(InputError, match="is no folder"):
        Settings(data_dir=tmp_path / "none")
    for work_dir in (tmp_path, tmp_path / "below"):
        with pytest.raises(InputError, match="lies in"):
            Settings(data_dir=tmp_path, work_dir=work_dir)
    Settings(data_dir=tmp_path, work_dir=tmp_path.parent)


@pytest.mark.parametrize("address", ["host", "host:8786", "tcp://host", "http://host:1", "tcp://:"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(InputError, match=f"--scheduler={address} is no address"):
        Settings(stage="records", data_dir=Path("tests"), scheduler=address)


@pytest.mark.parametrize(
    ("stage", "flags"),
    [
        ("records", {"workers": 2}),
        ("records", {"to": "voc"}),
        ("predict", {"watch": True}),
        ("predict", {"overlays": True}),
        ("all", {"overlays": True}),
    ],
)
def test_what_does_not_go_with_a_cluster_is_refused(stage: str, flags: dict[str, object]) -> None:
    (name,) = flags
    given = {"stage": stage, "data_dir": Path("tests"), "images": "x", **flags}
    Settings(**given)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"--{name} does not go with --scheduler"):
        Settings(scheduler="tcp://host:8786", **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("stage", ["sample", "train", "export"])
def test_a_cluster_is_for_two_stages_and_the_chain(stage: str) -> None:
    with pytest.raises(InputError, match="is for --stage=records and predict, not for"):
        Settings(stage=stage, data_dir=Path("tests"), scheduler="tcp://host:8786")
    chain = Settings(data_dir=Path("tests"), scheduler="tls://[::1]:8786", images="x")
    found = {name: chain.for_stage(name).scheduler for name in ("records", "train", "predict")}
    assert found == {"records": chain.scheduler, "train": "", "predict": chain.scheduler}


def test_the_size_of_a_shard_has_bounds_and_is_for_records(tmp_path: Path) -> None:
    for value in (0, 4097):
        with pytest.raises(InputError, match=f"--shard_mb={value} is too"):
            Settings(stage="records", data_dir=tmp_path, shard_mb=value)
    with pytest.raises(InputError, match="--shard_mb is for --stage=records and all, not for"):
        Settings(stage="train", shard_mb=1)
    chain = Settings(data_dir=tmp_path, work_dir=tmp_path.with_name("run"), shard_mb=1)
    assert [chain.for_stage(stage).shard_mb for stage in ("records", "train")] == [1, 32]


def test_many_machines_train_and_do_nothing_else(tmp_path: Path) -> None:
    Settings(stage="train", distribute="multiworker", parts=4)
    Settings(data_dir=tmp_path, distribute="mirrored")
    with pytest.raises(InputError, match="--distribute=multiworker is for --stage=train"):
        Settings(data_dir=tmp_path, distribute="multiworker")
    with pytest.raises(InputError, match="--distribute is for --stage=train"):
        Settings(stage="eval", distribute="mirrored")


def test_other_records_are_judged_after_the_chain(tmp_path: Path) -> None:
    """Not in it: the rule that they are judged by would be missing once training is done."""
    with pytest.raises(InputError, match="--eval_records judges by the rule of an earlier"):
        Settings(data_dir=tmp_path, work_dir=tmp_path.with_name("run"), eval_records=tmp_path)


def test_the_chain_hands_each_stage_its_own_flags_alone(tmp_path: Path) -> None:
    chain = Settings(
        stage="all", data_dir=tmp_path, keep_versions=3, sort_by="decision", seed=5,
        work_dir=tmp_path.with_name("run"), images="x",
    )  # fmt: skip
    records, export, predict = (
        chain.for_stage(stage) for stage in ("records", "export", "predict")
    )
    assert (records.stage, records.keep_versions, records.sort_by) == ("records", 0, "class")
    assert (export.keep_versions, export.sort_by, export.seed) == (3, "class", 5)
    assert (predict.keep_versions, predict.sort_by) == (0, "decision")
