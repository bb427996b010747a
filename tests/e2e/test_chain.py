"""Every stage, as a user runs it, on a small drawn data set.

The runs are made by a process of their own; what is asked of them afterwards is asked in this one,
by the same command line: a process takes seconds to import TensorFlow. Xception is run with
NIOSCOPE_LONG=1; without, `test_another_backbone.py` trains and evaluates a smaller one.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from records.sample import draw_data_set
from records.types import Split
from tests.e2e.command import SMALL, nioscope
from tests.in_process import answer

COUNTS: dict[Split, int] = {"train": 32, "validation": 16, "test": 16}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "pictures"
    draw_data_set(folder, seed=5, counts=COUNTS, nio_share=0.4)
    return folder


@pytest.fixture(
    scope="module", params=["autoencoder", pytest.param("xception", marks=pytest.mark.long)]
)
def run(
    request: pytest.FixtureRequest, pictures: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """A whole run: its directory and its model."""
    model, work_dir = request.param, tmp_path_factory.mktemp(request.param)
    places = f"--data_dir={pictures}", f"--work_dir={work_dir}"
    nioscope("--stage=all", *places, f"--model={model}", *SMALL[model])
    return work_dir, model


def test_everything_of_the_contract_is_there(run: tuple[Path, str]) -> None:
    work_dir, model = run
    for name in (
        "records/manifest.json", "records/audit.json", "records/rejects.csv",
        "records/features.json", "records/dataset_info.json", f"{model}/config.json",
        f"{model}/model.keras", f"{model}/history.csv", f"{model}/report.html",
        f"{model}/eval/metrics.json", f"{model}/eval/predictions.csv",
        f"{model}/eval/confusion_matrix.csv", f"{model}/eval/confusion_matrix.png",
        f"{model}/eval/confusion_matrix_normalized.png", f"{model}/eval/curves.png",
        f"{model}/eval/threshold.json", f"{model}/export/1/saved_model.pb",
        f"settings/{model}-train.json",
    ):  # fmt: skip
        assert (work_dir / name).stat().st_size > 0, name
    assert list((work_dir / model / "logs").glob("events*"))
    assert not [path for path in work_dir.rglob(".*") if path.is_file()]


def test_the_figures_are_those_of_the_predictions(run: tuple[Path, str], pictures: Path) -> None:
    work_dir, model = run
    evaluation = work_dir / model / "eval"
    rows = list(csv.DictReader((evaluation / "predictions.csv").open()))
    metrics = json.loads((evaluation / "metrics.json").read_text())
    threshold = json.loads((evaluation / "threshold.json").read_text())["threshold"]
    assert len(rows) == metrics["pictures"] == COUNTS["test"]
    for row in rows:
        assert abs(float(row["p_io"]) + float(row["p_nio"]) - 1) < 1e-6
        assert row["score"] == row["p_nio"]
        assert (row["predicted"] == "nio") == (np.float32(row["score"]) >= np.float32(threshold))
        assert row["decision"] == {"nio": "fail", "io": "pass"}[row["predicted"]]
        picture = pictures / row["source_id"]
        assert row["sha256"] == hashlib.sha256(picture.read_bytes()).hexdigest()
        assert bool(row["reconstruction_error"]) == (model == "autoencoder")
        assert row["source_id"].startswith(f"test/images/{row['true']}/")
    escapes = [row for row in rows if (row["true"], row["predicted"]) == ("nio", "io")]
    assert metrics["binary"]["escapes"]["count"] == len(escapes)
    hits = [row for row in rows if row["true"] == row["predicted"]]
    assert metrics["accuracy"]["value"] == len(hits) / COUNTS["test"]


def predictions(work_dir: Path, model: str) -> list[dict[str, str]]:
    with (work_dir / model / "eval" / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_maps_are_pictures_of_test_pictures(run: tuple[Path, str]) -> None:
    work_dir, model = run
    maps = json.loads((work_dir / model / "explain" / "maps.json").read_text())
    assert maps
    for entry in maps:
        assert entry["source_id"].startswith("test/")
        with Image.open(work_dir / model / "explain" / entry["file"]) as picture:
            assert picture.width >= 2 * 256  # at least two panels of 256 px
    with (work_dir / model / "explain" / "localization.csv").open(newline="") as file:
        rows = {(row["method"], row["class"]): row for row in csv.DictReader(file)}
    uniform = rows["uniform", "nio"]  # all test pictures of nio have boxes
    assert int(uniform["pictures"]) == sum(
        row["true"] == "nio" for row in predictions(work_dir, model)
    )
    assert uniform["pointing"] == uniform["area"]
    assert ("Grad-CAM++", "nio") in rows and ("Grad-CAM++", "io") not in rows


def test_predict_gives_the_evaluations_answers(
    run: tuple[Path, str], pictures: Path, tmp_path: Path
) -> None:
    work_dir, model = run
    incoming = tmp_path / "incoming"
    rows = {
        row["source_id"]: row
        for row in csv.DictReader((work_dir / model / "eval" / "predictions.csv").open())
    }
    shutil.copytree(pictures / "test" / "images", incoming)
    (incoming / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (incoming / "empty.jpg").write_bytes(b"")
    output = tmp_path / "sorted"
    status, printed = answer(
        "--stage=predict", f"--work_dir={work_dir}", f"--model={model}", f"--images={incoming}",
        f"--output_dir={output}",
    )  # fmt: skip
    assert status == 0, printed
    assert "set aside  2" in printed
    everything = list(csv.DictReader((output / "predictions.csv").open()))
    answers = [row for row in everything if not row["error"]]
    assert (len(everything), len(answers)) == (COUNTS["test"] + 2, COUNTS["test"])
    for row in answers:
        path = Path(row["source_id"])
        expected = rows[f"test/images/{path.parent.name}/{path.name}"]
        assert abs(float(row["p_nio"]) - float(expected["p_nio"])) <= 1e-5
        assert row["predicted"] == expected["predicted"]
        assert row["sha256"] == expected["sha256"]
        assert (output / row["predicted"] / path.name).read_bytes() == path.read_bytes()
    rejects = list(csv.DictReader((output / "rejects.csv").open()))
    assert [Path(row["path"]).name for row in rejects] == ["broken.png", "empty.jpg"]
    assert all(row["reason"] for row in rejects)


def test_the_same_seed_gives_the_same_run(pictures: Path, tmp_path: Path) -> None:
    """In this process, which has done other things before, and in three new ones."""
    digests = []
    for name in ("here", "new"):
        work_dir = tmp_path / name
        for stage in ("records", "train", "eval"):
            flags = (
                f"--stage={stage}", f"--data_dir={pictures}", f"--work_dir={work_dir}",
                "--image_size=32", "--epochs=2", "--pretrain_epochs=1", "--seed=3",
            )  # fmt: skip
            if name == "new":
                nioscope(*flags)
            else:
                status, printed = answer(*flags)
                assert status == 0, printed
        files = [*sorted((work_dir / "records").iterdir()),
                 *(work_dir / "autoencoder" / "eval" / f for f in
                   ("predictions.csv", "metrics.json", "threshold.json"))]  # fmt: skip
        digests.append({path.name: path.read_bytes() for path in files})
    assert digests[0] == digests[1]


def test_a_training_that_fails_leaves_the_model_as_it_was(run: tuple[Path, str]) -> None:
    work_dir, model = run
    folder = work_dir / model
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    flags = ["--stage=train", f"--work_dir={work_dir}", f"--model={model}"]
    status, printed = answer(*flags, "--image_size=50")
    assert status == 2, printed
    assert "--image_size=50" in printed
    assert "pictures" not in printed, "refused before any is decoded"
    if model == "xception":
        # Found only when the pictures are decoded and the network is built.
        status, printed = answer(*flags, "--image_size=71", "--backbone_weights=README.md")
        assert status == 2, printed
        assert "--backbone_weights=README.md" in printed
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_new_records_make_the_old_model_stale(
    run: tuple[Path, str], pictures: Path, tmp_path: Path
) -> None:
    work_dir, model = run
    copied = shutil.copytree(work_dir, tmp_path / "run")
    flags = f"--data_dir={pictures}", f"--work_dir={copied}"
    status, printed = answer("--stage=records", "--seed=9", *flags)
    assert status == 0, printed
    status, printed = answer("--stage=eval", f"--model={model}", *flags)
    assert status == 2, printed
    assert "has changed since" in printed
    assert "--stage=train" in printed
