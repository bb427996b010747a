"""The two main jobs, every stage of them, on all real pictures; trainings cut short.

They see that nothing is broken. What the models reach is measured by whole trainings.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
STAGES = ("records", "train", "eval", "explain", "export")
# Defects of a few pixels need resolution.
TILES = ("--image_size=384", "--batch_size=24", "--epochs=12", "--pretrain_epochs=1",
         "--learning_rate=0.002",
         "--augment=window(160)|flip|vflip|brightness(0.2)|contrast(0.3)")  # fmt: skip


def run_stages(data_dir: Path, work_dir: Path, *flags: str) -> None:
    for stage in STAGES:
        subprocess.run(
            [sys.executable, "main.py", f"--stage={stage}", f"--data_dir={data_dir}",
             f"--work_dir={work_dir}", *flags],
            cwd=REPOSITORY,
            check=True,
        )  # fmt: skip


def metrics_of(work_dir: Path, model: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((work_dir / model / "eval" / "metrics.json").read_text())
    return values


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("model", "flags", "least"),
    [
        ("autoencoder", ["--epochs=12"], 0.95),
        (
            "xception",
            # Without noisy copies, which are eight of nine passes through the network.
            [
                "--backbone_weights=calibrated",
                "--views=1",
                "--epochs=3",
                "--cam_methods=gradcam++,layercam",
            ],
            0.85,
        ),
    ],
)
def test_neu(
    long_real_data: Path, tmp_path: Path, model: str, flags: list[str], least: float
) -> None:
    run_stages(long_real_data / "neu-det", tmp_path, f"--model={model}", *flags)
    metrics = metrics_of(tmp_path, model)
    seconds = json.loads((tmp_path / model / "config.json").read_text())["training"]["seconds"]
    print(f"{model}: {metrics['accuracy']['value']:.4f} after {seconds} s of training")
    assert metrics["pictures"] == 360
    assert metrics["accuracy"]["value"] >= least
    _served_equals_evaluated(tmp_path, model)


def _served_equals_evaluated(work_dir: Path, model: str) -> None:
    """Has a clean process hold the SavedModel to a sheet made of the evaluation's own table."""
    with (work_dir / model / "eval" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    classes = [name.removeprefix("p_") for name in rows[0] if name.startswith("p_")]
    shards = sorted((work_dir / "records").glob("*-test.tfrecord-*"))
    sheet = {
        "name": "test",
        "records": [str(path.relative_to(work_dir)) for path in shards],
        "classes": classes,
        "tolerance": 1e-5,
        "pictures": [
            {
                "source_id": row["source_id"],
                "sha256": row["sha256"],
                "label": row["predicted"],
                "decision": row["decision"],
                "probabilities": [float(row[f"p_{name}"]) for name in classes],
            }
            for row in rows
        ],
        "closely": [rows[0]["source_id"]],
        "files": {},
    }
    program, path = REPOSITORY / "models" / "clean_session.py", work_dir / "sheet.json"
    asked = [sys.executable, "-I", str(program), str(work_dir / model / "export" / "1")]
    path.write_text(json.dumps(sheet))
    assert subprocess.run([*asked, "--sheet", str(path)], check=False).returncode == 0
    path.write_text(json.dumps(sheet | {"classes": classes[::-1]}))
    assert subprocess.run([*asked, "--sheet", str(path)], check=False).returncode == 1


@pytest.mark.timeout(1800)
def test_magnetic_tiles(long_real_data: Path, tmp_path: Path) -> None:
    run_stages(long_real_data / "magnetic-tile", tmp_path, *TILES)
    metrics = metrics_of(tmp_path, "autoencoder")
    binary = metrics["binary"]
    print("escapes", binary["escapes"], "false calls", binary["false_calls"])
    assert binary["positive_class"] == "nio"
    assert binary["escapes"]["of"] == 79
    assert binary["false_calls"]["of"] == 192
    # No photograph of a tile that was trained on is tested on. Chance is 0.5, with a standard error
    # of 0.04; how far twelve epochs come depends on the processor's rounding.
    assert binary["roc"]["area"] >= 0.58
