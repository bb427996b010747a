"""The stage `export`: what it publishes, what it refuses, and that no kill leaves half of it."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Settings
from pipeline.drift.baseline import DRIFT_BASELINE, DriftBaseline
from pipeline.evaluation.result import digest_evaluation
from pipeline.modelfacts import ModelFacts
from pipeline.rundir import RunDir
from pipeline.serving.publishing import find_versions
from pipeline.serving.server_files import SERVER_FILES
from pipeline.stages import export
from records.errors import InputError
from tests.pipeline.tiny_run import make_run

REPOSITORY = Path(__file__).resolve().parents[3]
# A run takes as long as fifty of a stand-in, which `test_publishing.py` kills.
KILLS = int(os.environ.get("NIOSCOPE_KILLS", "0")) // 10


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """An evaluated run with one version; the other tests take copies."""
    run_dir = make_run(tmp_path_factory.mktemp("export"))
    run(run_dir)
    return run_dir


@pytest.fixture
def copied(exported: RunDir, tmp_path: Path) -> RunDir:
    shutil.copytree(exported.root, tmp_path / "run")
    return RunDir(tmp_path / "run", exported.model)


def run(run_dir: RunDir, **flags: Any) -> None:
    export.run(Settings(stage="export", work_dir=run_dir.root, **flags))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def require_whole(version: Path) -> None:
    """Every file that was there when the golden set was written is there as it was."""
    sheet = json.loads((version / "assets.extra/golden/golden.json").read_text())
    assert "saved_model.pb" in sheet["files"]
    for name, expected in sheet["files"].items():
        assert digest(version / name) == expected
    assert (version / "assets.extra/model_card.md").is_file()


def test_a_version_has_all_that_belongs_to_it(exported: RunDir) -> None:
    version = exported.export / "1"
    assert names(exported.export) == {"1", *SERVER_FILES}
    require_whole(version)
    extra = version / "assets.extra"
    assert names(extra / "golden") == {"check.py", "golden.json", "golden.tfrecord"}
    assert (extra / "tf_serving_warmup_requests").stat().st_size
    sheet = json.loads((extra / "golden/golden.json").read_text())
    assert sheet["model"] == digest(exported.weights)
    assert {picture["source_id"].split("_")[0] for picture in sheet["pictures"]} == {"validation"}
    card = json.loads((extra / "model_card.json").read_text())
    assert card["gate"]["precision"] == "float32"
    assert card["gate"]["pictures"] == {
        "validation": 12, "test": 10, "golden": len(sheet["pictures"])
    }  # fmt: skip
    assert card["gate"]["largest_difference"] < 1e-6
    assert set(card["gate"]["signatures"]) == {
        "serving_default", "explain", "predict_tensor", "monitor"
    }  # fmt: skip
    baseline = DriftBaseline.read(version / DRIFT_BASELINE)
    assert baseline.classes == tuple(sheet["classes"])
    splits = {one.name: one.split for one in baseline.references}
    assert (splits["mean_grey"], splits["confidence"]) == ("train", "validation")


def test_versions_count_up_and_old_ones_go(
    copied: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    (copied.export / "3").mkdir()  # another's
    run(copied, keep_versions=1)
    assert names(copied.export) == {"3", "4", *SERVER_FILES}
    require_whole(copied.export / "4")
    said = capsys.readouterr().out
    assert f"Published: {copied.export / '4'}" in said
    assert f"Removed: {copied.export / '1'}" in said
    assert "of 12 validation, 10 test and" in said


def test_a_graph_that_sees_pictures_otherwise_is_not_published(
    copied: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: digest(path) for path in copied.export.rglob("*") if path.is_file()}
    serving_facts = export._serving_facts

    def stretch(*facts: Any) -> Any:
        served = serving_facts(*facts)
        return type(served)(**{**served.__dict__, "resize": "stretch"})

    monkeypatch.setattr(export, "_serving_facts", stretch)
    with pytest.raises(InputError) as caught:
        run(copied)
    assert "Nothing was published" in str(caught.value)
    # Squares are seen alike; of twelve, two in four are none.
    assert "validation: 6 of 12 pictures by the signature serving_default" in str(caught.value)
    assert before == {path: digest(path) for path in copied.export.rglob("*") if path.is_file()}


@pytest.mark.long
def test_another_rule_than_that_of_the_evaluation_is_not_published(copied: RunDir) -> None:
    rule = json.loads(copied.threshold.read_text())
    copied.threshold.write_text(json.dumps(rule | {"temperature": 2 * rule["temperature"]}))
    metrics = json.loads(copied.metrics.read_text())
    weights = ModelFacts.read(copied.config).weights_digest
    metrics["digests"] = digest_evaluation(copied, weights_digest=weights)
    copied.metrics.write_text(json.dumps(metrics))
    with pytest.raises(InputError) as caught:
        run(copied)
    # The validation pictures are judged by the rule that there is now.
    assert "test: 10 of 10 pictures by the signature serving_default" in str(caught.value)
    assert "validation: " not in str(caught.value)
    assert names(copied.export) == {"1", *SERVER_FILES}


@pytest.mark.long
def test_an_evaluation_that_says_otherwise_of_a_picture_is_not_published(copied: RunDir) -> None:
    """As `test_gate.py` has it without the stage, and `test_hostile_run.py` without the digest."""
    before = {path: digest(path) for path in copied.export.rglob("*") if path.is_file()}
    lines = copied.predictions.read_text().splitlines()
    cells = lines[1].split(",")
    cells[-2:] = ["0.123", "0.877"]
    copied.predictions.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")
    with pytest.raises(InputError, match="another predictions"):
        run(copied)
    # The same again, as if the evaluation itself had said so.
    metrics = json.loads(copied.metrics.read_text())
    metrics["digests"]["predictions"] = digest(copied.predictions)
    copied.metrics.write_text(json.dumps(metrics))
    with pytest.raises(InputError, match="Nothing was published") as caught:
        run(copied)
    assert cells[0] in str(caught.value)
    assert before == {path: digest(path) for path in copied.export.rglob("*") if path.is_file()}


def test_other_records_are_refused_before_anything_is_built(copied: RunDir) -> None:
    facts = json.loads(copied.config.read_text())
    copied.config.write_text(json.dumps(facts | {"records_digest": "0" * 64}))
    with pytest.raises(InputError, match="has changed since"):
        run(copied)


@pytest.mark.timeout(1800)
@pytest.mark.skipif(not KILLS, reason="takes minutes; NIOSCOPE_KILLS=10 or more runs it")
def test_killed_at_any_moment_no_version_is_half(copied: RunDir) -> None:
    draw, command = random.Random(0), [sys.executable, "main.py", "--stage=export"]
    command += [f"--work_dir={copied.root}", "--keep_versions=2"]
    started = time.monotonic()
    subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)
    whole = time.monotonic() - started
    for number in range(KILLS):
        process = subprocess.Popen(
            command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        # Every other one near the end, where it is published.
        time.sleep(whole * draw.uniform(*((0.2, 1.0), (0.85, 1.0))[number % 2]))
        process.kill()
        process.communicate()
        for version, _ in find_versions(copied.export):
            require_whole(version)
    subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)
    assert len(find_versions(copied.export)) == 2
    assert not [name for name in names(copied.export) if name.startswith(".")]
